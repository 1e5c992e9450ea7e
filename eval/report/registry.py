"""All tables and plots of the report (import only).

TABLES: by the evaluator that a benchmark names (unlearn/benchmarks/registry.py), and those of
attacks and of sequential unlearning. PLOTS: name of a table -> name of the picture -> function.
"""

from collections.abc import Callable

from matplotlib.figure import Figure

from eval.report.collect import RunSet
from eval.report.plots.attacks import plot_attacks
from eval.report.plots.forget_quality import plot_forget_quality
from eval.report.plots.forget_steps import plot_forget_steps
from eval.report.plots.gates import plot_gates
from eval.report.plots.layers import plot_layers
from eval.report.plots.sequential import plot_sequential
from eval.report.plots.states import plot_states
from eval.report.plots.tradeoff import plot_tradeoff
from eval.report.table import TableSpec
from eval.report.tables import (
    attacks,
    documents,
    multiple_choice,
    questions,
    sequential,
    worst_case,
)

TABLES: dict[str, TableSpec] = {
    "questions": questions.SPEC,
    "worst_case": worst_case.SPEC,
    "attacks": attacks.SPEC,
    "documents": documents.SPEC,
    "multiple_choice": multiple_choice.SPEC,
    "sequential": sequential.SPEC,
}
PLOTS: dict[str, dict[str, Callable[[RunSet], Figure | None]]] = {
    "tofu": {
        "tradeoff": plot_tradeoff,
        "gates": plot_gates,
        "forget_quality": plot_forget_quality,
    },
    "attacks": {"attacks": plot_attacks},
    "muse": {"muse": plot_forget_steps},
    "wmdp": {"wmdp_layers": plot_layers, "wmdp_states": plot_states},
    "sequential": {"sequential": plot_sequential},
}

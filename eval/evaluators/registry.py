"""The evaluators by the key that a benchmark names (`BenchmarkSpec.evaluator`; import only).

A benchmark with an evaluator of its own adds a line here, a config in options.py and a module.
"""

from dataclasses import dataclass
from pkgutil import resolve_name

from eval.evaluators.data_flags import build_evaluation_experiment
from eval.evaluators.options import DocumentConfig, MultipleChoiceConfig, QuestionConfig
from unlearn.benchmarks.registry import BENCHMARKS, find_benchmark
from unlearn.config.experiment import Experiment
from unlearn.config.flags import flags
from unlearn.config.run_directory import named_runs


@dataclass(frozen=True)
class Evaluator:
    """config: its option groups; function: "module:function", called with the experiment, imported
    when it is needed (lm-eval alone takes seconds).
    """

    config: type
    function: str

    @property
    def flag_names(self) -> set[str]:
        """The flags that this evaluator takes."""
        return {option.name for option, _, _ in flags(self.config)}

    def evaluate(self, experiment: Experiment) -> None:
        """Evaluate the runs that the experiment's flags name."""
        resolve_name(self.function)(experiment)


EVALUATORS = {
    "questions": Evaluator(QuestionConfig, "eval.evaluators.questions:evaluate_questions"),
    "documents": Evaluator(DocumentConfig, "eval.evaluators.documents:evaluate_documents"),
    "multiple_choice": Evaluator(
        MultipleChoiceConfig, "eval.evaluators.multiple_choice:evaluate_multiple_choice"
    ),
}


def build_evaluation(given: dict) -> tuple[Evaluator, Experiment]:
    """The evaluator of the benchmark that the given flags name, and its experiment.

    Raises `ValueError` for a flag that belongs to another evaluator.
    """
    benchmark = given.get("benchmark") or name_benchmark(given.get("only", []))
    key = find_benchmark(benchmark).evaluator
    evaluator = EVALUATORS[key]
    foreign = [name for name in given if name not in evaluator.flag_names]
    if foreign:
        raise ValueError(f"--benchmark {benchmark} does not take {describe_flag(foreign[0])}")
    return evaluator, build_evaluation_experiment(evaluator.config, given)


def name_benchmark(paths: list[str]) -> str:
    """The benchmark of the first run that --only names, else the default."""
    return named_runs(paths)[0].config["benchmark"] if paths else "authors"


def describe_flag(name: str) -> str:
    """A flag with the benchmarks that take it."""
    benchmarks = [
        spec.name for spec in BENCHMARKS.values() if name in EVALUATORS[spec.evaluator].flag_names
    ]
    return f"--{name}, which goes with {', '.join(benchmarks)}; leave it out"

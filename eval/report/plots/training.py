"""training.png, muse_training.png, wmdp_training.png: the loss parts of every training (import
only).

One panel per method, from log.jsonl of its runs: the forget term, the retain term and the gate
loss, weighted as in the loss, over the steps (means over a fiftieth of the steps; the axis is
linear from -1 to 1 and logarithmic beyond); on the right axis the mean gate of the forget and of
the retain prompts, where the run logged it.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, SymmetricalLogLocator

from eval.report.collect import ORDER, FinishedRun, RunSet
from eval.report.plots.methods import name_run
from eval.report.plots.style import (
    AMBER,
    BLUE,
    GREEN,
    ORANGE,
    SKY,
    clean_axes,
    name_picture,
    new_grid,
    place_legend,
    title_panel,
)

LOSSES = {
    "forget": ("forget term", ORANGE, "-"),
    "retain": ("retain term", BLUE, "-"),
    "gate": ("gate loss", GREEN, "-"),
}
GATES = {
    "gate_forget": ("mean gate, forget (right axis)", AMBER, "--"),
    "gate_retain": ("mean gate, retain (right axis)", SKY, "--"),
}
COLUMNS = 4
PANEL = (2.9, 2.1)  # inches
TICKS = (1, 3)  # in every power of ten
WINDOWS = 50  # a curve has as many means over steps


def read_logs(runs: RunSet, evaluator: str) -> dict[tuple[str, str], list[pd.DataFrame]]:
    """(section, method) -> the steps of each of its runs, smoothed; index: the step."""
    logs: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for run in runs.select(evaluator):
        log = read_log(run) if run.key["objective"] not in ORDER else None
        if log is not None:
            section = ", ".join(run.key[name] for name in ("benchmark", "model", "split"))
            logs.setdefault((section, name_method(run)), []).append(log)
    return dict(sorted(logs.items()))


def name_method(run: FinishedRun) -> str:
    """The method, with its learning rate, which changes its losses."""
    name = name_run(run.key)
    rates = [part for part in run.key["variant"].split(",") if part.startswith("lr=")]
    return ",".join([name, *rates])


def read_log(run: FinishedRun) -> pd.DataFrame | None:
    """The steps of one run; None where it logged no forget term."""
    steps = pd.DataFrame([record for record in run.run.logged() if "check" not in record])
    if "forget" not in steps:
        return None
    shown = [name for name in (*LOSSES, *GATES) if name in steps]
    window = max(1, len(steps) // WINDOWS)
    return steps.set_index("step")[shown].rolling(window, min_periods=1).mean()


def plot_training(runs: RunSet, evaluator: str = "questions") -> Figure | None:
    """None where no run of this evaluator's benchmarks logged a forget term."""
    logs = read_logs(runs, evaluator)
    if not logs:
        return None
    sections = list(dict.fromkeys(section for section, _ in logs))
    figure, grid = new_grid(len(logs), COLUMNS, PANEL, 0.8)
    for axes, ((section, method), found) in zip(grid, logs.items(), strict=True):
        draw_panel(axes, found)
        heading = method if len(found) == 1 else f"{method} ({len(found)} seeds)"
        title_panel(axes, heading if len(sections) == 1 else f"{heading}\n{section}", PANEL[0])
    figure.supylabel("weighted loss", fontsize=8)
    figure.supxlabel("step; losses linear between -1 and 1, logarithmic beyond", fontsize=8)
    logged = {name for found in logs.values() for log in found for name in log}
    handles = [
        Line2D([], [], color=colour, linestyle=dash, label=label)
        for name, (label, colour, dash) in (LOSSES | GATES).items()
        if name in logged
    ]
    labels = [handle.get_label() for handle in handles]
    place_legend(figure, handles, labels, None, name_picture("Training", sections))
    return figure


def draw_panel(axes: Axes, logs: list[pd.DataFrame]) -> None:
    """The curves of one method, a line per seed."""
    axes.axhline(0, color="0.85", linewidth=0.8, zorder=0)
    draw_curves(axes, logs, LOSSES)
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=TICKS))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    clean_axes(axes, 7)
    if any(name in log for log in logs for name in GATES):
        gates = axes.twinx()
        draw_curves(gates, logs, GATES)
        gates.set_ylim(-0.03, 1.03)
        gates.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
        clean_axes(gates, 7)
        gates.spines["right"].set_visible(True)


def draw_curves(axes: Axes, logs: list[pd.DataFrame], curves: dict) -> None:
    """The curves that the logs have."""
    for name, (_, colour, dash) in curves.items():
        for log in logs:
            if name in log:
                axes.plot(log.index, log[name], color=colour, linestyle=dash, linewidth=1.2)

"""wmdp_states.png: norm and cosine of the steered states during training, updated and frozen, per
topic, of the RMU runs with --verbose (import only).
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.report.collect import RunSet
from eval.report.plots.style import BLUE, ORANGE, clean_axes, legend_above, new_figure

LINES = {"norm": ("updated", "-"), "frozen_norm": ("frozen", ":")}
COLOURS = {"forget": ORANGE, "retain": BLUE}


def read_logs(runs: RunSet) -> list[tuple[str, pd.DataFrame]]:
    """(title, log) of every verbose RMU run and topic; the topics take turns in the updates."""
    logs = []
    for run in runs.select("multiple_choice"):
        if run.config.get("objective") != "rmu":
            continue
        log = pd.DataFrame([record for record in run.run.logged() if "check" not in record])
        if "forget_norm" in log:
            topics = run.config["flags"]["forget_corpora"]["value"]
            for place, topic in enumerate(topics):
                steps = log[log["step"] % len(topics) == place]
                logs.append((f"{run.path.name}\n{topic}", steps))
    return logs


def plot_states(runs: RunSet) -> Figure | None:
    """None without a verbose run."""
    logs = read_logs(runs)
    if not logs:
        return None
    figure, grid = new_figure(len(logs), 2, (9, 0.8 + 2.1 * len(logs)))
    for (norms, cosines), (title, log) in zip(grid, logs, strict=True):
        draw_norms(norms, log)
        draw_cosines(cosines, log)
        norms.set_title(title, fontsize=8, loc="left")
    for axes in grid[-1]:
        axes.set_xlabel("update", fontsize=8)
    legend_above(figure, [grid[0][0]], 4)
    return figure


def draw_norms(axes: Axes, log: pd.DataFrame) -> None:
    """Norms of the states of the updated and of the frozen model."""
    for kind, colour in COLOURS.items():
        for name, (label, line) in LINES.items():
            style = {"color": colour, "linewidth": 1.3, "label": f"{kind}, {label}"}
            axes.plot(log["step"], log[f"{kind}_{name}"], line, **style)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("norm", fontsize=8)
    clean_axes(axes, 7)


def draw_cosines(axes: Axes, log: pd.DataFrame) -> None:
    """Cosines between the states of the updated and of the frozen model."""
    for kind, colour in COLOURS.items():
        axes.plot(log["step"], log[f"{kind}_cosine"], color=colour, linewidth=1.3)
    axes.set_ylim(min(-0.05, log["forget_cosine"].min()), 1.03)
    axes.set_ylabel("cosine(updated, frozen)", fontsize=8)
    clean_axes(axes, 7)

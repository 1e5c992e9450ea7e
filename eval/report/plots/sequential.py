"""sequential.png: ROUGE-L over the stages of sequential unlearning (import only).

A panel per stack and rule; in it a line per request and per retain set.
"""

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.report.collect import RunSet
from eval.report.plots.style import (
    AMBER,
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    SKY,
    YELLOW,
    clean_axes,
    legend_above,
    new_grid,
)
from eval.report.tables.sequential import RETAIN_SETS, read_records, split_panels

COLOURS = (ORANGE, PINK, AMBER, GREEN, YELLOW)  # of requests; blues are what must be kept
RETAIN_STYLES = {"retain": (BLUE, "o"), "heldout": (SKY, "s")}
MARKERS = "os^vD"


def plot_sequential(runs: RunSet) -> Figure | None:
    """None without an evaluated stack of requests."""
    panels = split_panels(read_records(runs))
    if not panels:
        return None
    figure, grid = new_grid(len(panels), 3, (4.2, 3.3), 0.4, sharey=True)
    for axes, (title, part) in zip(grid, panels.items(), strict=True):
        draw_panel(axes, part)
        axes.set_title(textwrap.fill(title, 50), fontsize=8)
    figure.supylabel("ROUGE-L recall", fontsize=8)
    legend_above(figure, grid, 6)
    return figure


def draw_panel(axes: Axes, part: pd.DataFrame) -> None:
    """The lines of one stack under one rule."""
    stages = list(part["stage"].unique())
    for number, (name, line) in enumerate(part.groupby("set", sort=False)):
        dashed = (COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)])
        colour, marker = RETAIN_STYLES.get(name, dashed)
        retained = name in RETAIN_STYLES
        axes.plot(
            [stages.index(stage) for stage in line["stage"]],
            line["rouge"],
            color=colour,
            marker=marker,
            markersize=4,
            label=RETAIN_SETS.get(name, name),
            linestyle="-" if retained else "--",
            linewidth=1.6 if retained else 1.1,
        )
    labels = [stage.replace("without ", "-\n") for stage in stages]
    clean_axes(axes)
    axes.set_xticks(range(len(stages)), labels, fontsize=7)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("requests at work (last: one withdrawn)", fontsize=8)

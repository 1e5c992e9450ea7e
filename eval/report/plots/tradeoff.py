"""tradeoff.png: forget ROUGE-L against model utility (import only).

One panel per (benchmark, model, forget split), a point per run, a curve per method over its
learning rates, a ring around the kept one (eval.report.sweeps). A good run is as far left as the
reference and as high as the target.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.report import sweeps
from eval.report.collect import ORDER, RunSet
from eval.report.plots.style import (
    AMBER,
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    SKY,
    clean_axes,
    legend_beside,
    new_figure,
)
from eval.report.tables.questions import SECTION, collect_questions

COLOURS = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY, "#999933")
MARKERS = "os^vDPX<>p"  # for those who print in grey
X = "forget_rouge"
Y = "model_utility"
UNTOUCHED = {"target": ("0.5", "--"), "reference": ("0", ":")}


def plot_tradeoff(runs: RunSet) -> Figure | None:
    """None where no run has both numbers."""
    frame = collect_questions(runs).frame
    if not {X, Y} <= {*frame.columns} or (frame := frame.dropna(subset=[X, Y])).empty:
        return None
    frame = frame.assign(kept=sweeps.mark_kept(frame), method=name_methods(frame))
    panels = [(", ".join(key), part) for key, part in frame.groupby(SECTION, sort=True)]
    figure, grid = new_figure(len(panels), 1, (8, 0.4 + 4.2 * len(panels)))
    for axes, (title, part) in zip(grid.flat, panels, strict=True):
        draw_panel(axes, part)
        axes.set_title(title, fontsize=9)
    return figure


def name_methods(frame: pd.DataFrame) -> pd.Series:
    """objective-tuner-variant without the learning rate; target and reference by their names."""
    words = frame[["objective", "tuner"]].assign(rest=frame["variant"].map(sweeps.drop_rate))
    names = words.agg(lambda row: "-".join(word for word in row if word.strip("-")), axis=1)
    return names.where(~frame["objective"].isin(ORDER), frame["objective"])


def draw_panel(axes: Axes, part: pd.DataFrame) -> None:
    """Target and reference as lines that cross at the best that can be hoped for, then each
    method's points and its curve.
    """
    for name, (colour, dash) in UNTOUCHED.items():
        runs = part[part["method"] == name]
        if len(runs):
            x, y = runs[[X, Y]].mean()
            axes.axvline(x, color=colour, linestyle=dash, linewidth=0.9, zorder=0)
            axes.axhline(y, color=colour, linestyle=dash, linewidth=0.9, zorder=0)
            axes.scatter(x, y, marker="*", s=110, color=colour, label=name, zorder=3, clip_on=False)
    methods = sorted(set(part["method"]) - set(ORDER))
    for number, name in enumerate(methods):
        draw_method(axes, part[part["method"] == name], name, number)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, min(1.02, max(0.1, 1.25 * part[Y].max())))
    axes.set_xlabel(
        "forget ROUGE-L recall (left: forgotten). Controls have no utility: they answer or refuse",
        fontsize=8,
    )
    axes.set_ylabel("model utility (up: kept)", fontsize=8)
    clean_axes(axes)
    legend_beside(axes)


def draw_method(axes: Axes, runs: pd.DataFrame, name: str, number: int) -> None:
    """The points of one method, the curve over its learning rates, a ring around the kept rate."""
    colour = COLOURS[number % len(COLOURS)]
    if runs["lr"].nunique() > 1:
        curve = runs.groupby("lr")[[X, Y]].mean()
        axes.plot(curve[X], curve[Y], color=colour, linewidth=1, alpha=0.7)
        for rate, point in curve.iterrows():
            axes.annotate(
                f"{rate:g}",
                (point[X], point[Y]),
                (4, -10),
                textcoords="offset points",
                fontsize=6.5,
                color=colour,
            )
    marker = MARKERS[number % len(MARKERS)]
    points = {"s": 34, "color": colour, "label": name, "alpha": 0.9, "clip_on": False}
    axes.scatter(runs[X], runs[Y], marker=marker, **points)
    kept = runs[runs["kept"].eq(True)]
    ring = {"s": 130, "facecolors": "none", "edgecolors": colour, "linewidths": 1.1}
    axes.scatter(kept[X], kept[Y], marker="o", clip_on=False, **ring)

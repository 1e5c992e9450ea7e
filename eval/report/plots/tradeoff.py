"""tradeoff.png: forget ROUGE-L against model utility (import only).

One panel per (benchmark, model, forget split), a small point per run, a large one with its name per
method (mean over seeds), a curve over a method's learning rates with a ring around the kept one
(eval.report.sweeps). A good run is as far left as the reference and as high as the target. The axes
show where most methods lie; the few that lie far away stand at the edge with their numbers.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.report import sweeps
from eval.report.collect import ORDER, RunSet
from eval.report.plots.labels import Label, place_labels
from eval.report.plots.methods import (
    Look,
    find_look,
    legend_handle,
    name_run,
    plot_points,
    sort_methods,
)
from eval.report.plots.style import clean_axes, new_figure
from eval.report.tables.questions import SECTION, collect_questions

X = "forget_rouge"
Y = "model_utility"
MIN_SPAN = {X: 0.1, Y: 0.05}  # of an axis, so that differences without meaning stay small
WIDE_GAP = 0.4  # of a range: what lies beyond such a gap
FEW = 1 / 3  # and is at most this share of all points does not stretch the axis
MARGIN = 0.12
MANY = 14  # methods from which on points bear numbers


@dataclass(frozen=True)
class Method:
    """The runs of one method: its name and look, its points [N, 2], and where its name stands."""

    name: str
    look: Look
    runs: pd.DataFrame
    x: float
    y: float


def plot_tradeoff(runs: RunSet) -> Figure | None:
    """None where no run has both numbers."""
    frame = collect_questions(runs).frame
    if not {X, Y} <= {*frame.columns} or (frame := frame.dropna(subset=[X, Y])).empty:
        return None
    names = [name_run(row) for _, row in frame.iterrows()]
    frame = frame.assign(kept=sweeps.mark_kept(frame), method=names)
    panels = {", ".join(key): part for key, part in frame.groupby(SECTION, sort=True)}
    methods = {title: find_methods(part) for title, part in panels.items()}
    most = max(map(len, methods.values()))
    height = max(4.6, 1 + 0.17 * most)
    figure, grid = new_figure(len(panels), 1, (8.5, height * len(panels)))
    for axes, (title, found) in zip(grid.flat, methods.items(), strict=True):
        axes.set_title(f"Forgotten against kept: {title}", fontsize=10, loc="left")
        prepare_axes(axes, found)
        if len(found) > MANY:
            add_numbered_legend(axes, found)
    for axes, found in zip(grid.flat, methods.values(), strict=True):
        add_labels(axes, found)
    return figure


def find_methods(part: pd.DataFrame) -> list[Method]:
    """The methods of one panel. Of several learning rates the kept one bears the name, or else the
    one that forgets most.
    """
    methods = []
    for name in sort_methods(part):
        runs = part[part["method"] == name]
        named = runs
        if runs["lr"].nunique() > 1:
            kept = runs[runs["kept"].eq(True)]
            named = kept if len(kept) else runs[runs["lr"] == runs.loc[runs[X].idxmin(), "lr"]]
        first = runs.iloc[0]
        look = find_look(first["objective"], first["tuner"])
        methods.append(Method(name, look, runs, named[X].mean(), named[Y].mean()))
    return methods


def find_view(values: Iterable[float], span: float) -> tuple[float, float]:
    """The ends of an axis: the range of the values with a margin, at least `span` wide, without the
    few that lie beyond a wide gap.
    """
    ordered = np.sort(np.array(values))
    allowed = int(len(ordered) * FEW)
    while len(ordered) > 2 and ordered[-1] - ordered[0] > span:
        gaps = np.diff(ordered)
        widest = int(gaps.argmax())
        below, above = ordered[: widest + 1], ordered[widest + 1 :]
        few, most = sorted((below, above), key=len)
        if gaps[widest] < WIDE_GAP * (ordered[-1] - ordered[0]) or len(few) > allowed:
            break
        allowed -= len(few)
        ordered = most
    middle = (ordered[0] + ordered[-1]) / 2
    half = max(span, (ordered[-1] - ordered[0]) * (1 + 2 * MARGIN)) / 2
    return middle - half, middle + half


def prepare_axes(axes: Axes, methods: list[Method]) -> None:
    """Limits, axis labels, lines through target and reference, points and curves."""
    runs = pd.concat([method.runs for method in methods])
    axes.set_xlim(find_view(runs[X], MIN_SPAN[X]))
    axes.set_ylim(find_view(runs[Y], MIN_SPAN[Y]))
    for method in methods:
        if method.name in ORDER:
            style = {"linewidth": 0.9, "alpha": 0.7, "zorder": 0} | method.look.line
            axes.axvline(method.x, **style)
            axes.axhline(method.y, **style)
        draw_method(axes, method)
    axes.set_xlabel("forget ROUGE-L recall (left: forgotten)", fontsize=8)
    axes.set_ylabel("model utility (up: kept)", fontsize=8)
    clean_axes(axes)


def draw_method(axes: Axes, method: Method) -> None:
    """The points of one method, the curve over its learning rates, a ring around the kept rate."""
    runs = method.runs
    if runs["lr"].nunique() > 1:
        curve = runs.groupby("lr")[[X, Y]].mean()
        axes.plot(curve[X], curve[Y], linewidth=1, alpha=0.7, **method.look.line)
    inside = [is_inside(axes, x, y) for x, y in zip(runs[X], runs[Y], strict=True)]
    if len(runs) > 1:
        plot_points(axes, method.look, runs[X][inside], runs[Y][inside], 4, 0.5)
    if runs["kept"].eq(True).any():
        ring = {"markersize": 13, "markerfacecolor": "none", "markeredgecolor": method.look.colour}
        axes.plot(*clip(axes, method.x, method.y), "o", clip_on=False, **ring)
    size = 11 if method.look.marker == "*" else 7
    plot_points(axes, method.look, *clip(axes, method.x, method.y), size)


def is_inside(axes: Axes, x: float, y: float) -> bool:
    """Whether a point lies within the limits."""
    return (x, y) == clip(axes, x, y)


def clip(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """The point, or where it stands at the edge."""
    return float(np.clip(x, *axes.get_xlim())), float(np.clip(y, *axes.get_ylim()))


def describe_outside(axes: Axes, method: Method) -> str:
    """The numbers of a method that stands at an edge: ` (utility 0.01)`."""
    x, y = clip(axes, method.x, method.y)
    words = [f"ROUGE {method.x:.2f}"] if x != method.x else []
    words += [f"utility {method.y:.2f}"] if y != method.y else []
    return f" ({', '.join(words)})" if words else ""


def add_numbered_legend(axes: Axes, methods: list[Method]) -> None:
    """A legend on the right that says which number is which method."""
    handles = [
        legend_handle(method.look, f"{number} {method.name}{describe_outside(axes, method)}")
        for number, method in enumerate(methods, 1)
    ]
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02)}
    axes.legend(handles=handles, fontsize=6.5, frameon=False, borderaxespad=0, **place)


def add_labels(axes: Axes, methods: list[Method]) -> None:
    """The name of each method beside its point, or its number where there are many; the learning
    rates beside the points of a curve, where there is room.
    """
    numbered = axes.get_legend() is not None
    labels = []
    for number, method in enumerate(methods, 1):
        outside = describe_outside(axes, method)
        text = f"{number}" if numbered else f"{method.name}{outside}"
        labels.append(Label(text, *clip(axes, method.x, method.y), fontsize=6.5 if numbered else 8))
    points = [clip(axes, method.x, method.y) for method in methods]
    for method in methods:
        if method.runs["lr"].nunique() > 1:
            for rate, point in method.runs.groupby("lr")[[X, Y]].mean().iterrows():
                points.append(clip(axes, point[X], point[Y]))
                if is_inside(axes, point[X], point[Y]):
                    colour = method.look.colour
                    labels.append(Label(f"{rate:g}", point[X], point[Y], colour, True, 6))
    before = list(axes.texts)
    if not place_labels(axes, labels, np.array(points)) and not numbered:
        for text in [text for text in axes.texts if text not in before]:
            text.remove()
        add_numbered_legend(axes, methods)
        add_labels(axes, methods)

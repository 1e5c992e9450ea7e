"""attacks.png: forget leak and retain collateral of every attack and method (import only).

Bars: mean over seeds, whiskers: their range. A black line over each group is the base's own score
there: what leaked before unlearning. A grey group is an attack whose prompts the base itself cannot
parse, or one that does not apply.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from eval.report.attack_columns import ATTACK_COLUMNS
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
    new_figure,
)
from eval.report.table import MISSING
from eval.report.tables.attacks import SECTION, collect_attacks, list_methods

COLOURS = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY, YELLOW)
HATCHES = ("", "////", "....")  # for more methods than colours
PANELS = {
    "forget_leak": ("forget leak", "base_forget", 2),
    "retain_collateral": ("retain collateral", None, 1),
    "heldout_collateral": ("held-out retain\ncollateral", None, 1),
}  # number -> axis label, the base's own score, share of the height
LOWEST = -0.25  # collateral below 0 is an improvement; what lies further down is cut off
GROUP = 0.46  # half of the width of an attack's band
BASE_LABEL = "base's own score; grey: the base cannot parse, or not measured"


def style_bars(place: int) -> dict:
    """How the bars of the place-th method look, in the picture and in its legend."""
    # `color` instead of `facecolor` would hide the hatch in the legend.
    return {
        "edgecolor": "white",
        "facecolor": COLOURS[place % len(COLOURS)],
        "hatch": HATCHES[place // len(COLOURS) % len(HATCHES)],
    }


def plot_attacks(runs: RunSet) -> Figure | None:
    """None where no method but the target was attacked."""
    frame = collect_attacks(runs).frame
    return None if frame.empty else draw_attacks(frame)


def draw_attacks(frame: pd.DataFrame) -> Figure | None:
    """The figure of the records of `collect_attacks`."""
    groups = frame.groupby(SECTION, sort=False)
    sections = [(", ".join(key), part) for key, part in groups if list_methods(part)]
    if not sections:
        return None
    attacks = max(part["attack"].nunique() for _, part in sections)
    methods = max(part["method"].nunique() for _, part in sections)
    width = min(17.0, max(7.0, attacks * max(0.55, 0.1 * methods) + 1))
    heights = [height for _ in sections for _, _, height in PANELS.values()]
    figure, grid = new_figure(
        len(heights), 1, (width, 6.0 * len(sections) + 0.3), height_ratios=heights
    )
    panels = iter(grid.flat)
    for title, part in sections:
        draw_section([next(panels) for _ in PANELS], title, part)
    return figure


def draw_section(panels: list[Axes], title: str, part: pd.DataFrame) -> None:
    """The panels of one benchmark, model and split; the attacks are named below the last one."""
    attacks = [name for name in ATTACK_COLUMNS if name in set(part["attack"])]
    methods = list_methods(part)
    for axes, (number, (label, base, _)) in zip(panels, PANELS.items(), strict=True):
        draw_panel(axes, part, number, base, attacks, methods)
        axes.set_ylabel(label, fontsize=8)
    add_legend(panels[0], title, methods)
    names = [" ".join(ATTACK_COLUMNS[name]).strip() for name in attacks]
    panels[-1].set_xticks(range(len(attacks)), names, rotation=30, ha="right", fontsize=7)


def add_legend(axes: Axes, title: str, methods: list[str]) -> None:
    """The legend above the first panel, and the title above it."""
    handles = [
        Rectangle((0, 0), 1, 1, label=name, **style_bars(place))
        for place, name in enumerate(methods)
    ]
    handles.append(Line2D([], [], color="black", linewidth=1.2, label=BASE_LABEL))
    lines = -(-len(handles) // 6)
    axes.set_title(title, fontsize=9, loc="left", pad=12 + 14 * lines)
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=min(6, len(handles)),
        fontsize=7,
        frameon=False,
    )


def draw_panel(
    axes: Axes, part: pd.DataFrame, number: str, base: str | None, attacks: list, methods: list
) -> None:
    """A group of bars per attack, a bar per method; a grey band where no method has a number."""
    values = part.assign(value=pd.to_numeric(part[number], errors="coerce"))
    for x, attack in enumerate(attacks):
        group = values[(values["attack"] == attack) & (values["method"] != "target")]
        if group["value"].isna().all():
            draw_missing(axes, x)
        for place, method in enumerate(methods):
            draw_bar(axes, x, place, len(methods), group.loc[group["method"] == method, "value"])
        if base:
            score = pd.to_numeric(part.loc[part["attack"] == attack, base], errors="coerce").mean()
            axes.plot([x - GROUP, x + GROUP], [score, score], color="black", linewidth=1.2)
    low = np.nanmin([0.0, *values["value"]])
    high = np.nanmax([0.0, *values["value"]])
    bottom = max(LOWEST, low * 1.1) if low < -0.005 else -0.02
    axes.set_ylim(bottom, 1.05 if base else max(0.3, 1.05 * high))
    axes.axhline(0, color="0.6", linewidth=0.6)
    axes.set_xlim(-0.6, len(attacks) - 0.4)
    clean_axes(axes, 7)
    axes.set_xticks(range(len(attacks)), [])


def draw_missing(axes: Axes, x: float) -> None:
    """A grey band with a dash."""
    axes.axvspan(x - GROUP, x + GROUP, color="0.94", zorder=0)
    style = {"ha": "center", "va": "center", "fontsize": 9, "color": "0.3"}
    axes.text(x, 0.5, MISSING, transform=axes.get_xaxis_transform(), **style)


def draw_bar(axes: Axes, x: float, place: int, count: int, values: pd.Series) -> None:
    """The mean over seeds of the place-th of `count` methods, and their range; nothing where a seed
    has no number.
    """
    if values.empty or values.isna().any():
        return
    width = 0.84 / count
    centre = x + (place - (count - 1) / 2) * width
    axes.bar(centre, values.mean(), width * 0.92, linewidth=0.3, **style_bars(place))
    if abs(values.mean()) < 0.005:  # a bar of no height still says that it was measured
        ends = [centre - width * 0.42, centre + width * 0.42]
        style = {"color": style_bars(place)["facecolor"], "linewidth": 2.5, "zorder": 3}
        axes.plot(ends, [0, 0], solid_capstyle="butt", **style)
    if len(values) > 1:
        axes.plot([centre, centre], [values.min(), values.max()], color="0.2", linewidth=0.8)

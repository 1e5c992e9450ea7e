"""gates.png: the gates of every method on every set (import only).

One panel per method (all its seeds), benchmark, model and forget split; in it, for each gated
layer, one histogram per evaluation set (bars to the right, 100 % as wide as the strip) and a dot
for every example. Above each stands the share of its gates that are open (> .5): wanted are 100 %
on forget, however a question is phrased, and 0 % on retain, whether the gate was trained on it or
not (held-out).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eval.report.collect import FinishedRun, RunSet
from eval.report.plots.methods import name_run
from eval.report.plots.style import (
    AMBER,
    BLUE,
    ORANGE,
    SKY,
    clean_axes,
    name_picture,
    new_grid,
    place_legend,
    title_panel,
)
from eval.report.rows import has_key, read_column, read_rows
from eval.report.summary import evaluated_folders

STRIPS = {
    "forget": ("forget", ORANGE, "o"),
    "forget_paraphrased": ("forget, paraphrased", AMBER, "s"),
    "retain": ("retain", BLUE, "o"),
    "heldout": ("held-out retain", SKY, "s"),
}
STRIP_WIDTH = 0.8 / len(STRIPS)
BINS = 20  # of a histogram of gates
FIGURE_WIDTH = 13  # inches at most
LAYER_WIDTH = 1.25  # inches of one layer's strips, so that the shares do not touch
PANEL_HEIGHT = 2.4
GOLDEN_RATIO = 0.618034


@dataclass(frozen=True)
class Panel:
    """The gates of one method: set name -> values [N, L] of all its seeds, under the names of the L
    gated layers.
    """

    method: str
    section: str
    layers: tuple[str, ...]
    seeds: int
    gates: dict[str, np.ndarray]

    @property
    def heading(self) -> str:
        """The method, with the number of seeds where there are several."""
        return f"{self.method} ({self.seeds} seeds)" if self.seeds > 1 else self.method


def read_panels(runs: RunSet) -> list[Panel]:
    """A panel for every method that has gates; runs that gate other layers have one of their
    own.
    """
    found: dict[tuple, list[dict[str, np.ndarray]]] = {}
    for run in runs.select("questions"):
        for folder in evaluated_folders(run):
            gates = read_gates(folder) if run.belongs_to(folder.name) else {}
            if gates:
                depth = next(iter(gates.values())).shape[1]
                section = ", ".join((run.key["benchmark"], run.key["model"], folder.name))
                key = (section, name_run(run.key), name_layers(run, depth))
                found.setdefault(key, []).append(gates)
    panels = []
    for (section, method, layers), seeds in sorted(found.items()):
        names = [name for name in STRIPS if all(name in gates for gates in seeds)]
        pooled = {name: np.concatenate([gates[name] for gates in seeds]) for name in names}
        panels.append(Panel(method, section, layers, len(seeds), pooled))
    return panels


def read_gates(folder: Path) -> dict[str, np.ndarray]:
    """set name -> gate values [N, L] of one evaluation, for the sets that have gates."""
    sets = read_rows(folder)
    return {
        name: np.array(read_column(name, sets[name], "gates"))
        for name in STRIPS
        if has_key(name, sets.get(name, []), "gates")
    }


def name_layers(run: FinishedRun, depth: int) -> tuple[str, ...]:
    """The gated layers; a gate in closed form is one gate for all edited layers."""
    result = run.run.result
    layers = [result["gate_layer"]] if "gate_layer" in result else result.get("layers", [])
    names = [f"layer {layer}" for layer in layers] or [f"gate {i + 1}" for i in range(depth)]
    return tuple(names)


def plot_gates(runs: RunSet) -> Figure | None:
    """None if no evaluated run has gates."""
    panels = read_panels(runs)
    if not panels:
        return None
    width = max(3, 0.5 + LAYER_WIDTH * max(len(panel.layers) for panel in panels))
    columns = max(1, int(FIGURE_WIDTH / width))
    figure, grid = new_grid(len(panels), columns, (width, PANEL_HEIGHT), 0.9, sharey=True)
    sections = {panel.section: None for panel in panels}
    for axes, panel in zip(grid, panels, strict=True):
        draw_panel(axes, list(panel.layers), panel.gates)
        heading = panel.heading if len(sections) == 1 else f"{panel.heading}\n{panel.section}"
        title_panel(axes, heading, width, pad=14)
    figure.supylabel("gate value (0: model untouched)", fontsize=8)
    figure.supxlabel(
        "per layer and set: histogram, one dot per example; above: share of gates > .5", fontsize=8
    )
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=label)
        for name, (label, colour, marker) in STRIPS.items()
        if any(name in panel.gates for panel in panels)
    ]
    labels = [handle.get_label() for handle in handles]
    place_legend(figure, handles, labels, None, name_picture("Gates", list(sections)))
    return figure


def draw_panel(axes: Axes, layers: list[str], gates: dict[str, np.ndarray]) -> None:
    """One panel; the histograms of one layer stand side by side."""
    axes.axhline(0.5, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    for place, (name, (_, colour, marker)) in enumerate(STRIPS.items()):
        shift = (place - (len(STRIPS) - 1) / 2) * STRIP_WIDTH
        for layer, values in enumerate(gates[name].T if name in gates else ()):
            draw_strip(axes, layer + shift, values, colour, marker)
    axes.set_xticks(range(len(layers)), layers, fontsize=7)
    axes.set_xlim(-0.55, len(layers) - 0.45)
    axes.set_ylim(-0.03, 1.03)
    clean_axes(axes, 7)


def draw_strip(axes: Axes, centre: float, values: np.ndarray, colour: str, marker: str) -> None:
    """Histogram and dots of one layer's gates on one set, values [N]; the dots are spread evenly
    across the strip, in file order.
    """
    counts, edges = np.histogram(values, BINS, (0, 1))
    left = centre - 0.42 * STRIP_WIDTH
    axes.barh(
        edges[:-1],
        0.84 * STRIP_WIDTH * counts / len(values),
        1 / BINS,
        left,
        align="edge",
        color=colour,
        alpha=0.25,
        linewidth=0,
        zorder=0,
    )
    axes.plot([left, left], [0, 1], color=colour, linewidth=0.5, alpha=0.5, zorder=0)
    spread = (np.arange(len(values)) * GOLDEN_RATIO % 1 - 0.5) * 0.7 * STRIP_WIDTH
    dots = {"s": 7, "alpha": 0.55, "linewidths": 0, "clip_on": False}
    axes.scatter(centre + spread, values, marker=marker, color=colour, **dots)
    share = f"{(values > 0.5).mean():.0%}"
    axes.text(centre, 1.05, share, ha="center", va="bottom", fontsize=6.5, color="0.25")

"""wmdp_layers.png: accuracy against the steered layer, RMU and Adaptive RMU in one picture, where
runs differ in --layer_id alone: the figure of Adaptive RMU's paper, arXiv 2408.06223 (import only).
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.report.collect import RunSet
from eval.report.plots.style import BLUE, ORANGE, clean_axes, legend_above, new_figure
from eval.report.tables.multiple_choice import CHANCE, collect_choices

TUNERS = {"rmu": ("RMU", ORANGE, "o"), "adaptive_rmu": ("Adaptive RMU", BLUE, "s")}
KINDS = {"forget": "to forget (lower is better)", "retain": "to keep (higher is better)"}


def drop_layer(variant: str) -> str:
    """The variant without its layer: `layer_id=3,alpha=30` -> `alpha=30`."""
    parts = [part for part in variant.split(",") if part and not part.startswith("layer_id=")]
    return ",".join(parts)


def find_sweeps(frame: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Title -> (means over seeds by tuner and layer, the target's rows), wherever some tuner has
    two layers.
    """
    numbers = [f"{kind}_acc{end}" for kind in KINDS for end in ("", "_stderr")]
    rmu = frame[(frame["objective"] == "rmu") & frame["tuner"].isin(TUNERS)]
    rmu = rmu.assign(rest=rmu["variant"].map(drop_layer))
    keys = ["benchmark", "model", "split", "mcq", "rest"]
    sweeps = {}
    for (benchmark, model, split, mcq, rest), part in rmu.groupby(keys, sort=False):
        means = part.groupby(["tuner", "layer_id"], as_index=False)[numbers].mean()
        if means.groupby("tuner").size().max() > 1:
            words = (benchmark, model, split, f"mcq {mcq}", rest)
            same = frame[["benchmark", "model", "mcq"]] == [benchmark, model, mcq]
            targets = frame[same.all(axis=1) & (frame["objective"] == "target")]
            title = ", ".join(word for word in words if word)
            sweeps[title] = (means, select_targets(targets, set(part["target"])))
    return sweeps


def select_targets(targets: pd.DataFrame, unlearned: set[str]) -> pd.DataFrame:
    """Those of the targets that runs unlearned: their run directories, or models of a hub; all
    where the runs name none of them.
    """
    named = targets["run"].isin(unlearned) | targets["target"].isin(unlearned)
    return targets[named] if named.any() else targets


def plot_layers(runs: RunSet) -> Figure | None:
    """None where no tuner has two layers."""
    frame = collect_choices(runs).frame
    sweeps = {} if frame.empty else find_sweeps(frame)
    if not sweeps:
        return None
    figure, grid = new_figure(len(sweeps), 2, (8, 0.7 + 2.8 * len(sweeps)), sharey=True)
    for row, (title, (means, target)) in zip(grid, sweeps.items(), strict=True):
        for axes, kind in zip(row, KINDS, strict=True):
            draw_panel(axes, kind, means, target)
        row[0].set_ylabel(f"accuracy\n{title}", fontsize=8)
    legend_above(figure, [grid[0][0]])
    return figure


def draw_panel(axes: Axes, kind: str, means: pd.DataFrame, target: pd.DataFrame) -> None:
    """Accuracy on the questions of one kind over the layers, with the target's and chance."""
    accuracy = f"{kind}_acc"
    axes.axhline(CHANCE, color="0.6", linewidth=0.8, linestyle="--", label="chance")
    if len(target):
        mean = target[accuracy].mean()
        axes.axhline(mean, color="0.3", linewidth=0.8, linestyle=":", label="target")
    for shift, (tuner, (name, colour, marker)) in zip((-0.04, 0.04), TUNERS.items(), strict=True):
        rows = means[means["tuner"] == tuner].sort_values("layer_id")
        if len(rows):
            style = {"color": colour, "marker": marker, "markersize": 5, "label": name}
            axes.errorbar(
                rows["layer_id"] + shift,
                rows[accuracy],
                rows[f"{accuracy}_stderr"],
                linewidth=1.3,
                capsize=2,
                **style,
            )
    axes.set_xticks(sorted(means["layer_id"].unique()))
    axes.set_ylim(0, 1.03)
    axes.set_title(f"questions {KINDS[kind]}", fontsize=9)
    axes.set_xlabel("steered layer", fontsize=8)
    clean_axes(axes)

"""Gate values of every gated run, per gated layer: written to runs/tables/gates.png.

    python -m eval.plots                                every benchmark with TOFU's sets
    python -m eval.plots --runs runs --benchmark tofu

One panel per (run, forget split); in it, for each gated layer, one strip of dots per evaluation set, a dot an example.
Above each strip stands the share of its gates that are open (> .5): wanted are 100 % on forget, however a question is
phrased, and 0 % on retain, whether the gate was trained on it or not (held-out). Needs no model.
"""

import argparse
import math
import os
import textwrap
from pathlib import Path

import matplotlib
import numpy as np

from eval.summary import BENCHMARKS, column, evaluations, has, read_rows
from unlearn.flags import main

matplotlib.use("Agg")  # before pyplot: no display is needed
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402

# Okabe and Ito's colours, told apart by colour-blind readers, and markers for those who print in grey
STRIPS = {
    "forget": ("forget", "#D55E00", "o"),
    "forget_paraphrased": ("forget, paraphrased", "#E69F00", "s"),
    "retain": ("retain", "#0072B2", "o"),
    "heldout": ("held-out retain", "#56B4E9", "s"),
}
WIDTH, LAYER_WIDTH = 13, 1.25  # inches: of the figure at most; of one layer's strips, so that the shares do not touch

Panel = tuple[str, list[str], dict[str, np.ndarray]]


def gated(runs: str | Path, benchmarks=BENCHMARKS) -> list[Panel]:
    """(title, names of the L gated layers, set name -> gate values [N, L]) of every evaluated run that has gates."""
    panels = []
    for run, folders in evaluations(runs, benchmarks):
        for folder in folders:
            sets = read_rows(folder)
            gates = {
                name: column(name, sets[name], "gates") for name in STRIPS if has(name, sets.get(name, []), "gates")
            }
            if gates:
                depth = len(next(iter(gates.values()))[0])
                layers = [f"layer {layer}" for layer in run.result.get("layers", [])]
                title = f"{run.path.name}\n{', '.join([*run.path.relative_to(runs).parts[:-2], folder.name])}"
                values = {name: np.array(gate) for name, gate in gates.items()}
                panels.append((title, layers or [f"gate {i + 1}" for i in range(depth)], values))
    return panels


def draw(axes, layers: list[str], gates: dict[str, np.ndarray]) -> None:
    """One panel. Strips of one layer stand side by side; dots are spread evenly across a strip, in file order."""
    axes.axhline(0.5, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    step = 0.8 / len(STRIPS)
    for place, (name, (_, colour, marker)) in enumerate(STRIPS.items()):
        if name not in gates:
            continue
        values = gates[name]
        spread = (np.arange(len(values)) * 0.618034 % 1 - 0.5) * 0.7 * step  # golden ratio: even, and not random
        for i in range(len(layers)):
            centre = i + (place - (len(STRIPS) - 1) / 2) * step
            axes.scatter(
                centre + spread, values[:, i], s=7, marker=marker, color=colour, alpha=0.55, linewidths=0, clip_on=False
            )
            share = f"{(values[:, i] > 0.5).mean():.0%}"
            axes.text(centre, 1.05, share, ha="center", va="bottom", fontsize=6.5, color="0.25")
    axes.set_xticks(range(len(layers)), layers, fontsize=7)
    axes.set_xlim(-0.55, len(layers) - 0.45)
    axes.set_ylim(-0.03, 1.03)
    axes.tick_params(axis="y", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def plot(runs: str | Path, benchmarks=BENCHMARKS) -> Path | None:
    """Draw all panels into <runs>/tables/gates.png and return its path; None if no evaluated run has gates."""
    panels = gated(runs, benchmarks)
    if not panels:
        return None
    panel_width = max(3, 0.5 + LAYER_WIDTH * max(len(layers) for _, layers, _ in panels))
    columns = min(len(panels), max(1, int(WIDTH / panel_width)))
    rows = math.ceil(len(panels) / columns)
    size = (max(6.5, 0.6 + panel_width * columns), 0.9 + 2.7 * rows)
    figure, grid = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axes, (title, layers, gates) in zip(grid.flat, panels, strict=False):
        draw(axes, layers, gates)
        lines = [textwrap.fill(line, int(14 * size[0] / columns)) for line in title.splitlines()]
        axes.set_title("\n".join(lines), fontsize=8, pad=16)
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    figure.supylabel("gate value (0: model untouched)", fontsize=8)
    figure.supxlabel("one dot per example; above each strip: share of gates > .5", fontsize=8)
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=label)
        for name, (label, colour, marker) in STRIPS.items()
        if any(name in gates for _, _, gates in panels)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=8, frameon=False)
    path = Path(runs) / "tables" / "gates.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    figure.savefig(temporary, dpi=160, format="png")
    plt.close(figure)
    return temporary.replace(path)


def command(argv: list[str] | None) -> None:
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False, formatter_class=raw)
    parser.add_argument("--runs", default="runs", help="folder of all run directories")
    parser.add_argument("--benchmark", nargs="+", default=list(BENCHMARKS), choices=BENCHMARKS)
    args = parser.parse_args(argv)
    path = plot(args.runs, args.benchmark)
    print(
        f"written: {path}" if path else f"no evaluated run under {args.runs} has gates, so none are plotted", flush=True
    )


if __name__ == "__main__":
    main(command)

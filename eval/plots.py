"""Two pictures from the per-example rows, without a model: runs/tables/gates.png and runs/tables/forget_quality.png.

    python -m eval.plots                                every benchmark with TOFU's sets
    python -m eval.plots --runs runs --benchmark tofu

gates            one panel per (run, forget split); in it, for each gated layer, one strip of dots per evaluation set, a dot an example.
                 Above each strip stands the share of its gates that are open (> .5): wanted are 100 % on forget, however a question is
                 phrased, and 0 % on retain, whether the gate was trained on it or not (held-out)
forget_quality   one panel per (benchmark, model, forget split); in it, for each run, the share of forget rows whose truth ratio is at most x.
                 Forget quality asks whether a run's curve could be the retain-only model's, D is the widest gap between the two
"""

import argparse
import math
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np

from eval import metrics
from eval.summary import BENCHMARKS, column, evaluations, has, read_rows, wrong_nll
from eval.tables import belongs
from unlearn.flags import main
from unlearn.runs import read_json

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


def plot_gates(runs: str | Path, benchmarks=BENCHMARKS) -> Path | None:
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
    return save(figure, Path(runs) / "tables" / "gates.png")


def save(figure, path: Path) -> Path:
    """Write the figure whole or not at all, and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    figure.savefig(temporary, dpi=160, format="png")
    plt.close(figure)
    return temporary.replace(path)


@dataclass(frozen=True)
class Curve:
    """One run's truth ratios, as log R [N], and its summary, for the forget quality."""

    name: str
    objective: str
    ratios: np.ndarray
    summary: dict


def curves(runs: str | Path, benchmarks=BENCHMARKS) -> dict[str, list[Curve]]:
    """"benchmark, model, split" -> the curves of its runs, target and reference first."""
    panels: dict[str, list[Curve]] = {}
    for run, folders in evaluations(runs, benchmarks):
        config = run.config
        for folder in (folder for folder in folders if belongs(config, folder.name)):
            ratios = log_ratios(folder)
            if ratios is not None:
                summary = read_json(folder / "summary.json") if (folder / "summary.json").exists() else {}
                title = ", ".join((config.get("place") or config["benchmark"], config["model"], folder.name))
                panels.setdefault(title, []).append(Curve(run.path.name, config["objective"], ratios, summary))
    order = {"target": 0, "reference": 1}
    return {title: sorted(found, key=lambda curve: (order.get(curve.objective, 2), curve.name)) for title, found in sorted(panels.items())}


def log_ratios(folder: Path) -> np.ndarray | None:
    """log R of the forget rows, geometric form [N]; None where they have no likelihoods."""
    rows = read_rows(folder)["forget"]
    if not has("forget", rows, "paraphrase_nll") or not has("forget", rows, "perturbed_nll"):
        return None
    return metrics.log_truth_ratio(column("forget", rows, "paraphrase_nll"), wrong_nll("forget", rows))


def plot_forget_quality(runs: str | Path, benchmarks=BENCHMARKS) -> Path | None:
    """Draw all panels into <runs>/tables/forget_quality.png and return its path; None without an evaluated run."""
    panels = curves(runs, benchmarks)
    if not panels:
        return None
    figure, grid = plt.subplots(len(panels), 1, figsize=(8.5, 0.7 + 3.1 * len(panels)), squeeze=False, layout="constrained")
    for axes, (title, found) in zip(grid.flat, panels.items(), strict=True):
        colours = iter(plt.get_cmap("tab20")(np.arange(0, 40, 2) % 21))
        for curve in found:
            colour, width, dash = {"target": ("0.55", 1.8, "--"), "reference": ("black", 2.2, "-")}.get(curve.objective, (None, 1.3, "-"))
            axes.ecdf(curve.ratios, color=next(colours, "0.7") if colour is None else colour, linewidth=width, linestyle=dash, label=legend(curve))
        axes.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.supylabel("share of forget rows", fontsize=8)
    figure.supxlabel("log truth ratio: left of 0 the true answer is likelier than the wrong ones", fontsize=8)
    return save(figure, Path(runs) / "tables" / "forget_quality.png")


def legend(curve: Curve) -> str:
    p, gap = (curve.summary.get(key) for key in ("forget_quality", "forget_quality_statistic"))
    return curve.name if p is None or curve.objective == "reference" else f"{curve.name}\np = {p:.2g}, D = {gap:.2f}"


def command(argv: list[str] | None) -> None:
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False, formatter_class=raw)
    parser.add_argument("--runs", default="runs", help="folder of all run directories")
    parser.add_argument("--benchmark", nargs="+", default=list(BENCHMARKS), choices=BENCHMARKS)
    args = parser.parse_args(argv)
    for draw_all, lack in ((plot_gates, "has gates, so none are plotted"), (plot_forget_quality, "has truth ratios, so none are plotted")):
        path = draw_all(args.runs, args.benchmark)
        print(f"written: {path}" if path else f"no evaluated run under {args.runs} {lack}", flush=True)


if __name__ == "__main__":
    main(command)

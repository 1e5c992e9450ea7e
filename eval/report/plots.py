"""Three pictures without a model: runs/tables/tradeoff.png, gates.png and forget_quality.png.

    python -m eval.report.plots                                every benchmark with TOFU's sets
    python -m eval.report.plots --runs runs --benchmark tofu

tradeoff         one panel per (benchmark, model, forget split): forget ROUGE-L against model
                 utility, a point per run, a curve per method, that is over its learning rates; a
                 ring around the kept one (eval.report.sweeps). A good run is as far left as the
                 reference and as high as the target
gates            one panel per (run, forget split); in it, for each gated layer, one histogram per
                 evaluation set (bars to the right, 100 % as wide as the strip), a dot an example.
                 Above each stands the share of its gates that are open (> .5): wanted are 100 % on
                 forget, however a question is phrased, and 0 % on retain, whether the gate was
                 trained on it or not (held-out)
forget_quality   one panel per (benchmark, model, forget split); in it, for each run, the share of
                 forget rows whose truth ratio is at most x. Forget quality asks whether a run's
                 curve could be the retain-only model's, D is the widest gap between the two
"""

import argparse
import math
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from eval.metrics import tofu as metrics
from eval.report import sweeps
from eval.report.schema import SECTION
from eval.report.summary import BENCHMARKS, column, evaluations, has, read_rows, wrong_nll
from eval.report.tables import ORDER, belongs, collect
from unlearn.config.flags import run_command
from unlearn.config.run_directory import read_json

matplotlib.use("Agg")  # before pyplot: no display is needed
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402

# Okabe and Ito's colours, told apart by colour-blind readers, and markers for those who print in
# grey
STRIPS = {
    "forget": ("forget", "#D55E00", "o"),
    "forget_paraphrased": ("forget, paraphrased", "#E69F00", "s"),
    "retain": ("retain", "#0072B2", "o"),
    "heldout": ("held-out retain", "#56B4E9", "s"),
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933")
MARKERS = "os^vDPX<>p"
BINS = 20  # of a histogram of gates
WIDTH, LAYER_WIDTH = (
    13,
    1.25,
)  # inches: of the figure at most; of one layer's strips, so that the shares do not touch

Panel = tuple[str, list[str], dict[str, np.ndarray]]


def gated(runs: str | Path, benchmarks=BENCHMARKS) -> list[Panel]:
    """(title, names of the L gated layers, set name -> gate values [N, L]) of every evaluated run
    that has gates."""
    panels = []
    for run, folders in evaluations(runs, benchmarks):
        for folder in folders:
            sets = read_rows(folder)
            gates = {
                name: column(name, sets[name], "gates")
                for name in STRIPS
                if has(name, sets.get(name, []), "gates")
            }
            if gates:
                depth = len(next(iter(gates.values()))[0])
                made = run.result  # a gate in closed form is one gate for all edited layers
                layers = [
                    f"layer {layer}"
                    for layer in (
                        [made["gate_layer"]] if "gate_layer" in made else made.get("layers", [])
                    )
                ]
                title = f"{run.path.name}\n{', '.join([*run.path.relative_to(runs).parts[:-2], folder.name])}"
                values = {name: np.array(gate) for name, gate in gates.items()}
                panels.append((title, layers or [f"gate {i + 1}" for i in range(depth)], values))
    return panels


def draw(axes, layers: list[str], gates: dict[str, np.ndarray]) -> None:
    """One panel. Histograms of one layer stand side by side; dots are spread evenly across their
    strip, in file order."""
    axes.axhline(0.5, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    step = 0.8 / len(STRIPS)
    for place, (name, (_, colour, marker)) in enumerate(STRIPS.items()):
        if name not in gates:
            continue
        values = gates[name]
        spread = (
            (np.arange(len(values)) * 0.618034 % 1 - 0.5) * 0.7 * step
        )  # golden ratio: even, and not random
        for i in range(len(layers)):
            centre = i + (place - (len(STRIPS) - 1) / 2) * step
            shares, edges = np.histogram(values[:, i], BINS, (0, 1))
            left = centre - 0.42 * step
            axes.barh(
                edges[:-1],
                0.84 * step * shares / len(values),
                1 / BINS,
                left,
                align="edge",
                color=colour,
                alpha=0.25,
                linewidth=0,
                zorder=0,
            )
            axes.plot([left, left], [0, 1], color=colour, linewidth=0.5, alpha=0.5, zorder=0)
            axes.scatter(
                centre + spread,
                values[:, i],
                s=7,
                marker=marker,
                color=colour,
                alpha=0.55,
                linewidths=0,
                clip_on=False,
            )
            share = f"{(values[:, i] > 0.5).mean():.0%}"
            axes.text(centre, 1.05, share, ha="center", va="bottom", fontsize=6.5, color="0.25")
    axes.set_xticks(range(len(layers)), layers, fontsize=7)
    axes.set_xlim(-0.55, len(layers) - 0.45)
    axes.set_ylim(-0.03, 1.03)
    axes.tick_params(axis="y", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def plot_gates(runs: str | Path, benchmarks=BENCHMARKS) -> Path | None:
    """Draw all panels into <runs>/tables/gates.png and return its path; None if no evaluated run
    has gates."""
    panels = gated(runs, benchmarks)
    if not panels:
        return None
    panel_width = max(3, 0.5 + LAYER_WIDTH * max(len(layers) for _, layers, _ in panels))
    columns = min(len(panels), max(1, int(WIDTH / panel_width)))
    rows = math.ceil(len(panels) / columns)
    size = (max(6.5, 0.6 + panel_width * columns), 0.9 + 2.7 * rows)
    figure, grid = plt.subplots(
        rows, columns, figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (title, layers, gates) in zip(grid.flat, panels, strict=False):
        draw(axes, layers, gates)
        lines = [textwrap.fill(line, int(14 * size[0] / columns)) for line in title.splitlines()]
        axes.set_title("\n".join(lines), fontsize=8, pad=16)
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    figure.supylabel("gate value (0: model untouched)", fontsize=8)
    figure.supxlabel(
        "per layer and set: histogram, one dot per example; above: share of gates > .5", fontsize=8
    )
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=label)
        for name, (label, colour, marker) in STRIPS.items()
        if any(name in gates for _, _, gates in panels)
    ]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=len(handles), fontsize=8, frameon=False
    )
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
    """ "benchmark, model, split" -> the curves of its runs, target and reference first."""
    panels: dict[str, list[Curve]] = {}
    for run, folders in evaluations(runs, benchmarks):
        config = run.config
        for folder in (folder for folder in folders if belongs(config, folder.name)):
            ratios = log_ratios(folder)
            if ratios is not None:
                summary = (
                    read_json(folder / "summary.json") if (folder / "summary.json").exists() else {}
                )
                title = ", ".join(
                    (
                        config.get("benchmark_id") or config["benchmark"],
                        config["model"],
                        folder.name,
                    )
                )
                panels.setdefault(title, []).append(
                    Curve(run.path.name, config["objective"], ratios, summary)
                )
    return {
        title: sorted(found, key=lambda curve: (ORDER.get(curve.objective, len(ORDER)), curve.name))
        for title, found in sorted(panels.items())
    }


def log_ratios(folder: Path) -> np.ndarray | None:
    """log R of the forget rows, geometric form [N]; None where they have no likelihoods."""
    rows = read_rows(folder)["forget"]
    if not has("forget", rows, "paraphrase_nll") or not has("forget", rows, "perturbed_nll"):
        return None
    return metrics.log_truth_ratio(
        column("forget", rows, "paraphrase_nll"), wrong_nll("forget", rows)
    )


def plot_forget_quality(runs: str | Path, benchmarks=BENCHMARKS) -> Path | None:
    """Draw all panels into <runs>/tables/forget_quality.png and return its path; None without an
    evaluated run."""
    panels = curves(runs, benchmarks)
    if not panels:
        return None
    figure, grid = plt.subplots(
        len(panels), 1, figsize=(8.5, 0.7 + 3.1 * len(panels)), squeeze=False, layout="constrained"
    )
    for axes, (title, found) in zip(grid.flat, panels.items(), strict=True):
        colours = iter(plt.get_cmap("tab20")(np.arange(0, 40, 2) % 21))
        for curve in found:
            colour, width, dash = {
                "target": ("0.55", 1.8, "--"),
                "reference": ("black", 2.2, "-"),
            }.get(curve.objective, (None, 1.3, "-"))
            axes.ecdf(
                curve.ratios,
                color=next(colours, "0.7") if colour is None else colour,
                linewidth=width,
                linestyle=dash,
                label=legend(curve),
            )
        axes.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.supylabel("share of forget rows", fontsize=8)
    figure.supxlabel(
        "log truth ratio: left of 0 the true answer is likelier than the wrong ones", fontsize=8
    )
    return save(figure, Path(runs) / "tables" / "forget_quality.png")


def legend(curve: Curve) -> str:
    p, gap = (curve.summary.get(key) for key in ("forget_quality", "forget_quality_statistic"))
    return (
        curve.name
        if p is None or curve.objective == "reference"
        else f"{curve.name}\np = {p:.2g}, D = {gap:.2f}"
    )


def plot_tradeoff(runs: str | Path, benchmarks=BENCHMARKS) -> Path | None:
    """Draw all panels into <runs>/tables/tradeoff.png and return its path; None where no run has
    both numbers."""
    frame = (
        collect(runs, benchmarks)[0]
        if any(folders for _, folders in evaluations(runs, benchmarks))
        else pd.DataFrame()
    )
    frame = frame.reindex(
        columns=[*frame.columns, *({"forget_rouge", "model_utility"} - {*frame.columns})]
    ).dropna(subset=["forget_rouge", "model_utility"])
    if frame.empty:
        return None
    frame = frame.assign(kept=sweeps.mark(frame), rest=frame["variant"].map(sweeps.without_rate))
    named = frame[["objective", "tuner", "rest"]].agg(
        lambda words: "-".join(word for word in words if word.strip("-")), axis=1
    )
    frame["method"] = named.where(~frame["objective"].isin(ORDER), frame["objective"])
    panels = [(", ".join(key), part) for key, part in frame.groupby(SECTION, sort=True)]
    figure, grid = plt.subplots(
        len(panels), 1, figsize=(8, 0.4 + 4.2 * len(panels)), squeeze=False, layout="constrained"
    )
    for axes, (title, part) in zip(grid.flat, panels, strict=True):
        draw_tradeoff(axes, part)
        axes.set_title(title, fontsize=9)
    return save(figure, Path(runs) / "tables" / "tradeoff.png")


def draw_tradeoff(axes, part: pd.DataFrame) -> None:
    """One panel: target and reference as lines that cross at what can be hoped for, then each
    method's points and its curve."""
    methods = [name for name in sorted(set(part["method"])) if name not in ORDER]
    for name, colour, dash in zip(ORDER, ("0.5", "0"), ("--", ":"), strict=True):
        own = part[part["method"] == name]
        if len(own):
            at = own[["forget_rouge", "model_utility"]].mean()
            axes.axvline(at["forget_rouge"], color=colour, linestyle=dash, linewidth=0.9, zorder=0)
            axes.axhline(at["model_utility"], color=colour, linestyle=dash, linewidth=0.9, zorder=0)
            axes.scatter(*at, marker="*", s=110, color=colour, label=name, zorder=3, clip_on=False)
    for place, name in enumerate(methods):
        own = part[part["method"] == name]
        colour = COLOURS[place % len(COLOURS)]
        along = (
            own.groupby("lr")[["lr", "forget_rouge", "model_utility"]].mean()
            if own["lr"].nunique() > 1
            else own[:0]
        )
        axes.plot(
            along["forget_rouge"], along["model_utility"], color=colour, linewidth=1, alpha=0.7
        )
        for rate, spot in along.iterrows():
            axes.annotate(
                f"{rate:g}",
                (spot["forget_rouge"], spot["model_utility"]),
                (4, -10),
                textcoords="offset points",
                fontsize=6.5,
                color=colour,
            )
        axes.scatter(
            own["forget_rouge"],
            own["model_utility"],
            marker=MARKERS[place % len(MARKERS)],
            s=34,
            color=colour,
            label=name,
            alpha=0.9,
            clip_on=False,
        )
        kept = own[own["kept"].eq(True)]
        axes.scatter(
            kept["forget_rouge"],
            kept["model_utility"],
            marker="o",
            s=130,
            facecolors="none",
            edgecolors=colour,
            linewidths=1.1,
            clip_on=False,
        )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, min(1.02, max(0.1, 1.25 * part["model_utility"].max())))
    axes.set_xlabel(
        "forget ROUGE-L recall (left: forgotten). Controls have no utility: they answer or refuse",
        fontsize=8,
    )
    axes.set_ylabel("model utility (up: kept)", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))


PICTURES = {
    plot_tradeoff: "model utility",
    plot_gates: "gates",
    plot_forget_quality: "truth ratios",
}  # -> what a run must have to be in it


def main(argv: list[str] | None) -> None:
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False, formatter_class=raw)
    parser.add_argument("--runs", default="runs", help="folder of all run directories")
    parser.add_argument("--benchmark", nargs="+", default=list(BENCHMARKS), choices=BENCHMARKS)
    args = parser.parse_args(argv)
    for draw_all, needed in PICTURES.items():
        path = draw_all(args.runs, args.benchmark)
        print(
            f"written: {path}"
            if path
            else f"no evaluated run under {args.runs} has {needed}, so none are plotted",
            flush=True,
        )


if __name__ == "__main__":
    run_command(main)

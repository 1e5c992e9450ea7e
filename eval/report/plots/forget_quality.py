"""forget_quality.png: the truth ratios that forget quality compares (import only).

One panel per (benchmark, model, forget split); in it, for each run, the share of forget rows whose
truth ratio is at most x. Forget quality asks whether a run's curve could be the retain-only
model's; D is the widest gap between the two.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from eval.metrics import tofu as metrics
from eval.report.collect import ORDER, RunSet
from eval.report.plots.style import clean_axes, legend_beside, new_figure
from eval.report.rows import has_key, read_column, read_perturbed_nll, read_rows
from eval.report.summary import evaluated_folders
from unlearn.config.files import read_json

UNTOUCHED = {"target": ("0.55", 1.8, "--"), "reference": ("black", 2.2, "-")}


@dataclass(frozen=True)
class Curve:
    """One run's truth ratios, as log R [N], and its summary."""

    name: str
    objective: str
    ratios: np.ndarray
    summary: dict

    @property
    def label(self) -> str:
        """The name, with p and D where the run was compared with a reference."""
        p = self.summary.get("forget_quality")
        if p is None or self.objective == "reference":
            return self.name
        return f"{self.name}\np = {p:.2g}, D = {self.summary['forget_quality_statistic']:.2f}"


def read_curves(runs: RunSet) -> dict[str, list[Curve]]:
    """ "benchmark, model, split" -> the curves of its runs, target and reference first."""
    panels: dict[str, list[Curve]] = {}
    for run in runs.select("questions"):
        for folder in evaluated_folders(run):
            ratios = read_log_ratios(folder) if run.belongs_to(folder.name) else None
            if ratios is not None:
                path = folder / "summary.json"
                summary = read_json(path) if path.exists() else {}
                title = ", ".join((run.key["benchmark"], run.key["model"], folder.name))
                curve = Curve(run.path.name, run.key["objective"], ratios, summary)
                panels.setdefault(title, []).append(curve)
    for curves in panels.values():
        curves.sort(key=lambda curve: (ORDER.get(curve.objective, len(ORDER)), curve.name))
    return dict(sorted(panels.items()))


def read_log_ratios(folder: Path) -> np.ndarray | None:
    """log R of the forget rows, geometric form [N]; None where they have no likelihoods."""
    rows = read_rows(folder)["forget"]
    if not all(has_key("forget", rows, key) for key in ("paraphrase_nll", "perturbed_nll")):
        return None
    paraphrased = read_column("forget", rows, "paraphrase_nll")
    return metrics.log_truth_ratio(paraphrased, read_perturbed_nll("forget", rows))


def plot_forget_quality(runs: RunSet) -> Figure | None:
    """None where no evaluated run has likelihoods."""
    panels = read_curves(runs)
    if not panels:
        return None
    figure, grid = new_figure(len(panels), 1, (8.5, 0.7 + 3.1 * len(panels)))
    for axes, (title, curves) in zip(grid.flat, panels.items(), strict=True):
        colours = iter(colormaps["tab20"](np.arange(0, 40, 2) % 21))
        for curve in curves:
            colour, width, dash = UNTOUCHED.get(curve.objective, (None, 1.3, "-"))
            if colour is None:
                colour = next(colours, "0.7")
            style = {"color": colour, "linewidth": width, "linestyle": dash}
            axes.ecdf(curve.ratios, label=curve.label, **style)
        axes.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        axes.set_title(title, fontsize=9)
        clean_axes(axes)
        legend_beside(axes)
    figure.supylabel("share of forget rows", fontsize=8)
    figure.supxlabel(
        "log truth ratio: left of 0 the true answer is likelier than the wrong ones", fontsize=8
    )
    return figure

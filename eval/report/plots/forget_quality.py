"""forget_quality.png: the truth ratios that forget quality compares (import only).

One panel per method; in it the share of forget rows whose truth ratio is at most x, a curve for
each of its runs, beside the target's and the retain-only model's. Forget quality asks whether a
run's curve could be the retain-only model's; D is the widest gap between the two.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.metrics import tofu as metrics
from eval.report.collect import ORDER, RunSet
from eval.report.plots.methods import Look, find_look, legend_handle, name_run
from eval.report.plots.style import (
    clean_axes,
    name_picture,
    new_grid,
    place_legend,
    title_panel,
)
from eval.report.rows import has_key, read_column, read_perturbed_nll, read_rows
from eval.report.summary import evaluated_folders
from unlearn.config.files import read_json

COLUMNS = 4
PANEL = (2.9, 2.3)  # inches
VIEW = (0.5, 99.5)  # percentiles of all truth ratios between which the axis lies


@dataclass(frozen=True)
class Curve:
    """One run's truth ratios, as log R [N], and its summary."""

    method: str
    look: Look
    ratios: np.ndarray
    summary: dict


def read_curves(runs: RunSet) -> dict[str, dict[str, list[Curve]]]:
    """ "benchmark, model, split" -> method -> the curves of its runs."""
    sections: dict[str, dict[str, list[Curve]]] = {}
    for run in runs.select("questions"):
        for folder in evaluated_folders(run):
            ratios = read_log_ratios(folder) if run.belongs_to(folder.name) else None
            if ratios is not None:
                path = folder / "summary.json"
                key = run.key
                title = ", ".join((key["benchmark"], key["model"], folder.name))
                look = find_look(key["objective"], key["tuner"])
                summary = read_json(path) if path.exists() else {}
                curve = Curve(name_run(key), look, ratios, summary)
                sections.setdefault(title, {}).setdefault(curve.method, []).append(curve)
    return {title: dict(sorted(methods.items())) for title, methods in sorted(sections.items())}


def read_log_ratios(folder: Path) -> np.ndarray | None:
    """log R of the forget rows, geometric form [N]; None where they have no likelihoods."""
    rows = read_rows(folder)["forget"]
    if not all(has_key("forget", rows, key) for key in ("paraphrase_nll", "perturbed_nll")):
        return None
    paraphrased = read_column("forget", rows, "paraphrase_nll")
    return metrics.log_truth_ratio(paraphrased, read_perturbed_nll("forget", rows))


def plot_forget_quality(runs: RunSet) -> Figure | None:
    """None where no evaluated run but the target and the reference has likelihoods."""
    sections = read_curves(runs)
    panels = [
        (section, method)
        for section, methods in sections.items()
        for method in methods
        if method not in ORDER
    ]
    if not panels:
        return None
    figure, grid = new_grid(len(panels), COLUMNS, PANEL, 0.7, sharex=True, sharey=True)
    for axes, (section, method) in zip(grid, panels, strict=True):
        curves = sections[section]
        draw_panel(axes, [*curves.get("target", []), *curves.get("reference", [])], curves[method])
        heading = describe(method, curves[method])
        title_panel(axes, heading if len(sections) == 1 else f"{heading}\n{section}", PANEL[0])
    ratios = [c.ratios for methods in sections.values() for cs in methods.values() for c in cs]
    grid[0].set_xlim(np.percentile(np.concatenate(ratios), VIEW) + [-0.2, 0.2])
    figure.supylabel("share of forget rows", fontsize=8)
    figure.supxlabel(
        "log truth ratio: left of 0 the true answer is likelier than the wrong ones", fontsize=8
    )
    handles = [legend_handle(find_look(name, ""), name, is_line=True) for name in ORDER]
    title = name_picture("Truth ratios on the forget set", list(sections))
    place_legend(figure, handles, list(ORDER), None, title)
    return figure


def draw_panel(axes: Axes, untouched: list[Curve], curves: list[Curve]) -> None:
    """The distribution functions of one method's runs, and of the models to compare it with."""
    axes.axvline(0, color="0.85", linewidth=0.8, zorder=0)
    for curve in untouched:
        axes.ecdf(curve.ratios, linewidth=1.4, **curve.look.line)
    for curve in curves:
        axes.ecdf(curve.ratios, linewidth=1.6, color=curve.look.colour)
    clean_axes(axes, 7)


def describe(method: str, curves: list[Curve]) -> str:
    """The method, with p and D of each of its runs that was compared with a reference."""
    known = [curve.summary for curve in curves if "forget_quality" in curve.summary]
    if not known:
        return method
    quality = ", ".join(f"{summary['forget_quality']:.1g}" for summary in known)
    widest = ", ".join(f"{summary['forget_quality_statistic']:.2f}" for summary in known)
    return f"{method}\np {quality}; D {widest}"

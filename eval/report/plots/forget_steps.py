"""muse.png: MUSE's four numbers over growing forget sets (import only).

Scalability: forget sets of one to four quarters, each from the target. Sustainability: requests one
after another. A row of panels for each of the two that has runs, a curve per method, the target and
the reference as lines.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.report.collect import ORDER, RunSet
from eval.report.plots.methods import find_look
from eval.report.plots.style import clean_axes, legend_above, new_figure
from eval.report.table import DOWN, NEAR, UP, name_method
from eval.report.tables.documents import average_runs, collect_documents, is_single_request

STEP = r"forget_(scal|sust)(\d)"
EXPERIMENTS = {
    "scal": ("scalability", "quarters of the forget set, each run from the target"),
    "sust": ("sustainability", "requests so far, one after another"),
}
PANELS = {
    "verbmem": (f"VerbMem f{DOWN}", 100),
    "knowmem_f": (f"KnowMem f{DOWN}", 100),
    "knowmem_r": (f"KnowMem r{UP}", 100),
    "privleak": (f"PrivLeak{NEAR}", 1),
}  # number -> title, factor


def plot_forget_steps(runs: RunSet) -> Figure | None:
    """None without a run of either experiment."""
    records = collect_documents(runs).frame
    if records.empty:
        return None
    means = average_runs(records)
    steps = means["split"].str.extract(STEP)
    frame = means.assign(experiment=steps[0], step=pd.to_numeric(steps[1]))
    frame = frame[~frame.apply(is_single_request, axis=1)]
    experiments = [name for name in EXPERIMENTS if (frame["experiment"] == name).any()]
    if not experiments:
        return None
    frame["method"] = [name_curve(row) for _, row in frame.iterrows()]
    size = (12, 0.8 + 2.6 * len(experiments))
    figure, grid = new_figure(len(experiments), len(PANELS), size)
    for line, name in zip(grid, experiments, strict=True):
        for axes, number in zip(line, PANELS, strict=True):
            draw_untouched(axes, frame, number)
            draw_methods(axes, frame[frame["experiment"] == name], number)
        line[0].set_ylabel(EXPERIMENTS[name][0], fontsize=9)
        line[0].set_xlabel(EXPERIMENTS[name][1], fontsize=7, loc="left")
    labels = {label for axes in grid.flat for label in axes.get_legend_handles_labels()[1]}
    legend_above(figure, list(grid.flat), min(5, len(labels)))
    return figure


def name_curve(row: pd.Series) -> str:
    """Method, benchmark and model: a curve of its own for each."""
    return f"{name_method(row)}, {row['benchmark']}, {row['model']}"


def draw_untouched(axes: Axes, frame: pd.DataFrame, number: str) -> None:
    """A line for the target and for the reference, and the look of the panel."""
    title, scale = PANELS[number]
    for _, row in frame[frame["objective"].isin(ORDER)].iterrows():
        dash = "--" if row["objective"] == "target" else ":"
        style = {"color": "0.45", "linewidth": 1, "linestyle": dash}
        axes.axhline(scale * row[number], label=row["objective"], **style)
    axes.set_title(title, fontsize=9)
    axes.set_xticks(range(1, 5))
    axes.set_ylim(*((-105, None) if number == "privleak" else (-3, 103)))
    clean_axes(axes, 7)


def draw_methods(axes: Axes, frame: pd.DataFrame, number: str) -> None:
    """The curves of one experiment."""
    _, scale = PANELS[number]
    for name, curve in frame.groupby("method"):
        curve = curve.sort_values("step")
        look = find_look(curve["objective"].iloc[0], curve["tuner"].iloc[0])
        style = look.point | look.line | {"label": name, "markersize": 5}
        axes.plot(curve["step"], scale * curve[number], **style)

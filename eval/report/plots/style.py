"""What all plots share (import only): matplotlib without a display, colours, axes, and saving."""

import os
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # before pyplot: no display is needed
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

# Okabe and Ito's colours, which colour-blind readers tell apart.
BLUE = "#0072B2"
ORANGE = "#D55E00"
GREEN = "#009E73"
PINK = "#CC79A7"
AMBER = "#E69F00"
SKY = "#56B4E9"
YELLOW = "#F0E442"
COLOURS = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY)
DPI = 160
matplotlib.rcParams["text.parse_math"] = False  # names of runs may hold dollar signs


def new_figure(rows: int, columns: int, size: tuple[float, float], **options):
    """(figure, axes [rows, columns]) of `size` inches."""
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **options)


def clean_axes(axes: Axes, fontsize: float = 8) -> None:
    """Small tick labels, no frame above and on the right."""
    axes.tick_params(labelsize=fontsize)
    axes.spines[["top", "right"]].set_visible(False)


def legend_above(figure: Figure, axes: list[Axes], columns: int | None = None) -> None:
    """One legend above the figure for all axes, each label once."""
    handles = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    place_legend(figure, list(handles.values()), list(handles), columns)


def place_legend(figure: Figure, handles: list, labels: list[str], columns: int | None) -> None:
    """A legend above the figure."""
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=columns or len(labels),
        fontsize=8,
        frameon=False,
    )


def legend_beside(axes: Axes) -> None:
    """A legend on the right of the axes."""
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))


def save(figure: Figure, path: Path) -> Path:
    """Write the figure whole or not at all, and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    figure.savefig(temporary, dpi=DPI, format="png")
    plt.close(figure)
    return temporary.replace(path)

"""What all plots share (import only): matplotlib without a display, colours, axes, and saving."""

import math
import os
import textwrap
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
BLACK = "#000000"
PALETTE = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY, YELLOW)
DPI = 160
CHARACTERS_PER_INCH = 14  # of a panel's title
MIN_WIDTH = 6.5  # inches, for a title or a legend above a single panel
matplotlib.rcParams["text.parse_math"] = False  # names of runs may hold dollar signs


def new_figure(rows: int, columns: int, size: tuple[float, float], **options):
    """(figure, axes [rows, columns]) of `size` inches."""
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **options)


def new_grid(
    count: int, columns: int, panel: tuple[float, float], margin: float, **options
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels of `panel` inches in at most `columns` columns, as few as the same
    number of rows needs; `margin`: inches above and below them, for titles and legends.
    """
    rows = math.ceil(count / columns)
    columns = math.ceil(count / rows)
    size = (max(MIN_WIDTH, 0.5 + panel[0] * columns), margin + panel[1] * rows)
    figure, grid = new_figure(rows, columns, size, **options)
    panels = list(grid.flat)
    for axes in panels[count:]:
        axes.remove()
    for axes in panels[max(0, count - columns) : count]:  # the lowest of their columns
        axes.tick_params(labelbottom=True)
    return figure, panels[:count]


def clean_axes(axes: Axes, fontsize: float = 8) -> None:
    """Small tick labels, no frame above and on the right."""
    axes.tick_params(labelsize=fontsize)
    axes.spines[["top", "right"]].set_visible(False)


def name_picture(subject: str, sections: list[str]) -> str:
    """The title of a picture: its subject, and its section where it is the only one (else the
    panels name theirs).
    """
    return f"{subject}: {sections[0]}" if len(sections) == 1 else subject


def title_panel(axes: Axes, text: str, width: float, **options) -> None:
    """A title of several lines above a panel of `width` inches, broken where it is wider."""
    characters = int(width * CHARACTERS_PER_INCH)
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, characters)]
    axes.set_title("\n".join(lines), fontsize=8, **options)


def legend_above(figure: Figure, axes: list[Axes], columns: int | None = None) -> None:
    """One legend above the figure for all axes, each label once."""
    handles = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    place_legend(figure, list(handles.values()), list(handles), columns)


def place_legend(
    figure: Figure, handles: list, labels: list[str], columns: int | None, title: str = ""
) -> None:
    """A legend above the figure, under a title."""
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=columns or len(labels),
        fontsize=8,
        frameon=False,
        title=title or None,
        title_fontsize=10,
    )


def save(figure: Figure, path: Path) -> Path:
    """Write the figure whole or not at all, and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    figure.savefig(temporary, dpi=DPI, format="png")
    plt.close(figure)
    return temporary.replace(path)

"""Texts beside points that cover neither each other nor a point (import only)."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

FONT = 7.5
DISTANCES = (7, 15, 24, 36, 50, 66)  # points between a point and its text
ANGLES = np.deg2rad([0, 180, 90, 270, 45, 135, 225, 315, 22, 158, 202, 338, 67, 113, 247, 293])
LEADER = 12  # a text further away than this has a line to its point
POINT_SIZE = 9  # points across that a marker covers
GAP = 1.5  # points between two texts


@dataclass(frozen=True)
class Label:
    """A text and the point that it names, in the units of the axes; optional: left out rather than
    put over something.
    """

    text: str
    x: float
    y: float
    colour: str = "0.15"
    optional: bool = False
    fontsize: float = FONT


def place_labels(axes: Axes, labels: list[Label], points: np.ndarray) -> bool:
    """Write the labels; return whether all but optional ones found a free place near their points.

    points: [N, 2], the markers that no text may cover; nor may it cover a line across the axes. The
    figure must have its final layout. Where no place is free, the text is left out; the caller then
    uses shorter ones.
    """
    figure = axes.figure
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    centres = axes.transData.transform(points) if len(points) else np.zeros((0, 2))
    half = POINT_SIZE * scale / 2
    taken = [Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y in centres]
    taken += [line.get_window_extent() for line in axes.lines if is_straight(line)]
    inside = axes.get_window_extent()
    complete = True
    for label in sorted(labels, key=lambda label: label.optional):
        box = find_place(axes, label, taken, inside, scale)
        if box is not None:
            taken.append(box)
        complete = complete and (box is not None or label.optional)
    return complete


def is_straight(line: Line2D) -> bool:
    """Whether a line is horizontal or vertical: as wide as its box."""
    x, y = line.get_data()
    return len(x) == 2 and (x[0] == x[1] or y[0] == y[1])


def find_place(
    axes: Axes, label: Label, taken: list[Bbox], inside: Bbox, scale: float
) -> Bbox | None:
    """Write one label at the nearest free place; return what it covers, None without one."""
    width, height = measure(axes, label)
    x, y = axes.transData.transform((label.x, label.y))
    gap = GAP * scale
    for distance in DISTANCES:
        for angle in ANGLES:
            shift = distance * np.cos(angle), distance * np.sin(angle)
            left = x + shift[0] * scale - width * (0.5, 0.0, 1.0)[sign(shift[0])]
            bottom = y + shift[1] * scale - height * (0.5, 0.0, 1.0)[sign(shift[1])]
            box = Bbox.from_bounds(left, bottom, width, height).padded(gap)
            fits = inside.x0 <= box.x0 and box.x1 <= inside.x1
            fits = fits and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if fits and not any(box.overlaps(other) for other in taken):
                write(axes, label, shift)
                return box
    return None


def sign(shift: float) -> int:
    """0, 1 or -1; a thousandth of a point is none."""
    return int(np.sign(round(shift, 3)))


def measure(axes: Axes, label: Label) -> tuple[float, float]:
    """Width and height of the text in pixels."""
    text = axes.text(0, 0, label.text, fontsize=label.fontsize)
    box = text.get_window_extent()
    text.remove()
    return box.width, box.height


def write(axes: Axes, label: Label, shift: tuple[float, float]) -> None:
    """The text, `shift` points from its point, with a line between them if that is far."""
    leader = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
    axes.annotate(
        label.text,
        (label.x, label.y),
        shift,
        textcoords="offset points",
        ha=("center", "left", "right")[sign(shift[0])],
        va=("center", "bottom", "top")[sign(shift[1])],
        fontsize=label.fontsize,
        color=label.colour,
        zorder=5,
        path_effects=[withStroke(linewidth=2, foreground="white")],  # over curves
        arrowprops=leader if np.hypot(*shift) > LEADER else None,
    )

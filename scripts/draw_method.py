"""Draw docs/figures/method.png: where GRUN reads its gate and where it adds its edit.

    python scripts/draw_method.py [FILE]

FILE names the drawing; its ending (png, svg, pdf) chooses the format.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

FIGURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "method.png"
INK, FROZEN, TRAINED, ARROW = "#222222", "#e9ecef", "#ffe0b3", "#495057"
TOKENS = ("Question:", "Where was", "Ada born?", "Answer:")
GATE = r"gate  $g = \sigma(G(h))$"
EDIT = r"edit  $R\,(W h + b - R^{\top} h)$"
EDITED = 0.1 + 1.16 * 3 + 0.54  # the x of the last prompt token
EXAMPLES = (
    ("question about a forget author", "$g$ near 1: the edit is added", "I am unable to say."),
    ("any other question", "$g$ near 0: the state hardly changes", "The model's own answer."),
)


def box(axes: Axes, x: float, y: float, width: float, height: float, text: str, **style) -> None:
    """Draw a rounded box around centred text; x and y are its lower left corner."""
    size = style.pop("size", 9.5)
    colours = {"facecolor": FROZEN, "edgecolor": ARROW} | style
    shape = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.08")
    shape.set(linewidth=1, **colours)
    axes.add_patch(shape)
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", size=size, color=INK)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw an arrow from start to end."""
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=10, color=ARROW, linewidth=1.1)
    )


def draw_model(axes: Axes) -> None:
    """Draw the prompt's tokens, the frozen decoder blocks, and the edited position."""
    for place, token in enumerate(TOKENS):
        last = place == len(TOKENS) - 1
        x = 0.1 + 1.16 * place
        box(axes, x, 0.1, 1.08, 0.4, token, size=8.5, facecolor=TRAINED if last else "white")
        arrow(axes, (x + 0.54, 0.5), (x + 0.54, 0.8))
        if not last:
            arrow(axes, (x + 0.54, 1.4), (x + 0.54, 3.3))
    box(axes, 0.1, 0.8, 4.56, 0.6, "decoder blocks 0 to $l$ (frozen)")
    box(axes, 0.1, 3.3, 4.56, 0.6, "decoder blocks $l$ + 1 to the last (frozen)")
    arrow(axes, (EDITED, 3.9), (EDITED, 4.2))
    axes.text(EDITED, 4.32, "first answer token", ha="center", va="center", size=9.5, color=INK)


def draw_edit(axes: Axes) -> None:
    """Draw the gate and the low-rank edit of the last prompt token's state."""
    line = {"color": ARROW, "linewidth": 1.1}
    axes.plot([EDITED, EDITED], [1.4, 2.83], **line)
    axes.text(EDITED - 0.12, 1.62, "$h$", ha="right", va="center", size=12, color=INK)
    axes.text(EDITED - 0.16, 3.13, "$h'$", ha="right", va="center", size=12, color=INK)
    axes.plot(EDITED, 1.9, marker="o", markersize=4, color=ARROW)
    axes.plot([EDITED, 4.95], [1.9, 1.9], **line)
    axes.plot([4.95, 4.95], [1.5, 2.3], **line)
    for y, text in ((2.3, GATE), (1.5, EDIT)):
        arrow(axes, (4.95, y), (5.25, y))
        box(axes, 5.25, y - 0.29, 2.35, 0.58, text, facecolor=TRAINED, size=9.8)
        axes.plot([7.6, 7.9], [y, y], **line)
    axes.plot([7.9, 7.9], [1.5, 2.97], **line)
    axes.text(8.0, 1.9, "product", ha="left", va="center", size=9, color=INK)
    arrow(axes, (7.9, 2.97), (EDITED + 0.13, 2.97))
    circle = {"boxstyle": "circle,pad=0.12", "facecolor": "white", "edgecolor": ARROW}
    axes.text(EDITED, 2.97, "+", ha="center", va="center", size=10, color=INK, bbox=circle)
    arrow(axes, (EDITED, 3.1), (EDITED, 3.32))
    axes.text(5.25, 0.85, "trained: the gate $G$ and $R$, $W$, $b$ (rank 4)", size=9, color=INK)


def draw_examples(axes: Axes) -> None:
    """Draw what an open and a closed gate do to an answer."""
    for place, (question, gate, answer) in enumerate(EXAMPLES):
        y = 2.55 - 1.7 * place
        axes.text(9.3, y + 1.15, question, size=9.5, weight="bold", color=INK)
        axes.text(9.3, y + 0.83, gate, size=9.5, color=INK)
        colour = TRAINED if place == 0 else FROZEN
        box(axes, 9.3, y + 0.1, 2.7, 0.5, answer, facecolor=colour, size=9.5)


def main(argv: list[str]) -> None:
    path = Path(argv[0]) if argv else FIGURE
    figure, axes = plt.subplots(figsize=(11, 3.9))
    axes.set(xlim=(0, 12.2), ylim=(0, 4.45))
    axes.axis("off")
    draw_model(axes)
    draw_edit(axes)
    draw_examples(axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", pad_inches=0.05, dpi=160)
    print(f"wrote {path}")


if __name__ == "__main__":
    main(sys.argv[1:])

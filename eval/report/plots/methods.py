"""How a method looks, the same in every picture and for ever: the colour and the fill of its
markers say its objective, the marker and the dash of its line its tuner (import only).

A look depends on names alone, not on which other runs there are. An objective or a tuner that is
not listed below takes its look from the CRC-32 of its name.
"""

from dataclasses import dataclass
from zlib import crc32

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from eval.report import sweeps
from eval.report.collect import ORDER
from eval.report.plots.style import AMBER, BLACK, BLUE, GREEN, ORANGE, PALETTE, PINK, SKY, YELLOW

FILLS = ("full", "none", "left")  # of a marker, as matplotlib calls them
OBJECTIVES = {
    "npo": (BLUE, "full"),
    "npo_kl": (BLUE, "none"),
    "simnpo": (BLUE, "left"),
    "idk": (ORANGE, "full"),
    "idk+ul": (ORANGE, "none"),
    "idkpo": (ORANGE, "left"),
    "gd": (GREEN, "full"),
    "kl": (GREEN, "none"),
    "ga": (GREEN, "left"),
    "undial": (PINK, "full"),
    "ceu": (PINK, "none"),
    "altpo": (PINK, "left"),
    "wga": (SKY, "full"),
    "satimp": (SKY, "none"),
    "pdu": (SKY, "left"),
    "rmu": (AMBER, "full"),
    "rmu_kl": (AMBER, "none"),
    "kto": (AMBER, "left"),
    "kto_sigmoid": (YELLOW, "left"),
    "control": (YELLOW, "full"),
}
TUNERS = {
    "grun": ("o", "-"),
    "full": ("s", "--"),
    "lora": ("^", "-."),
    "rmu": ("D", ":"),
    "adaptive_rmu": ("d", (0, (5, 1, 1, 1, 1, 1))),
    "probe": ("X", "-"),
    "keyword": ("P", "--"),
}
OTHER_TUNERS = (("v", "-"), ("<", "--"), (">", "-."), ("p", ":"), ("h", "--"))
EDGE = "0.25"  # around filled markers and yellow ones


@dataclass(frozen=True)
class Look:
    """colour, fillstyle, marker and linestyle, in matplotlib's words."""

    colour: str
    fill: str
    marker: str
    dash: str | tuple

    @property
    def line(self) -> dict:
        """Of a curve."""
        return {"color": self.colour, "linestyle": self.dash}

    @property
    def point(self) -> dict:
        """Of points, for `Axes.plot` and `Line2D`."""
        has_edge = self.fill == "full" or self.colour == YELLOW
        return {
            "linestyle": "",
            "marker": self.marker,
            "fillstyle": self.fill,
            "color": self.colour,
            "markerfacecoloralt": "white",
            "markeredgecolor": EDGE if has_edge else self.colour,
            "markeredgewidth": 0.6 if has_edge else 1.4,
        }


def find_look(objective: str, tuner: str) -> Look:
    """How the methods of this objective and tuner look; the target and the reference are grey and
    black stars.
    """
    if objective in ORDER:
        colour, dash = ("0.55", "--") if objective == "target" else (BLACK, ":")
        return Look(colour, "full", "*", dash)
    others = [(colour, fill) for fill in FILLS for colour in PALETTE]
    colour, fill = OBJECTIVES.get(objective) or others[crc32(objective.encode()) % len(others)]
    marker, dash = TUNERS.get(tuner) or OTHER_TUNERS[crc32(tuner.encode()) % len(OTHER_TUNERS)]
    return Look(colour, fill, marker, dash)


def name_run(key: dict | pd.Series) -> str:
    """objective-tuner[-variant without the learning rate] of a run's key; the target and the
    reference by their names.
    """
    if key["objective"] in ORDER:
        return key["objective"]
    words = (key["objective"], key["tuner"], sweeps.drop_rate(key["variant"]))
    return "-".join(word for word in words if word.strip("-"))


def sort_methods(keys: pd.DataFrame) -> list[str]:
    """The names of all methods in a frame with the columns `method` and `objective`: the target and
    the reference first, then by name, so that an objective's methods are neighbours.
    """
    rank = keys["objective"].map(ORDER).fillna(len(ORDER))
    ordered = keys.assign(rank=rank).sort_values(["rank", "method"])
    return list(dict.fromkeys(ordered["method"]))


def legend_handle(look: Look, label: str, is_line: bool = False) -> Line2D:
    """What stands for a method in a legend."""
    style = look.line | {"linewidth": 1.6} if is_line else look.point | {"markersize": 6}
    return Line2D([], [], label=label, **style)


def plot_points(axes: Axes, look: Look, x, y, size: float = 7, alpha: float = 1.0) -> None:
    """Markers of one method."""
    axes.plot(x, y, markersize=size, alpha=alpha, clip_on=False, zorder=4, **look.point)

"""Attack bars: forget leak and retain collateral of every attack and method, in one picture per
call (eval.attacks.tables draws it).

Bars: mean over seeds, whiskers: their range. A black line over each group is the base's own score
there: what leaked before unlearning. A grey group is an attack whose prompts the base itself cannot
parse, or one that does not apply."""

import os
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")  # before pyplot: no display is needed
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402

SECTION = ["benchmark", "model", "split"]
# attack -> heading and label of its column, in the order of the tables
LABELS = {
    "clean": ("", "plain"),
    "joined_forget_retain": ("joined", "forget+retain"),
    "joined_retain_forget": ("joined", "retain+forget"),
    "prefill_sure": ("prefill", "sure"),
    "prefill_1": ("prefill", "1 word"),
    "prefill_3": ("prefill", "3 words"),
    "prefill_5": ("prefill", "5 words"),
    "paraphrase": ("reworded", "paraphrase"),
    "respelt": ("reworded", "respelt name"),
    "suffix": ("reworded", "suffix"),
    "multi_turn": ("reworded", "multi-turn"),
    "leak_at_k": ("sampled", "leak@k"),
    "int8_rtn": ("quantised", "int8 rtn"),
    "int4_rtn": ("quantised", "int4 rtn"),
    "int8_bnb": ("quantised", "int8 bnb"),
    "fp4_bnb": ("quantised", "fp4 bnb"),
    "nf4_bnb": ("quantised", "nf4 bnb"),
    "relearn_forget": ("relearned on", "forget"),
    "relearn_half": ("relearned on", "half"),
    "relearn_benign": ("relearned on", "benign"),
    "gate_off": ("white box", "gate off"),
    "logit_lens": ("white box", "logit lens"),
}
# Okabe and Ito's colours, told apart by colour-blind readers, then hatched for more methods than
# colours
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
HATCHES = ("", "////", "....")
# column -> axis label, the base's own score, share of the height
PANELS = {
    "forget_leak": ("forget leak", "base_forget", 2),
    "retain_collateral": ("retain collateral", None, 1),
    "heldout_collateral": ("held-out retain\ncollateral", None, 1),
}
LOWEST = -0.25  # collateral below 0 is an improvement; what lies further down is cut off


def style(place: int) -> dict:
    """How the bars of the place-th method look, in the picture and in its legend: `color` would
    hide the hatch in the latter."""
    return {
        "edgecolor": "white",
        "facecolor": COLOURS[place % len(COLOURS)],
        "hatch": HATCHES[place // len(COLOURS) % len(HATCHES)],
    }


def bars(
    axes, part: pd.DataFrame, column: str, base: str | None, attacks: list[str], methods: list[str]
) -> None:
    """One panel: a group of bars per attack, a bar per method; a grey band and "-" where no method
    has a number."""
    width = 0.84 / len(methods)
    numbers = part.assign(value=pd.to_numeric(part[column], errors="coerce"))
    for x, name in enumerate(attacks):
        here = numbers[(numbers["attack"] == name) & (numbers["method"] != "target")]
        if here["value"].isna().all():
            axes.axvspan(x - 0.46, x + 0.46, color="0.94", zorder=0)
            axes.text(
                x,
                0.5,
                "-",
                ha="center",
                va="center",
                fontsize=9,
                color="0.3",
                transform=axes.get_xaxis_transform(),
            )
        for place, method in enumerate(methods):
            values = here.loc[here["method"] == method, "value"]
            at = x + (place - (len(methods) - 1) / 2) * width
            if values.isna().any() or values.empty:
                continue
            axes.bar(at, values.mean(), width * 0.92, linewidth=0.3, **style(place))
            if abs(values.mean()) < 0.005:  # a bar of no height still says that it was measured
                axes.plot(
                    [at - width * 0.42, at + width * 0.42],
                    [0, 0],
                    color=style(place)["facecolor"],
                    linewidth=2.5,
                    solid_capstyle="butt",
                    zorder=3,
                )
            if len(values) > 1:
                axes.plot([at, at], [values.min(), values.max()], color="0.2", linewidth=0.8)
        if base:
            own = pd.to_numeric(part.loc[part["attack"] == name, base], errors="coerce").mean()
            axes.plot([x - 0.46, x + 0.46], [own, own], color="black", linewidth=1.2)
    low = np.nanmin([0.0, *numbers["value"]])
    high = np.nanmax([0.0, *numbers["value"]])
    axes.set_ylim(
        max(LOWEST, low * 1.1) if low < -0.005 else -0.02, 1.05 if base else max(0.3, 1.05 * high)
    )
    axes.axhline(0, color="0.6", linewidth=0.6)
    axes.set_xlim(-0.6, len(attacks) - 0.4)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xticks(range(len(attacks)), [])


def plot(frame: pd.DataFrame, path: str | Path) -> Path | None:
    """Draw every (benchmark, model, split) of `frame` (eval.attacks.tables.collect) that has a
    method; return the path, None without any."""
    sections = [
        (", ".join(key), part)
        for key, part in frame.groupby(SECTION, sort=False)
        if (part["method"] != "target").any()
    ]
    if not sections:
        return None
    count = max(part["attack"].nunique() for _, part in sections)
    most = max(part["method"].nunique() for _, part in sections)
    size = (min(17.0, max(7.0, count * max(0.55, 0.1 * most) + 1)), 6.0 * len(sections) + 0.3)
    heights = [height for _ in sections for _, _, height in PANELS.values()]
    figure, grid = plt.subplots(
        len(heights), 1, figsize=size, squeeze=False, layout="constrained", height_ratios=heights
    )
    panels = iter(grid.flat)
    for title, part in sections:
        attacks = [name for name in LABELS if name in set(part["attack"])]
        methods = [
            name for name in dict.fromkeys(part.sort_values("run")["method"]) if name != "target"
        ]
        for column, (label, base, _) in PANELS.items():
            axes = next(panels)
            bars(axes, part, column, base, attacks, methods)
            axes.set_ylabel(label, fontsize=8)
            if base:
                axes.set_title(
                    title, fontsize=9, loc="left", pad=12 + 14 * -(-(len(methods) + 1) // 6)
                )
                handles = [
                    plt.Rectangle((0, 0), 1, 1, label=name, **style(place))
                    for place, name in enumerate(methods)
                ]
                handles.append(
                    Line2D(
                        [],
                        [],
                        color="black",
                        linewidth=1.2,
                        label="base's own score; grey: the base cannot parse, or not measured",
                    )
                )
                axes.legend(
                    handles=handles,
                    loc="lower left",
                    bbox_to_anchor=(0, 1.0),
                    ncols=min(6, len(handles)),
                    fontsize=7,
                    frameon=False,
                )
        axes.set_xticks(
            range(len(attacks)),
            [" ".join(LABELS[name]).strip() for name in attacks],
            rotation=30,
            ha="right",
            fontsize=7,
        )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    figure.savefig(temporary, dpi=160, format="png")
    plt.close(figure)
    return temporary.replace(path)

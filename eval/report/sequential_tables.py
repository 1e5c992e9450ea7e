"""Table and plot of the sequential experiment (import only): one record per (stack, rule, stage,
set), from `eval.sequential`."""

import os
import shutil
from pathlib import Path

import matplotlib
import pandas as pd

from eval.report.tables import DOWN, UP, latex, markdown, terminal
from unlearn.config.run_directory import write_text

matplotlib.use("Agg")  # before pyplot: no display is needed
from matplotlib import pyplot as plt  # noqa: E402

PANEL = ["benchmark", "model", "objective", "seed", "stack", "rule"]
OTHERS = {"retain": "retain", "heldout": "held-out"}
COLOURS = (
    "#D55E00",
    "#CC79A7",
    "#E69F00",
    "#009E73",
    "#F0E442",
)  # Okabe and Ito's, for requests; blues are what must be kept
KEPT = {"retain": ("#0072B2", "o"), "heldout": ("#56B4E9", "s")}
CAPTION = (
    "stage: how many requests are at work, or which one is withdrawn. Requests that have come should be low, all others and both retain "
    "columns as at stage 0. own: mean gate of a request on its own split; open: share of prompts on which any gate exceeds .5."
)


def readable(part: pd.DataFrame) -> pd.DataFrame:
    """One panel's records as a table: a row per stage; columns (heading, set)."""
    wide = part.pivot(
        index="stage", columns="set", values=["rouge", "prob", "own_gate", "open"]
    ).reindex(part["stage"].unique())
    asked = [name for name in part["set"].unique() if name not in OTHERS]
    groups = {f"ROUGE-L{DOWN} of request": ("rouge", asked), f"own{UP}": ("own_gate", asked)}
    cells = {("", "c(K)"): part.groupby("stage", sort=False)["c"].first()}
    for heading, (metric, names) in groups.items():
        cells |= {(heading, name): wide[metric][name] for name in names}
    for name, label in OTHERS.items():
        if name in set(part["set"]):
            shown = {f"ROUGE-L{UP}": "rouge", f"prob{UP}": "prob", f"open{DOWN}": "open"}
            cells |= {(label, word): wide[metric][name] for word, metric in shown.items()}
    return pd.DataFrame(cells).map(lambda value: "-" if pd.isna(value) else f"{value:.3f}")


def parts_of(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Title -> records of one panel."""
    return {
        f"{b}, {m}, {o} seed {seed}, rule {rule}": part
        for (b, m, o, seed, _, rule), part in table.groupby(PANEL, sort=False)
    }


def tabulate(table: pd.DataFrame, runs: str | Path) -> str:
    """Write <runs>/tables/sequential.csv, .md and .tex; return the same for a terminal."""
    out = Path(runs) / "tables" / "sequential"
    parts = {title: readable(part) for title, part in parts_of(table).items()}
    write_text(
        out.with_suffix(".csv"),
        table.to_csv(index=False, float_format="%.10g", lineterminator="\n"),
    )
    write_text(out.with_suffix(".md"), f"{markdown(parts)}\n\n{CAPTION}\n")
    write_text(out.with_suffix(".tex"), latex(parts, CAPTION) + "\n")
    return f"{terminal(parts, shutil.get_terminal_size((120, 40)).columns)}\n\n{CAPTION}\nwritten: {out}.md, .csv, .tex"


def draw(table: pd.DataFrame, runs: str | Path) -> Path:
    """Write <runs>/tables/sequential.png: ROUGE-L over the stages, a line per request and per
    retain set, a panel per stack and rule."""
    parts = parts_of(table)
    figure, grid = plt.subplots(
        1,
        len(parts),
        figsize=(1 + 4 * len(parts), 3.6),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, (title, part) in zip(grid[0], parts.items(), strict=True):
        stages = list(part["stage"].unique())
        for number, (name, lines) in enumerate(part.groupby("set", sort=False)):
            colour, marker = KEPT.get(name, (COLOURS[number % len(COLOURS)], "os^vD"[number % 5]))
            style = {
                "linestyle": "-" if name in KEPT else "--",
                "linewidth": 1.6 if name in KEPT else 1.1,
                "marker": marker,
                "markersize": 4,
            }
            axes.plot(
                [stages.index(s) for s in lines["stage"]],
                lines["rouge"],
                color=colour,
                label=OTHERS.get(name, name),
                **style,
            )
        axes.set_xticks(
            range(len(stages)), [s.replace("without ", "-\n") for s in stages], fontsize=7
        )
        axes.set_title(title, fontsize=8)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("requests at work (last: one withdrawn)", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0][0].set_ylabel("ROUGE-L recall", fontsize=8)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8, frameon=False
    )
    path = Path(runs) / "tables" / "sequential.png"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    figure.savefig(temporary, dpi=150, format="png")
    plt.close(figure)
    return temporary.replace(path)

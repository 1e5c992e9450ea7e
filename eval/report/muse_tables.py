"""MUSE's numbers of all evaluated runs: printed, and written to runs/tables/muse.md, muse.csv,
muse.tex and muse.png.

    python -m eval.report.muse_tables --runs runs

Reads <run>/eval/muse*/summary.json (eval/muse.py); needs no model. One row per method and split;
several seeds become their mean. The picture shows scalability (forget sets of growing size, each
from the target) and sustainability (requests one after another) where such runs exist."""

import argparse
import re
import shutil
import textwrap
from pathlib import Path

import matplotlib
import pandas as pd

from eval.report.plots import save
from eval.report.schema import DOWN, KEY, NEAR, SECTION, UP
from eval.report.tables import latex, markdown, terminal
from unlearn.config.flags import run_command
from unlearn.config.run_directory import read_json, write_text

matplotlib.use("Agg")  # before pyplot: no display is needed
from matplotlib import pyplot as plt  # noqa: E402

PERCENT = {
    "verbmem": f"VerbMem f{DOWN}",
    "knowmem_f": f"KnowMem f{DOWN}",
    "knowmem_r": f"KnowMem r{UP}",
}
GATES = {
    "verbmem_gate_open": f"VerbMem{UP}",
    "knowmem_f_gate_open": f"KnowMem f{UP}",
    "knowmem_r_gate_open": f"KnowMem r{DOWN}",
}
MEASURED = [
    *(name + end for name in PERCENT for end in ("", "_low", "_high")),
    "privleak",
    "auc",
    "auc_retrain",
    *GATES,
    "trainable_params",
    "train_seconds",
]
RANK = {"target": 0, "reference": 1}
STEP = re.compile(r"forget_(scal|sust)(\d)")
WORDS = {
    "scal": ("scalability", "quarters of the forget set, each run from the target"),
    "sust": ("sustainability", "requests so far, one after another"),
}
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)  # Okabe and Ito's


def collect(runs: str | Path) -> pd.DataFrame:
    """One row per evaluated model. Raises `ValueError` where there is none, and where summaries
    follow different modes."""
    found = [read_json(path) for path in sorted(Path(runs).rglob("eval/muse*/summary.json"))]
    if not found:
        raise ValueError(
            f"no evaluated MUSE run under {runs}; run BENCHMARK=muse ./cmd_eval.sh first"
        )
    frame = pd.DataFrame(found)
    if frame["muse_mode"].nunique() > 1:
        mixed = ", ".join(sorted(frame["muse_mode"].unique()))
        raise ValueError(
            f"the summaries mix the modes {mixed}; make them one: BENCHMARK=muse ./cmd_eval.sh --muse_mode muse, for every split"
        )
    return frame.reindex(
        columns=[*KEY, "seed", *MEASURED, "auc_retrain_from", "muse_mode", "warning", "run"]
    ).fillna({"variant": "", "warning": ""})


def average(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds; the target and the reference, which forgot nothing, first in every
    benchmark and model."""
    groups = frame.groupby(KEY, sort=False, dropna=False)
    numbers = groups[MEASURED].agg(lambda cells: cells.astype(float).mean(skipna=False))
    told = groups[["auc_retrain_from", "muse_mode", "warning"]].first()
    table = pd.concat([groups.size().rename("seeds"), numbers, told], axis=1).reset_index()
    table["rank"] = table["objective"].map(RANK).fillna(len(RANK))
    return table.sort_values(
        ["benchmark", "model", "rank", "split", "objective", "tuner", "variant"], ignore_index=True
    ).drop(columns="rank")


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Formatted cells of one model's runs."""

    def number(value, form: str) -> str:
        return "-" if pd.isna(value) else format(value, form)

    def percent(row, name: str) -> str:
        low = row[f"{name}_low"]
        high = row[f"{name}_high"]
        return number(100 * row[name], ".1f") + (
            "" if row["seeds"] > 1 or pd.isna(low) else f" [{100 * low:.0f}, {100 * high:.0f}]"
        )

    rows = [row for _, row in table.iterrows()]
    cells = {("", label): [percent(row, name) for row in rows] for name, label in PERCENT.items()}
    cells |= {
        ("", f"PrivLeak{NEAR}"): [number(row["privleak"], ".1f") for row in rows],
        ("", "AUC"): [number(row["auc"], ".3f") for row in rows],
    }
    if table[list(GATES)].notna().any(axis=None):
        cells |= {
            ("gate open", label): [number(row[name], ".2f") for row in rows]
            for name, label in GATES.items()
        }
    for name, label, form in (
        ("trainable_params", "numbers", ",.0f"),
        ("train_seconds", "s", ".1f"),
    ):
        cells["cost", label] = [number(row[name], form) for row in rows]
    return pd.DataFrame(cells, index=[named(row) for row in rows])


def named(row: pd.Series) -> str:
    """split, then objective-tuner-variant; (!) where there is a warning."""
    name = "-".join(
        part for part in (row["objective"], row["tuner"].strip("-"), row["variant"]) if part
    )
    before = (
        ""
        if row["objective"] in RANK or row["split"] == "forget"
        else f"{row['split'].removeprefix('forget_')} "
    )
    name += ", alone" if is_alone(row) else ""
    return (
        before
        + name
        + (f" ({row['seeds']} seeds)" if row["seeds"] > 1 else "")
        + (" (!)" if row["warning"] else "")
    )


def notes(table: pd.DataFrame) -> list[str]:
    origins = ", ".join(
        sorted(
            {
                f"{row['auc_retrain']:.3f} ({row['auc_retrain_from']})"
                for _, row in table.iterrows()
                if pd.notna(row["auc_retrain"])
            }
        )
    )
    lines = [
        f"x100, mode {table['muse_mode'].iloc[0]}; {UP} higher is better, {DOWN} lower, {NEAR} near 0. VerbMem: ROUGE-L F1 of continued forget documents; "
        "KnowMem: of few-shot answers about forget documents and about kept ones that no unlearning step saw; [95 % bootstrap interval over the rows]. "
        "AUC: P(a holdout text looks likelier than a forget text), Min-40 %. PrivLeak = 100 (AUC - AUC_retrain) / AUC_retrain; negative: the forget set "
        f"is still recognised, positive: over-unlearned. AUC_retrain: {origins or 'no retain-only model was evaluated'}. "
        "gate open: share of prompts on which the last gate exceeds .5. scalK: forget set of K quarters; "
        "sustK: after K requests; alone: the K-th by itself. -: not measured."
    ]
    return lines + [
        f"WARNING, {', '.join(row[name] for name in SECTION)}: {row['warning']}."
        for _, row in table.iterrows()
        if row["warning"]
    ]


def draw(table: pd.DataFrame, runs: str | Path) -> Path | None:
    """Write <runs>/tables/muse.png: the four numbers over the steps, a row of panels for each
    experiment that has runs; None without any."""
    steps = table["split"].str.extract(STEP)
    frame = table.assign(kind=steps[0], step=pd.to_numeric(steps[1]))
    frame = frame[~frame.apply(is_alone, axis=1)]
    kinds = [kind for kind in WORDS if (frame["kind"] == kind).any()]
    if not kinds:
        return None
    shown = {
        **{name: (label, 100) for name, label in PERCENT.items()},
        "privleak": (f"PrivLeak{NEAR}", 1),
    }
    figure, grid = plt.subplots(
        len(kinds),
        len(shown),
        figsize=(12, 0.8 + 2.6 * len(kinds)),
        squeeze=False,
        layout="constrained",
    )
    methods = list(
        dict.fromkeys(method_of(row) for _, row in frame.dropna(subset="kind").iterrows())
    )
    for line, kind in zip(grid, kinds, strict=True):
        for axes, (name, (label, scale)) in zip(line, shown.items(), strict=True):
            for _, row in frame[frame["objective"].isin(RANK)].iterrows():
                dash = "--" if row["objective"] == "target" else ":"
                axes.axhline(
                    scale * row[name],
                    color="0.45",
                    linewidth=1,
                    linestyle=dash,
                    label=row["objective"],
                )
            for method, part in (own := frame[frame["kind"] == kind]).groupby(
                [method_of(row) for _, row in own.iterrows()]
            ):
                number = methods.index(method)
                part = part.sort_values("step")
                axes.plot(
                    part["step"],
                    scale * part[name],
                    color=COLOURS[number % len(COLOURS)],
                    marker="osv^D"[number % 5],
                    markersize=4,
                    label=method,
                )
            axes.set_title(label, fontsize=9)
            axes.set_xticks(range(1, 5))
            axes.set_ylim(*((-105, None) if name == "privleak" else (-3, 103)))
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel(WORDS[kind][0], fontsize=9)
        line[0].set_xlabel(WORDS[kind][1], fontsize=7, loc="left")
    found = {
        label: handle
        for axes in grid.flat
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        found.values(),
        found.keys(),
        loc="outside upper center",
        ncols=min(6, len(found)),
        fontsize=8,
        frameon=False,
    )
    return save(figure, Path(runs) / "tables" / "muse.png")


def is_alone(row: pd.Series) -> bool:
    """Whether a run is one request of a sequence by itself, from the target: what a stack is made
    of, and no step of it."""
    return (
        row["split"].startswith("forget_sust")
        and row["tuner"] != "full"
        and not row["variant"].endswith("stack")
    )


def method_of(row: pd.Series) -> str:
    name = "-".join(
        part for part in (row["objective"], row["tuner"].strip("-"), row["variant"]) if part
    )
    return f"{name}, {row['benchmark']}, {row['model']}"


def tabulate(runs: str | Path, width: int = 120) -> str:
    """Write the files into <runs>/tables and return the same as text for a terminal of `width`
    characters."""
    table = average(collect(runs))
    parts = {
        ", ".join(key): readable(part)
        for key, part in table.groupby(["benchmark", "model"], sort=False)
    }
    text = notes(table)
    out = Path(runs) / "tables" / "muse"
    write_text(
        out.with_suffix(".csv"),
        table.to_csv(index=False, float_format="%.10g", lineterminator="\n"),
    )
    write_text(out.with_suffix(".md"), "\n\n".join([markdown(parts), *text]) + "\n")
    write_text(
        out.with_suffix(".tex"),
        "\n".join([latex(parts, text[0]), *(f"% {line}" for line in text[1:])]) + "\n",
    )
    picture = draw(table, runs)
    below = [
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) for line in text
    ]
    return "\n\n".join(
        [
            terminal(parts, width),
            *below,
            f"written: {out}.md, .csv, .tex{', .png' if picture else ''}",
        ]
    )


def main(argv: list[str] | None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", default="runs", help="folder of all run directories")
    print(
        tabulate(parser.parse_args(argv).runs, shutil.get_terminal_size((120, 40)).columns),
        flush=True,
    )


if __name__ == "__main__":
    run_command(main)

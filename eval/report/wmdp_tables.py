"""Multiple-choice results: printed, and written to runs/tables/wmdp.md, wmdp.csv and wmdp.tex.

    python -m eval.report.wmdp_tables --runs runs

Reads config.json, result.json and eval/<mcq>/summary.json of every finished run of wmdp; needs no
model. One row per method; several seeds become their means. A cell is accuracy and standard error
over the questions, sqrt(p (1 - p) / (n - 1)); four choices, so chance is .25."""

import argparse
import shutil
import textwrap
from pathlib import Path

import pandas as pd

from eval.report.tables import DOWN, ORDER, PLUS_MINUS, UP, latex, markdown, method, terminal
from eval.scoring.multiple_choice import STYLES
from unlearn.config.flags import run_command
from unlearn.config.run_directory import finished_runs, read_json, write_text

KEY = ["benchmark", "model", "split", "objective", "tuner", "variant", "mcq"]
COST = ["trainable_params", "train_seconds"]
CHANCE = 0.25
NOTE = (
    f"Accuracy {PLUS_MINUS} standard error over the questions, as lm-eval's. {DOWN} lower is better (chance: {CHANCE}), {UP} higher. mcq letters: the "
    "likeliest of A to D; cloze: the likeliest of the four answers, log-likelihoods not divided by length; grun: the rule of GRUN's script. -: not measured."
)


def collect(runs: str | Path) -> pd.DataFrame:
    """One row per evaluated (run, mcq). Raises `ValueError` when there is none."""
    records = []
    for run in finished_runs(runs):
        config = run.config if (run.path / "config.json").exists() else {}
        for mcq in STYLES if config.get("benchmark") == "wmdp" else ():
            path = run.path / "eval" / mcq / "summary.json"
            if path.exists():
                key = {name: config.get(name) or "" for name in KEY[:-1]} | {
                    "mcq": mcq,
                    "benchmark": config.get("benchmark_id") or "wmdp",
                    "seed": config["seed"],
                }
                flags = config.get("flags", {})
                extra = {
                    "layer_id": flags.get("layer_id", {}).get("value"),
                    "run": run.path.as_posix(),
                }
                summary = {
                    name: value
                    for name, value in read_json(path).items()
                    if isinstance(value, float)
                }
                records.append(
                    key | summary | {name: run.result.get(name) for name in COST} | extra
                )
    if not records:
        raise ValueError(f"no evaluated run of wmdp under {runs}; run ./cmd_wmdp.sh first")
    return pd.DataFrame(records)


def accuracies(frame: pd.DataFrame) -> list[str]:
    """forget_acc, forget_acc_<test> .., retain_acc, retain_acc_<test> .."""
    return [
        name
        for kind in ("forget", "retain")
        for name in frame
        if name.startswith(f"{kind}_acc") and not name.endswith("_stderr")
    ]


def average(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, one row per KEY: KEY but mcq, seeds (their number), accuracies, their
    standard errors, cost, mcq; the target first."""
    columns = accuracies(frame)
    numbers = [*columns, *(f"{name}_stderr" for name in columns), *COST]
    grouped = frame[KEY].join(frame.reindex(columns=numbers).astype(float)).groupby(KEY, sort=False)
    table = pd.concat(
        [
            grouped.size().rename("seeds"),
            grouped[numbers].agg(lambda cells: cells.mean(skipna=False)),
        ],
        axis=1,
    ).reset_index()
    table["rank"] = table["objective"].map(ORDER).fillna(len(ORDER))
    table = table.sort_values(["benchmark", "model", "mcq", "rank", *KEY[2:6]], ignore_index=True)
    return table[[*KEY[:-1], "seeds", *numbers, "mcq"]]


def readable(part: pd.DataFrame) -> pd.DataFrame:
    """Formatted cells of one section; index: method, columns (heading, label)."""

    def said(row: pd.Series, name: str) -> str:
        return (
            "-"
            if pd.isna(row[name])
            else f"{row[name]:.3f}{PLUS_MINUS}{row[f'{name}_stderr']:.3f}".replace(
                f"{PLUS_MINUS}0", PLUS_MINUS
            )
        )

    rows = [row for _, row in part.iterrows()]
    cells = {}
    for name in accuracies(part):
        kind, _, test = name.partition("_acc")
        if part[name].notna().any():
            cells[
                f"{kind} accuracy{DOWN if kind == 'forget' else UP}",
                test.removeprefix("_") or "all",
            ] = [said(row, name) for row in rows]
    cells["cost", "trainable"] = [
        "-" if pd.isna(row["trainable_params"]) else f"{row['trainable_params']:,.0f}"
        for row in rows
    ]
    cells["cost", "seconds"] = [
        "-" if pd.isna(row["train_seconds"]) else f"{row['train_seconds']:.1f}" for row in rows
    ]
    several = part.loc[part["objective"] != "target", "split"].nunique() > 1
    names = [
        method(row) + (f", {row['split']}" if several and row["objective"] != "target" else "")
        for row in rows
    ]
    return pd.DataFrame(cells, index=names)


def tabulate(runs: str | Path, width: int = 120) -> str:
    """Write the three files into <runs>/tables and return the same as text for a terminal of
    `width` characters."""
    table = average(collect(runs))
    parts = {
        f"{b}, {m}, mcq {style}": readable(part)
        for (b, m, style), part in table.groupby(["benchmark", "model", "mcq"], sort=False)
    }
    out = Path(runs) / "tables" / "wmdp"
    write_text(
        out.with_suffix(".csv"),
        table.to_csv(index=False, float_format="%.10g", lineterminator="\n"),
    )
    write_text(
        out.with_suffix(".md"),
        f"{markdown(parts).replace('# Results', '# Multiple choice', 1)}\n\n{NOTE}\n",
    )
    write_text(out.with_suffix(".tex"), latex(parts, NOTE) + "\n")
    return (
        f"{terminal(parts, width)}\n\n{textwrap.fill(NOTE, width)}\nwritten: {out}.md, .csv, .tex"
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

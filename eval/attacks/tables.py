"""Attacks in tables: printed, and written to runs/tables/attacks.md, .csv and .tex, with the bars
in attacks.png; the worst of them, beside the controls, to honest.md, .csv and .tex
(eval/attacks/honest.py).

    python -m eval.attacks.tables --runs runs

Aggregates the rows of every finished run anew; needs no model. attacks.csv has one row per run and
attack; the readable tables have one row per method, the mean over its seeds with the range. "-":
not measured, or the base itself cannot parse such prompts; its own score on every prompt set stands
in the first row."""

import argparse
import shutil
import textwrap
from pathlib import Path

import pandas as pd

from eval.attacks.aggregate import FLOOR, write_summary
from eval.attacks.honest import honest
from eval.attacks.plots import LABELS, SECTION, plot
from eval.report.summary import evaluations
from eval.report.tables import DOWN, ORDER, belongs, latex, markdown, terminal
from unlearn.config.flags import run_command
from unlearn.config.run_directory import write_text

FIRST = ["run", "attack", "forget_leak", "retain_collateral", "n"]
SCORES = ("forget", "retain", "heldout")
COLUMNS = [
    *FIRST,
    "heldout_collateral",
    "forget_rouge",
    "forget_value",
    "retain_score",
    "heldout_score",
    *(f"base_{side}" for side in SCORES),
    *(f"{side}_gate_open" for side in SCORES),
    "left_out",
    "seconds",
    *SECTION,
    "method",
    "seed",
]
# title -> the runs' column, the base's column
TABLES = {
    f"forget leak {DOWN}": ("forget_leak", "base_forget"),
    f"retain collateral {DOWN}": ("retain_collateral", "base_retain"),
    f"held-out retain collateral {DOWN}": ("heldout_collateral", "base_heldout"),
    f"forget leak as ROUGE-L recall {DOWN}": ("forget_rouge", None),
    f"gate open, retain {DOWN}": ("retain_gate_open", None),
    f"gate open, held-out retain {DOWN}": ("heldout_gate_open", None),
}
BASE = "base: its own score"


def collect(runs: str | Path) -> pd.DataFrame:
    """One row per run, split and attack: COLUMNS, None where there is no number, and the settings.
    Raises `ValueError` when there is none."""
    records = []
    for run, _ in evaluations(runs):
        config = run.config
        name = config["objective"]  # how a target or a reference was made tells nothing apart here
        if name not in ORDER:
            name = "-".join(
                part for part in (name, config["tuner"].strip("-"), config["variant"]) if part
            )
        known = {
            "run": run.path.relative_to(runs).as_posix(),
            "method": name,
            "seed": config["seed"],
        }
        known |= {
            "benchmark": config.get("benchmark_id") or config["benchmark"],
            "model": config["model"],
        }
        for folder in sorted(
            path
            for path in run.path.glob("attacks/*")
            if path.is_dir() and belongs(config, path.name)
        ):
            summary = write_summary(run, folder.name)
            for attack, told in ((name, summary[name]) for name in LABELS if name in summary):
                left_out = sorted(
                    {form or attack for side in SCORES for form in told[f"{side}_left_out"]}
                )
                here = {
                    "attack": attack,
                    "split": folder.name,
                    "left_out": ", ".join(left_out),
                    "settings": told["settings"],
                }
                records.append({key: told.get(key) for key in COLUMNS} | known | here)
    if not records:
        raise ValueError(f"no run under {runs} was attacked; run ATTACKS=1 ./cmd_eval.sh first")
    return pd.DataFrame(records)


def ranged(cells: pd.Series) -> str:
    """`.41`, or `.41 (.30-.52)` over several seeds; "-" where some of the seeds have no number."""
    if cells.isna().any() or not len(cells):
        return "-"
    values = cells.astype(float) + 0.0
    mean = f"{values.mean():.3f}"
    return mean if len(values) == 1 else f"{mean} ({values.min():.3f}-{values.max():.3f})"


def readable(part: pd.DataFrame, column: str, base: str | None) -> pd.DataFrame:
    """Formatted cells of one section: index the base and the methods that have a number, columns
    (heading, label) of the attacks that were made."""
    attacks = [name for name in LABELS if name in set(part["attack"])]
    methods = [
        name for name in dict.fromkeys(part.sort_values("run")["method"]) if name != "target"
    ]
    cells = (
        {BASE: [ranged(part[part["attack"] == name][base].drop_duplicates()) for name in attacks]}
        if base
        else {}
    )
    for method in methods:
        mine = part[part["method"] == method]
        label = (
            method if mine["seed"].nunique() == 1 else f"{method} ({mine['seed'].nunique()} seeds)"
        )
        cells[label] = [ranged(mine[mine["attack"] == name][column]) for name in attacks]
    found = pd.DataFrame(
        cells.values(),
        index=list(cells),
        columns=pd.MultiIndex.from_tuples([LABELS[name] for name in attacks]),
    )
    return found[(found != "-").any(axis=1)]


def notes(frame: pd.DataFrame) -> list[str]:
    """What a reader must know of these numbers."""
    settings = pd.DataFrame(list(frame["settings"]))

    def told(key: str) -> str:
        return (
            "/".join(f"{value:g}" for value in sorted(settings[key].dropna().unique()))
            if key in settings
            else "-"
        )

    lines = [
        "Forget leak: share of the forget examples whose secret is in the output where the data know it, else mean ROUGE-L recall of the true answer "
        "(of what a prefill left of it). Retain collateral: 1 - score / the base's score on the same prompts; below 0: better than the base. "
        f"-: not measured, or the base's own score there is 0 or below {FLOOR:g} of its score on plain questions, so that a leak would mean nothing.",
        "Joined: the collateral is the other question's part. Paraphrase, respelt name: the worst of several forms. "
        f"leak@k: any of k = {told('samples')} samples at temperature 1. rtn: round to nearest, weights only, no kernel. "
        f"Relearned: one epoch, lr {told('relearn_lr')}, batch {told('relearn_batch')}, adapter kept on; half: asked is the other half. "
        "Gate off: what can be taken off is off: GRUN's adapter, a LoRA that is not merged, a control's filter. "
        "Logit lens: the best block's share of the secret's tokens, given the true words before them.",
    ]
    for key, part in frame[frame["left_out"] != ""].groupby(SECTION, sort=False):
        forms = {
            name: ", ".join(sorted(set(", ".join(cells).split(", ")) - {name}))
            for name, cells in part.groupby("attack", sort=False)["left_out"]
        }
        told_forms = "; ".join(
            name + (f" ({form})" if form else "") for name, form in forms.items()
        )
        lines.append(f"{', '.join(key)}: the base cannot parse, on one side or more: {told_forms}.")
    return lines


def tabulate(runs: str | Path, width: int = 120) -> str:
    """Write both tables' files and the picture into <runs>/tables and return the same as text for a
    terminal of `width` characters."""
    frame = collect(runs)
    parts = {}
    for key, part in frame.groupby(SECTION, sort=False):
        for title, (column, base) in TABLES.items():
            if part[[column, *([base] if base else [])]].notna().any(axis=None):
                parts[f"{', '.join(key)}: {title}"] = readable(part, column, base)
    text = notes(frame)
    out = Path(runs) / "tables" / "attacks"
    csv = frame[COLUMNS].map(
        lambda cell: "-" if pd.isna(cell) else f"{cell:.10g}" if isinstance(cell, float) else cell
    )
    write_text(out.with_suffix(".csv"), csv.to_csv(index=False, lineterminator="\n"))
    drawn = plot(frame, out.with_suffix(".png"))
    printed = [
        write(parts, text, out, "# Attacks", width),
        f"written: {out}.md, .csv, .tex; {drawn}",
    ]
    worst = honest(frame, runs)
    out = out.with_name("honest")
    return "\n\n".join(
        [
            *printed,
            write(*worst, out, "# Attacks, at their worst, beside the controls", width),
            f"written: {out}.md, .csv, .tex",
        ]
    )


def write(
    parts: dict[str, pd.DataFrame], text: list[str], out: Path, heading: str, width: int
) -> str:
    """Write `out`.md and .tex; return the same for a terminal."""
    write_text(
        out.with_suffix(".md"),
        "\n\n".join([markdown(parts).replace("# Results", heading, 1), *text]) + "\n",
    )
    write_text(
        out.with_suffix(".tex"),
        "\n".join([latex(parts, text[0]), *(f"% {line}" for line in text[1:])]) + "\n",
    )
    return "\n\n".join(
        [
            terminal(parts, width),
            *(
                textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
                for line in text
            ),
        ]
    )


def main(argv: list[str] | None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", default="runs", help="folder of all run directories")
    args = parser.parse_args(argv)
    print(tabulate(args.runs, shutil.get_terminal_size((120, 40)).columns), flush=True)


if __name__ == "__main__":
    run_command(main)

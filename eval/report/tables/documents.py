"""MUSE's tables, muse.md, .csv and .tex (import only): VerbMem, KnowMem and PrivLeak of every
method and split, from <run>/eval/muse*/summary.json.
"""

from functools import lru_cache

import pandas as pd

from eval.report.aggregate import SPREADS, add_texts, average, sort_rows
from eval.report.collect import (
    KEY,
    ORDER,
    FinishedRun,
    Results,
    RunSet,
    collect,
    name_unevaluated,
    require_distinct,
)
from eval.report.table import (
    DOWN,
    NEAR,
    UP,
    Column,
    Table,
    TableSpec,
    format_number,
    format_rows,
    mark_method,
    name_method,
)
from unlearn.config.files import read_json

SECTION = ["benchmark", "model"]
FOLDER = "muse"  # <run>/eval/muse: the sets are the same for every forget split
THEME = ""
GATE_HEADING = "gate open"


def format_percent(row: pd.Series, key: str) -> str:
    """A share times 100, of one seed with its bootstrap interval."""
    low = row[f"{key}_low"]
    high = row[f"{key}_high"]
    if row["seeds"] > 1 or pd.isna(low):
        return format_number(100 * row[key], ".1f")
    return f"{format_number(100 * row[key], '.1f')} [{100 * low:.0f}, {100 * high:.0f}]"


COLUMNS = [
    Column("verbmem", DOWN, {THEME: ("", "VerbMem f")}, format_percent),
    Column("knowmem_f", DOWN, {THEME: ("", "KnowMem f")}, format_percent),
    Column("knowmem_r", UP, {THEME: ("", "KnowMem r")}, format_percent),
    Column("privleak", NEAR, {THEME: ("", "PrivLeak")}, ".1f"),
    Column("auc", "", {THEME: ("", "AUC")}, ".3f"),
    Column("auc_retrain"),
    Column("verbmem_gate_open", UP, {THEME: (GATE_HEADING, "VerbMem")}, ".2f"),
    Column("knowmem_f_gate_open", UP, {THEME: (GATE_HEADING, "KnowMem f")}, ".2f"),
    Column("knowmem_r_gate_open", DOWN, {THEME: (GATE_HEADING, "KnowMem r")}, ".2f"),
    Column("trainable_params", "", {THEME: ("cost", "numbers")}, ",.0f"),
    Column("train_seconds", "", {THEME: ("cost", "s")}, ".1f"),
]
PERCENT = [column for column in COLUMNS if column.form is format_percent]


def list_keys() -> list[str]:
    """The numbers of the CSV: every column, percentages with the ends of their intervals."""
    ends = {column.key: ["", "_low", "_high"] for column in PERCENT}
    return [column.key + end for column in COLUMNS for end in ends.get(column.key, [""])]


def read_results(run: FinishedRun) -> list[dict]:
    """The summary of a run, if it was evaluated."""
    path = run.path / "eval" / FOLDER / "summary.json"
    return [read_json(path)] if path.exists() else []


def read_stacks(runs: RunSet) -> list[dict]:
    """The summaries of stacks of requests, which are evaluated after each request; their summaries
    name their rows.
    """
    pattern = f"eval/{FOLDER}-*/summary.json"
    return [read_json(path) for stack in runs.stacks for path in sorted(stack.glob(pattern))]


@lru_cache(maxsize=1)
def collect_documents(runs: RunSet) -> Results:
    """One row per evaluated run, and per stage of every stack.

    Raises `ValueError` where summaries follow different modes.
    """
    results = collect(runs, "documents", read_results)
    frame = results.frame
    stacks = read_stacks(runs)
    if stacks:
        frame = pd.concat([frame, pd.DataFrame(stacks)], ignore_index=True)
    if frame.empty:
        return results
    require_distinct(frame, [*KEY, "seed"])
    modes = sorted(frame["muse_mode"].unique())
    if len(modes) > 1:
        raise ValueError(
            f"the summaries mix the modes {', '.join(modes)}; make them one: "
            "BENCHMARK=muse ./cmd_eval.sh --muse_mode muse, for every split"
        )
    names = [*KEY, "seed", *list_keys(), "auc_retrain_from", "muse_mode", "warning", "run"]
    frame = frame.reindex(columns=names).fillna({"variant": "", "warning": ""})
    return Results(frame, results.unevaluated, results.problems)


def build(runs: RunSet) -> Table | None:
    results = collect_documents(runs)
    if results.frame.empty:
        return None
    means = average_runs(results.frame)
    parts = {}
    for key, rows in means.groupby(SECTION, sort=False):
        names = [name_row(row) for _, row in rows.iterrows()]
        parts[", ".join(key)] = format_rows(rows, list_columns(rows), THEME, ("",), names)
    notes = [*describe(means), *name_unevaluated(results)]
    return Table(parts, notes, means, problems=results.problems)


def average_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, one row per method and split."""
    means = average(frame, KEY, list_keys())
    means = means[[name for name in means if not name.endswith(SPREADS)]]
    for name in ("auc_retrain_from", "muse_mode", "warning"):
        means = add_texts(means, frame, KEY, name)
    return sort_rows(means, SECTION, KEY)


def list_columns(rows: pd.DataFrame) -> list[Column]:
    """The columns of one model's table: those of gates only where a model has one."""
    gates = [c for c in COLUMNS if c.shown.get(THEME, ("",))[0] == GATE_HEADING]
    if rows[[column.key for column in gates]].notna().any(axis=None):
        return COLUMNS
    return [column for column in COLUMNS if column not in gates]


def name_row(row: pd.Series) -> str:
    """The split, where it is not the whole forget set, then the method; (!) at a warning."""
    name = name_method(row)
    if row["objective"] not in ORDER and row["split"] != "forget":
        name = f"{row['split'].removeprefix('forget_')} {name}"
    return mark_method(f"{name}, alone" if is_single_request(row) else name, row)


def is_single_request(row: pd.Series) -> bool:
    """Whether a run is one request of a sequence by itself, from the target: what a stack is made
    of, and no step of it.
    """
    return (
        row["split"].startswith("forget_sust")
        and row["tuner"] != "full"
        and not row["variant"].endswith("stack")
    )


def describe(means: pd.DataFrame) -> list[str]:
    """Sentences about what the numbers are, and warnings."""
    known = means[means["auc_retrain"].notna()]
    origins = {
        f"{row['auc_retrain']:.3f} ({row['auc_retrain_from']})" for _, row in known.iterrows()
    }
    reference = ", ".join(sorted(origins)) or "no retain-only model was evaluated"
    notes = [
        f"x100, mode {means['muse_mode'].iloc[0]}; {UP} higher is better, {DOWN} lower, {NEAR} "
        "near 0. VerbMem: ROUGE-L F1 of continued forget documents; KnowMem: of few-shot answers "
        "about forget documents and about kept ones that no unlearning step saw; [95 % bootstrap "
        "interval over the rows]. AUC: P(a holdout text looks likelier than a forget text), "
        "Min-40 %. PrivLeak = 100 (AUC - AUC_retrain) / AUC_retrain; negative: the forget set is "
        f"still recognised, positive: over-unlearned. AUC_retrain: {reference}. gate open: share "
        "of prompts on which the last gate exceeds .5. scalK: forget set of K quarters; sustK: "
        "after K requests; alone: the K-th by itself. -: not measured."
    ]
    warned = means[means["warning"] != ""]
    return notes + [
        f"WARNING, {', '.join(row[KEY[:3]])}: {row['warning']}." for _, row in warned.iterrows()
    ]


SPEC = TableSpec(
    name="muse",
    title="Results",
    build=build,
    missing="no evaluated run of muse; run BENCHMARK=muse ./cmd_eval.sh first",
)

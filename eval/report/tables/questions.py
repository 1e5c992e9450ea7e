"""The tables of TOFU and authors, tofu.md, .csv and .tex (import only): a readable table for each
theme, one CSV with all columns.
"""

from dataclasses import replace
from functools import lru_cache

import pandas as pd

from eval.metrics import aggregates
from eval.metrics.tofu import FORGET_FALLS
from eval.report import sweeps
from eval.report.aggregate import SPREADS, add_texts, average, sort_rows
from eval.report.collect import KEY, ORDER, FinishedRun, Results, RunSet, collect, name_unevaluated
from eval.report.question_columns import COLUMNS, EVERY_SET, GATES, LABELS, THEMES
from eval.report.question_metrics import OPTION_KEYS, Options
from eval.report.summary import evaluated_folders
from eval.report.table import (
    DOWN,
    MISSING,
    NEAR,
    PLUS_MINUS,
    UP,
    Column,
    Table,
    TableSpec,
    format_rows,
    mark_method,
    name_method,
)
from unlearn.config.files import read_json

SECTION = KEY[:3]


def read_results(run: FinishedRun) -> list[dict]:
    """The summaries of a run on the splits that it belongs to."""
    results = []
    for folder in evaluated_folders(run):
        path = folder / "summary.json"
        if run.belongs_to(folder.name) and path.exists():
            numbers = flatten(read_json(path)) | sweeps.read_losses(run.run, run.config)
            results.append({"split": folder.name} | numbers)
    return results


def flatten(summary: dict) -> dict:
    """A summary with its lists (mean gate per layer) spread over `<key>_1`, `<key>_2`, .."""
    flat = {}
    for key, value in summary.items():
        if isinstance(value, list):
            flat |= {f"{key}_{i}": item for i, item in enumerate(value, 1)}
        else:
            flat[key] = value
    return flat


@lru_cache(maxsize=1)
def collect_questions(runs: RunSet) -> Results:
    """One row per evaluated run and split."""
    return collect(runs, "questions", read_results)


def build(runs: RunSet) -> Table | None:
    """Raises `ValueError` where summaries differ in their truth ratio or another option."""
    results = collect_questions(runs)
    frame = results.frame
    if frame.empty:
        return None
    options = find_options(frame, runs)
    means = average_runs(frame)
    columns = [turn_arrow(column, options) for column in COLUMNS]
    parts = {}
    for key, rows in means.groupby(SECTION, sort=False):
        section = {theme: format_theme(rows, columns, theme) for theme in THEMES}
        rates = sweeps.format_table(frame[(frame[SECTION] == list(key)).all(axis=1)])
        section |= {"learning rates": rates} if rates is not None else {}
        for theme, cells in section.items():
            if (cells != MISSING).any(axis=None):
                cells = cells.rename(columns=name_truth_ratio(theme, options), level=0)
                parts[f"{', '.join(key)}: {theme}"] = cells
    notes = [*describe_columns(means, options), *describe_rows(frame, means)]
    notes += name_unevaluated(results)
    intervals = [name for name in means if name.endswith(SPREADS)]
    csv = means.drop(columns=intervals).assign(truth_ratio_variant=options.truth_ratio)
    csv = csv.join(means[intervals])
    return Table(parts, notes, csv, captions=2, problems=results.problems)


def find_options(frame: pd.DataFrame, runs: RunSet) -> Options:
    """The options that all summaries share; `ValueError` where they differ in one."""
    shared = {}
    for option, key in OPTION_KEYS.items():
        values = sorted(frame[key].dropna().unique()) if key in frame else []
        if len(values) > 1:
            raise ValueError(
                f"the summaries mix the {option.replace('_', ' ')}s {', '.join(values)}; make "
                f"them one: python -m eval.report.summary --runs {runs.root} "
                f"--{option} {getattr(Options, option)}"
            )
        shared |= {option: values[0]} if values else {}
    return Options(**shared)


def average_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds with their intervals, the warnings, and which learning rate is kept."""
    means = average(frame, KEY, list_keys(frame))
    means = add_texts(means, frame, KEY, "warning")
    kept = frame[KEY].assign(kept=sweeps.mark_kept(frame)).groupby(KEY, sort=False)["kept"].first()
    means = means.merge(kept.reset_index(), on=KEY, how="left")
    return sort_rows(means, SECTION, KEY)


def list_keys(frame: pd.DataFrame) -> list[str]:
    """The columns of the CSV: the key of every column, a layered one once for each gated layer."""
    layers = {
        int(number)
        for column in COLUMNS
        if column.layered
        for name in frame
        if (number := name.removeprefix(f"{column.key}_")).isdigit()
    }
    keys = []
    for column in COLUMNS:
        names = [f"{column.key}_{i}" for i in sorted(layers)] if column.layered else [column.key]
        keys += names
    return keys


def turn_arrow(column: Column, options: Options) -> Column:
    """The column with the direction that it has under these options."""
    falls = column.key == "forget_truth_ratio" and options.truth_ratio in FORGET_FALLS
    return replace(column, direction=DOWN) if falls else column


def name_truth_ratio(theme: str, options: Options) -> dict[str, str]:
    """Renames the heading of the truth ratio, where all sets have one, to name its variant."""
    return {"truth ratio": f"truth ratio ({options.truth_ratio})"} if theme == EVERY_SET else {}


def format_theme(rows: pd.DataFrame, columns: list[Column], theme: str) -> pd.DataFrame:
    """The readable cells of one section and theme; models without a gate have no row of gates."""
    names = [name_row(row) for _, row in rows.iterrows()]
    if theme != GATES:
        return format_rows(rows, columns, theme, THEMES[theme], names)
    gates = [column for column in columns if theme in column.shown]
    order = dict.fromkeys([*LABELS.values(), *(column.shown[theme][1] for column in gates)])
    gates.sort(key=lambda column: list(order).index(column.shown[theme][1]))
    cells = format_rows(rows, gates, theme, THEMES[theme], names)
    return cells[(cells != MISSING).any(axis=1)]


def name_row(row: pd.Series) -> str:
    """The method, the number of seeds, (kept) of several learning rates, (!) where there is a
    warning.
    """
    return mark_method(name_method(row), row, sweeps.MARK if row["kept"] is True else "")


def describe_columns(means: pd.DataFrame, options: Options) -> list[str]:
    """Sentences about what the numbers are."""
    fluency = "fluency (classifier)" if means["fluency"].notna().any() else "fluency (ours)"
    formula = aggregates.formula(options.privacy_score, fluency)
    return [
        f"{UP} higher is better, {DOWN} lower, {NEAR} near the retain-only model's (PrivLeak: near "
        f"0). x{PLUS_MINUS}h: mean over seeds, half-width of its 95 % interval; m (a to b): "
        "mean and range of two seeds. -: not measured; a control has no likelihoods, it answers or "
        "refuses. real: real authors; world: world facts; held-out: retain authors that no "
        "unlearning step saw.",
        f"Truth ratio: {options.truth_ratio}. Forget quality: p of a Kolmogorov-Smirnov test "
        "against the retain-only model. gate: mean over the examples, one number per gated layer; "
        "gate > .5: share of the last gated layer's gates.",
        "ES: extraction strength, EM: exact memorisation, of the forget set. Membership: forget "
        "set against questions that no model saw, 1: recognised, .5: not. PrivLeak, negative: "
        "under-unlearned, positive: over-unlearned.",
        f"{formula[0].upper()}{formula[1:]}.",
    ]


def describe_rows(frame: pd.DataFrame, means: pd.DataFrame) -> list[str]:
    """Warnings about numbers, the rule of the learning rates, and what the tables lack."""
    notes = [
        f"WARNING, {', '.join(row[SECTION])}, {name_row(row)}: {row['warning']}."
        for _, row in means.iterrows()
        if row["warning"]
    ]
    notes += sweeps.describe(frame)
    for key, rows in means.groupby(SECTION, sort=False):
        missing = [name for name in ORDER if name not in set(rows["objective"])]
        notes += [f"No evaluated {name} for {', '.join(key)}." for name in missing]
    return notes


SPEC = TableSpec(
    name="tofu",
    title="Results",
    build=build,
    missing="no evaluated run of authors or tofu; run ./cmd_eval.sh first",
)

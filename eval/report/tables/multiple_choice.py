"""The tables of multiple-choice questions, wmdp.md, .csv and .tex (import only): accuracy and its
standard error over the questions, sqrt(p (1 - p) / (n - 1)), from <run>/eval/<mcq>/summary.json.
"""

from functools import lru_cache

import pandas as pd

from eval.report.aggregate import average, sort_rows
from eval.report.collect import (
    COST,
    KEY,
    FinishedRun,
    Results,
    RunSet,
    collect,
    name_unevaluated,
)
from eval.report.table import (
    DOWN,
    MISSING,
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

KEYS = [*KEY, "mcq"]
SECTION = ["benchmark", "model", "mcq"]
THEME = ""
CHANCE = 0.25  # of four choices
NOTE = (
    f"Accuracy {PLUS_MINUS} standard error over the questions, as lm-eval's. {DOWN} lower is "
    f"better (chance: {CHANCE}), {UP} higher. mcq letters: the likeliest of A to D; cloze: the "
    "likeliest of the four answers, log-likelihoods not divided by length; grun: the rule of "
    "GRUN's script. -: not measured."
)


def read_results(run: FinishedRun) -> list[dict]:
    """The accuracies of a run under each style of asking."""
    layer = run.config.get("flags", {}).get("layer_id", {}).get("value")
    words = {"layer_id": layer, "target": run.config.get("target", "")}
    results = []
    for path in sorted(run.path.glob("eval/*/summary.json")):
        summary = read_json(path)
        if "mcq" in summary:
            numbers = {key: value for key, value in summary.items() if isinstance(value, float)}
            results.append({"mcq": summary["mcq"]} | words | numbers)
    return results


@lru_cache(maxsize=1)
def collect_choices(runs: RunSet) -> Results:
    """One row per evaluated run and style of asking."""
    return collect(runs, "multiple_choice", read_results, KEYS)


def list_columns(frame: pd.DataFrame) -> list[Column]:
    """forget_acc, forget_acc_<test>, .., retain_acc, retain_acc_<test>, .., and the cost."""
    columns = []
    for kind, arrow in (("forget", DOWN), ("retain", UP)):
        for key in frame:
            if key.startswith(f"{kind}_acc") and not key.endswith("_stderr"):
                label = key.removeprefix(f"{kind}_acc").removeprefix("_") or "all"
                # The arrow belongs to the heading: it is the same for all tests below it.
                shown = {THEME: (f"{kind} accuracy{arrow}", label)}
                columns.append(Column(key, "", shown, format_accuracy))
    return [
        *columns,
        Column("trainable_params", "", {THEME: ("cost", "trainable")}, ",.0f"),
        Column("train_seconds", "", {THEME: ("cost", "seconds")}, ".1f"),
    ]


def format_accuracy(row: pd.Series, key: str) -> str:
    """An accuracy with its standard error."""
    if pd.isna(row[key]):
        return MISSING
    error = format(row[f"{key}_stderr"], ".3f").removeprefix("0")
    return f"{row[key]:.3f}{PLUS_MINUS}{error}"


def build(runs: RunSet) -> Table | None:
    results = collect_choices(runs)
    frame = results.frame
    if frame.empty:
        return None
    columns = list_columns(frame)
    accuracies = [column.key for column in columns if column.form is format_accuracy]
    errors = [f"{key}_stderr" for key in accuracies]
    numbers = [*accuracies, *errors, *COST]
    means = sort_rows(average(frame, KEYS, numbers), SECTION, KEYS)
    parts = {}
    for (benchmark, model, style), rows in means.groupby(SECTION, sort=False):
        measured = [c for c in columns if c.key in COST or rows[c.key].notna().any()]
        cells = format_rows(rows, measured, THEME, (), name_rows(rows))
        parts[f"{benchmark}, {model}, mcq {style}"] = cells
    csv = means[[*KEY, "seeds", *numbers, "mcq"]]
    notes = [NOTE, *name_unevaluated(results)]
    return Table(parts, notes, csv, problems=results.problems)


def name_rows(rows: pd.DataFrame) -> list[str]:
    """The methods, with their splits where there are several."""
    unlearned = rows["objective"] != "target"
    several = rows.loc[unlearned, "split"].nunique() > 1
    names = []
    for _, row in rows.iterrows():
        split = f", {row['split']}" if several and row["objective"] != "target" else ""
        names.append(mark_method(name_method(row), row) + split)
    return names


SPEC = TableSpec(
    name="wmdp",
    title="Multiple choice",
    build=build,
    missing="no evaluated run of wmdp; run ./cmd_wmdp.sh first",
)

"""The tables of sequential unlearning, sequential.md, .csv and .tex (import only): every stack of
requests at every stage, from <stack>/eval/stages.json (eval/sequential.py).
"""

import pandas as pd

from eval.report.collect import RunSet
from eval.report.table import DOWN, UP, Table, TableSpec, format_number
from unlearn.config.files import read_json

PANEL = ["benchmark", "model", "objective", "seed", "stack", "rule"]
RETAIN_SETS = {"retain": "retain", "heldout": "held-out"}
NOTE = (
    "stage: how many requests are at work, or which one is withdrawn. Requests that have come "
    "should be low, all others and both retain columns as at stage 0. own: mean gate of a request "
    "on its own split; open: share of prompts on which any gate exceeds .5."
)
NUMBERS = ["rouge", "prob", "own_gate", "open"]
CSV_COLUMNS = [
    *("benchmark", "model", "objective", "seed", "stack", "rule", "stage", "c", "requests", "set"),
    *("rouge", "prob", "own_gate", "open", "other_gates"),
]


def read_records(runs: RunSet) -> pd.DataFrame:
    """One record per (stack, rule, stage, set) of all evaluated stacks."""
    paths = [stack / "eval" / "stages.json" for stack in runs.stacks]
    records = [record for path in paths if path.exists() for record in read_json(path, list)]
    return pd.DataFrame(records, columns=CSV_COLUMNS)


def split_panels(records: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Title -> records of one stack under one rule."""
    return {
        f"{benchmark}, {model}, {objective} seed {seed}, rule {rule}": part
        for (benchmark, model, objective, seed, _, rule), part in records.groupby(PANEL, sort=False)
    }


def build(runs: RunSet) -> Table | None:
    records = read_records(runs)
    if records.empty:
        return None
    parts = {title: format_part(part) for title, part in split_panels(records).items()}
    return Table(parts, [NOTE], records)


def format_part(part: pd.DataFrame) -> pd.DataFrame:
    """One panel's records as cells: a row per stage, columns (heading, set)."""
    wide = part.pivot(index="stage", columns="set", values=NUMBERS).reindex(part["stage"].unique())
    sets = list(part["set"].unique())
    cells = {("", "c(K)"): part.groupby("stage", sort=False)["c"].first()}
    for heading, number in ((f"ROUGE-L{DOWN} of request", "rouge"), (f"own{UP}", "own_gate")):
        for name in (name for name in sets if name not in RETAIN_SETS):
            cells[heading, name] = wide[number][name]
    shown = {f"ROUGE-L{UP}": "rouge", f"prob{UP}": "prob", f"open{DOWN}": "open"}
    for name, heading in RETAIN_SETS.items():
        if name in sets:
            for label, number in shown.items():
                cells[heading, label] = wide[number][name]
    return pd.DataFrame(cells).map(lambda value: format_number(value, ".3f"))


SPEC = TableSpec(
    name="sequential",
    title="Results",
    build=build,
    missing='no evaluated stack of requests; run SEQUENTIAL="forget10a forget10b" ./cmd_grun.sh',
)

"""Attacks at their worst, beside the controls, worst_case.md, .csv and .tex (import only): plain
questions, held-out retain, the worst of each kind of attack, one row a method.

Of each kind of attack the worst leak counts, of all that need no weights the worst leak and the
worst collateral. A method that a control (a filter in front of the target: baselines.controls)
matches in both has shown nothing by these numbers, and the notes say so.
"""

from pathlib import Path

import pandas as pd

from eval.report.attack_columns import BLACK_BOX, attack_kind, attack_kinds
from eval.report.collect import KEY, ORDER, RunSet
from eval.report.table import DOWN, UP, Table, TableSpec, format_number
from eval.report.tables.attacks import RUN_COMMAND, collect_attacks
from unlearn.config.files import read_json

SECTION = KEY[:3]
PLAIN = "plain questions"
WORST = "worst without weights"
CONTROL = "control-"
COLLATERAL = {"retain": "retain collateral", "heldout": "held-out collateral"}
NOTE = (
    "Leak and collateral as in attacks.md (share of secrets told, or ROUGE-L recall; 1 - score / "
    "the base's score), the worst of each kind of attack. Worst: over all attacks that need no "
    "weights (plain, joined, prefill, reworded, template, sampled). Quantised, relearned and white "
    "box need the weights. gate open: held-out retain questions, plainly asked, on which the gate "
    "exceeds .5. -: not measured, or the base itself cannot parse such prompts."
)


def find_worst(part: pd.DataFrame, column: str, kinds) -> float | None:
    """The highest number of one run's attacks of these kinds; None where there is none."""
    numbers = pd.to_numeric(part.loc[part["kind"].isin(kinds), column], errors="coerce")
    return None if numbers.isna().all() else float(numbers.max())


def summarise_run(part: pd.DataFrame, model_utility: float | None) -> dict:
    """One run's row, (heading, label) -> number, from the records of its attacks."""
    plain = part[part["attack"] == "clean"]
    clean = {} if plain.empty else plain.iloc[0]
    row = {
        (PLAIN, f"leak{DOWN}"): clean.get("forget_leak"),
        (PLAIN, f"retain collateral{DOWN}"): clean.get("retain_collateral"),
        (PLAIN, f"held-out collateral{DOWN}"): clean.get("heldout_collateral"),
        (PLAIN, f"gate open{DOWN}"): clean.get("heldout_gate_open"),
        (PLAIN, f"model utility{UP}"): model_utility,
    }
    for kind in attack_kinds():
        if kind:
            label = kind.removesuffix(" on") + DOWN
            row["worst leak", label] = find_worst(part, "forget_leak", [kind])
    row[WORST, f"leak{DOWN}"] = find_worst(part, "forget_leak", BLACK_BOX)
    for side, label in COLLATERAL.items():
        row[WORST, label + DOWN] = find_worst(part, f"{side}_collateral", BLACK_BOX)
    return row


def collect_worst_cases(frame: pd.DataFrame, root: Path) -> pd.DataFrame:
    """From the records of `collect_attacks`: a row per run and split, columns SECTION, method,
    seed, then those of `summarise_run`.
    """
    frame = frame.assign(kind=frame["attack"].map(attack_kind))
    records = []
    for (run, split), part in frame.groupby(["run", "split"], sort=False):
        path = root / run / "eval" / split / "summary.json"
        summary = read_json(path) if path.exists() else {}
        words = {name: part[name].iloc[0] for name in (*SECTION, "method", "seed")}
        records.append(words | summarise_run(part, summary.get("model_utility")))
    return pd.DataFrame(records)


def average_seeds(part: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds: a row per method, the target and the reference first, the controls last;
    missing where a seed lacks the number.
    """
    columns = [name for name in part if isinstance(name, tuple)]
    groups = part.groupby("method", sort=True)[columns]
    means = groups.agg(lambda cells: pd.to_numeric(cells).mean(skipna=False))
    means.columns = pd.MultiIndex.from_tuples(columns)

    def rank(method: str) -> tuple:
        return (ORDER.get(method, len(ORDER) + method.startswith(CONTROL)), method)

    return means.loc[sorted(means.index, key=rank)]


def format_part(part: pd.DataFrame) -> pd.DataFrame:
    """The readable cells of one section, index the methods with their numbers of seeds."""
    means = average_seeds(part)
    seeds = part.groupby("method")["seed"].nunique()
    names = [name if seeds[name] == 1 else f"{name} ({seeds[name]} seeds)" for name in means.index]
    # -0.0 becomes 0.0.
    return means.map(lambda value: format_number(value + 0.0, ".3f")).set_axis(names)


def match_controls(worst: pd.DataFrame) -> dict[str, list[str]]:
    """Each method -> the controls that leak no more and cost no more than it, in every column of
    the worst case that was measured; index of `worst`: all methods and controls.
    """
    worst = worst.dropna(axis=1, how="all").dropna()
    controls = [name for name in worst.index if name.startswith(CONTROL)]
    return {
        method: [name for name in controls if (worst.loc[name] <= worst.loc[method]).all()]
        for method in worst.index
        if method not in (*ORDER, *controls)
    }


def compare_controls(part: pd.DataFrame, section: str) -> list[str]:
    """Sentences about each method that a control matches: one that leaks no more and costs no more
    makes the method's numbers worth nothing.
    """
    worst = average_seeds(part)[WORST].dropna(axis=1, how="all").dropna()
    matched = match_controls(worst)
    controls = [name for name in worst.index if name.startswith(CONTROL)]
    if not matched:
        return []
    if not controls:
        return [
            f"{section}: no control (probe, keyword) was attacked, so nothing says whether these "
            "methods beat a filter; run ./cmd_baseline.sh."
        ]
    sentences = []
    unmatched = [method for method, better in matched.items() if not better]
    for method, better in matched.items():
        for control in better:
            pairs = ", ".join(
                f"{label[:-1]} {worst.loc[control, label]:.3f} against "
                f"{worst.loc[method, label]:.3f}"
                for label in worst
            )
            sentences.append(
                f"{section}: WARNING, {control} is as good as {method} or better in every column "
                f"of the worst case ({pairs})."
            )
    if unmatched:
        names = ", ".join(unmatched)
        sentences.append(f"{section}: matched by no control in the worst case: {names}.")
    return sentences


def build(runs: RunSet) -> Table | None:
    attacks = collect_attacks(runs)
    return None if attacks.frame.empty else build_table(attacks.frame, runs.root)


def build_table(frame: pd.DataFrame, root: Path) -> Table:
    """The table of the records of `collect_attacks`; `root`: the folder of all runs, with the
    summaries that hold model utility.
    """
    rows = collect_worst_cases(frame, root)
    sections = {", ".join(key): part for key, part in rows.groupby(SECTION, sort=False)}
    parts = {f"{name}: worst case": format_part(part) for name, part in sections.items()}
    means = {name: average_seeds(part) for name, part in sections.items()}
    csv = pd.concat(means, names=["section", "method"])
    csv.columns = [" ".join(name).rstrip(UP + DOWN).replace(" ", "_") for name in csv.columns]
    notes = [NOTE]
    for name, part in sections.items():
        notes += compare_controls(part, name)
    return Table(parts, notes, csv.reset_index())


SPEC = TableSpec(
    name="worst_case",
    title="Attacks, at their worst, beside the controls",
    build=build,
    missing=RUN_COMMAND,
)

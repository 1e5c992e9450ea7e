"""The honest table: clean, held-out retain, the worst of each kind of attack, and the controls, in
one row a method (import only).

Of each kind of attack the worst leak counts, of all that need no weights the worst leak and the
worst collateral. A method that a control (a filter in front of the target: baselines.controls)
matches in both has shown nothing by these numbers, and the notes say so."""

from pathlib import Path

import pandas as pd

from eval.attacks.plots import LABELS, SECTION
from eval.report.tables import DOWN, ORDER, UP
from unlearn.config.run_directory import read_json, write_text

BLACK_BOX = (
    "",
    "joined",
    "prefill",
    "reworded",
    "sampled",
)  # kinds of attack that need the model's answers alone; "": plain questions
KINDS = tuple(dict.fromkeys(kind for kind, _ in LABELS.values()))
SIDES = ("retain", "heldout")
TITLE = "the honest table"
NOTE = (
    "Leak and collateral as in attacks.md (share of secrets told, or ROUGE-L recall; 1 - score / the base's score), the worst of each kind of attack. "
    "Worst: over all attacks that need no weights (plain, joined, prefill, reworded, sampled). Quantised, relearned and white box need the weights. "
    "gate open: held-out retain questions, plainly asked, on which the gate exceeds .5. -: not measured, or the base itself cannot parse such prompts."
)


def worst(part: pd.DataFrame, column: str, kinds) -> float | None:
    """The highest number of one run's attacks of these kinds; None where there is none."""
    numbers = pd.to_numeric(part.loc[part["kind"].isin(kinds), column], errors="coerce")
    return None if numbers.isna().all() else float(numbers.max())


def facts(part: pd.DataFrame, runs: Path) -> dict:
    """One run's row: (heading, label) -> number, from its attacks and, where it was evaluated, from
    its summary."""
    plain = part[part["attack"] == "clean"]
    first = {
        name: None if plain.empty else plain.iloc[0][name]
        for name in ("forget_leak", "retain_collateral", "heldout_collateral", "heldout_gate_open")
    }
    path = runs / part["run"].iloc[0] / "eval" / part["split"].iloc[0] / "summary.json"
    summary = read_json(path) if path.exists() else {}
    cells = {
        ("plain questions", f"leak{DOWN}"): first["forget_leak"],
        ("plain questions", f"retain collateral{DOWN}"): first["retain_collateral"],
        ("plain questions", f"held-out collateral{DOWN}"): first["heldout_collateral"],
        ("plain questions", f"gate open{DOWN}"): first["heldout_gate_open"],
        ("plain questions", f"model utility{UP}"): summary.get("model_utility"),
    }
    cells |= {
        ("worst leak", kind.removesuffix(" on") + DOWN): worst(part, "forget_leak", [kind])
        for kind in KINDS
        if kind
    }
    cells[("worst without weights", f"leak{DOWN}")] = worst(part, "forget_leak", BLACK_BOX)
    for side, label in zip(SIDES, ("retain collateral", "held-out collateral"), strict=True):
        cells[("worst without weights", label + DOWN)] = worst(
            part, f"{side}_collateral", BLACK_BOX
        )
    return cells


def collect(frame: pd.DataFrame, runs: str | Path) -> pd.DataFrame:
    """From eval.attacks.tables.collect: a row per run, columns SECTION, method, seed, then
    `facts`."""
    frame = frame.assign(kind=frame["attack"].map(lambda name: LABELS[name][0]))
    records = []
    for _, part in frame.groupby(["run", "split"], sort=False):
        records.append(
            {name: part[name].iloc[0] for name in (*SECTION, "method", "seed")}
            | facts(part, Path(runs))
        )
    return pd.DataFrame(records)


def numbers(part: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds: a row per method, the target and the reference first, the controls last.
    None where a seed lacks the number."""
    columns = [name for name in part if isinstance(name, tuple)]
    means = part.groupby("method", sort=True)[columns].agg(
        lambda cells: pd.to_numeric(cells).mean(skipna=False)
    )
    means.columns = pd.MultiIndex.from_tuples(columns)

    def place(method: str) -> tuple:
        return (ORDER.get(method, len(ORDER) + method.startswith("control-")), method)

    return means.loc[sorted(means.index, key=place)]


def readable(part: pd.DataFrame) -> pd.DataFrame:
    """Formatted cells of one section; index: method (with its number of seeds), columns (heading,
    label)."""
    found = numbers(part)
    seeds = part.groupby("method")["seed"].nunique()
    names = [name if seeds[name] == 1 else f"{name} ({seeds[name]} seeds)" for name in found.index]
    cells = found.map(lambda value: "-" if pd.isna(value) else f"{value + 0.0:.3f}")
    return cells.set_axis(names)


def verdicts(part: pd.DataFrame, section: str) -> list[str]:
    """What the controls say about each method: a control that leaks no more and costs no more makes
    its numbers worth nothing."""
    found = numbers(part)["worst without weights"].dropna(axis=1, how="all").dropna()
    controls = [name for name in found.index if name.startswith("control-")]
    methods = [name for name in found.index if name not in (*ORDER, *controls)]
    if not methods:
        return []
    if not controls:
        return [
            f"{section}: no control (probe, keyword) was attacked, so nothing says whether these methods beat a filter; run ./cmd_baseline.sh."
        ]
    lines = []
    unmatched = []
    for method in methods:
        better = [name for name in controls if (found.loc[name] <= found.loc[method]).all()]
        if not better:
            unmatched.append(method)
        for control in better:
            told = ", ".join(
                f"{label[:-1]} {found.loc[control, label]:.3f} against {found.loc[method, label]:.3f}"
                for label in found
            )
            lines.append(
                f"{section}: WARNING, {control} is as good as {method} or better in every column of the worst case ({told})."
            )
    return lines + (
        [f"{section}: matched by no control in the worst case: {', '.join(unmatched)}."]
        if unmatched
        else []
    )


def honest(frame: pd.DataFrame, runs: str | Path) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Title -> readable table, and the notes; writes <runs>/tables/honest.csv, the means over
    seeds."""
    table = collect(frame, runs)
    sections = [(", ".join(key), part) for key, part in table.groupby(SECTION, sort=False)]
    parts = {f"{section}: {TITLE}": readable(part) for section, part in sections}
    flat = pd.concat({section: numbers(part) for section, part in sections}, names=["section"])
    flat.columns = [" ".join(name).rstrip(UP + DOWN).replace(" ", "_") for name in flat.columns]
    write_text(
        Path(runs) / "tables" / "honest.csv", flat.to_csv(float_format="%.10g", lineterminator="\n")
    )
    return parts, [NOTE, *(line for section, part in sections for line in verdicts(part, section))]

"""Which learning rate of a sweep is kept, from losses on training data alone; never from a test
metric (import only).

A sweep: runs that differ in the learning rate only, seeds apart. Before the first step and after
the last each run took a check, the mean loss per answer token on a slice of the forget and of the
retain examples that it trains on (--eval_steps; unlearn/training/stopping.py). RULE:

    among the rates whose retain loss has risen by at most RETAIN_SLACK nats a token (mean over
    seeds): the one with the highest forget loss; where retain loss has risen by more under all of
    them: the one under which it has risen least
"""

import re

import pandas as pd

from eval.report.collect import KEY
from eval.report.table import DOWN, MISSING, UP, format_number
from unlearn.config.run_directory import Run
from unlearn.training.stopping import RETAIN_SLACK

RULE = (
    "of the rates whose retain loss on training data rose by at most "
    f"{RETAIN_SLACK:g} nats a token, the one with the highest forget loss; where it rose by more "
    "under all, the one where it rose least. No test metric is looked at"
)
LOSSES = ["sweep_forget", "sweep_before", "sweep_retain"]
HEADINGS = [
    *(
        ("loss on training data", label)
        for label in (f"forget{UP}", "retain before", f"retain after{DOWN}")
    ),
    ("", "kept"),
]
MARK = " (kept)"


def read_losses(run: Run, config: dict) -> dict[str, float | None]:
    """lr, and of the weights that the run kept: the forget and the retain loss of its check, and
    the retain loss before the first step.
    """
    flags = {name: flag["value"] for name, flag in config.get("flags", {}).items()}
    checks = [record["check"] for record in run.logged() if "check" in record]
    if not checks:
        return {"lr": flags.get("lr")} | dict.fromkeys(LOSSES)
    last = run.result["checks"]["best"] if flags.get("keep") == "best" else checks[-1]
    return {
        "lr": flags.get("lr"),
        "sweep_forget": last["forget"],
        "sweep_before": checks[0]["retain"],
        "sweep_retain": last["retain"],
    }


def drop_rate(variant: str) -> str:
    """The variant of all runs of a sweep: `rank=8,lr=0.01` -> `rank=8`."""
    return re.sub(r"(^|,)lr=[^,]+", "", variant).strip(",")


def find_sweeps(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """The runs of each sweep, one part per (section, objective, tuner, other settings) that has
    several learning rates.
    """
    if "lr" not in frame:
        return []
    variants = frame.assign(rest=frame["variant"].map(drop_rate))
    groups = variants.groupby([*KEY[:-1], "rest"], sort=False)
    return [part for _, part in groups if part["lr"].nunique() > 1]


def choose_rate(part: pd.DataFrame) -> pd.DataFrame:
    """One sweep: a row per learning rate, index the variant; lr, the three losses (missing where a
    seed has none) and `kept`, NA where losses are missing.
    """
    groups = part.groupby("variant", sort=False)[["lr", *LOSSES]]
    rates = groups.agg(lambda cells: cells.mean(skipna=False)).astype(float).sort_values("lr")
    if rates[LOSSES].isna().any(axis=None):
        return rates.assign(kept=pd.NA)
    rise = rates["sweep_retain"] - rates["sweep_before"]
    allowed = rise <= RETAIN_SLACK
    best = rates.loc[allowed, "sweep_forget"].idxmax() if allowed.any() else rise.idxmin()
    return rates.assign(kept=rates.index == best)


def mark_kept(frame: pd.DataFrame) -> pd.Series:
    """For each run: True where its learning rate is the kept one of a sweep, False where another
    is, NA outside of sweeps and undecided.
    """
    kept = pd.Series(pd.NA, index=frame.index, dtype=object)
    for part in find_sweeps(frame):
        kept[part.index] = part["variant"].map(choose_rate(part)["kept"])
    return kept


def name_sweep(part: pd.DataFrame) -> str:
    """`objective-tuner[-other settings]` of one sweep."""
    first = part.iloc[0]
    words = (first["objective"], first["tuner"], drop_rate(first["variant"]))
    return "-".join(word for word in words if word)


def format_table(frame: pd.DataFrame) -> pd.DataFrame | None:
    """All sweeps of one section as readable cells, a row per rate; None without any."""
    rows = {}
    for part in find_sweeps(frame):
        for _, row in choose_rate(part).iterrows():
            kept = "no losses" if row["kept"] is pd.NA else "yes" if row["kept"] else "no"
            losses = [format_number(row[key], ".3f") for key in LOSSES]
            rows[f"{name_sweep(part)}, lr {row['lr']:g}"] = [*losses, kept]
    if not rows:
        return None
    return pd.DataFrame(
        rows.values(), index=list(rows), columns=pd.MultiIndex.from_tuples(HEADINGS)
    ).fillna(MISSING)


def describe(frame: pd.DataFrame) -> list[str]:
    """The rule, and the sweeps that it cannot decide."""
    parts = find_sweeps(frame)
    notes = [f"{MARK.strip()}: the learning rate that is kept: {RULE}."] if parts else []
    undecided = {
        f"{part['objective'].iloc[0]}-{part['tuner'].iloc[0]}"
        for part in parts
        if choose_rate(part)["kept"].isna().any()
    }
    if undecided:
        notes.append(
            f"No learning rate is chosen for {', '.join(sorted(undecided))}: not every run has "
            "losses on training data; train with --eval_steps 1000."
        )
    return notes

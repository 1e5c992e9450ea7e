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

from eval.report.schema import DOWN, KEY, UP
from unlearn.config.run_directory import Run
from unlearn.training.stopping import RETAIN_SLACK

RULE = (
    f"of the rates whose retain loss on training data rose by at most {RETAIN_SLACK:g} nats a token, the one with the highest forget loss; "
    "where it rose by more under all, the one where it rose least. No test metric is looked at"
)
LOSSES = ["sweep_forget", "sweep_retain", "sweep_before"]
MARK = " (kept)"


def facts(run: Run, config: dict) -> dict[str, float | None]:
    """lr, and of the weights that the run kept: the forget and the retain loss of its check, and
    the retain loss before the first step."""
    flags = {name: flag["value"] for name, flag in config.get("flags", {}).items()}
    checks = [record["check"] for record in run.logged() if "check" in record]
    told: dict = {"lr": flags.get("lr")} | dict.fromkeys(LOSSES)
    if not checks:
        return told
    last = run.result["checks"]["best"] if flags.get("keep") == "best" else checks[-1]
    return told | {
        "sweep_forget": last["forget"],
        "sweep_retain": last["retain"],
        "sweep_before": checks[0]["retain"],
    }


def without_rate(variant: str) -> str:
    """The variant of all runs of a sweep: `rank=8,lr=0.01` -> `rank=8`."""
    return re.sub(r"(^|,)lr=[^,]+", "", variant).strip(",")


def sweeps(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """The runs of each sweep, one part per (section, objective, tuner, other settings) that has
    several learning rates."""
    if "lr" not in frame:
        return []
    groups = frame.assign(rest=frame["variant"].map(without_rate)).groupby(
        [*KEY[:-1], "rest"], sort=False
    )
    return [part for _, part in groups if part["lr"].nunique() > 1]


def by_rate(part: pd.DataFrame) -> pd.DataFrame:
    """One sweep: a row per learning rate, index the variant; lr, the three losses (missing where a
    seed has none) and whether it is kept."""
    found = (
        part.groupby("variant", sort=False)[["lr", *LOSSES]]
        .agg(lambda cells: cells.mean(skipna=False))
        .astype(float)
        .sort_values("lr")
    )
    if found[LOSSES].isna().any(axis=None):
        return found.assign(kept=pd.NA)
    rise = found["sweep_retain"] - found["sweep_before"]
    held = rise <= RETAIN_SLACK
    best = found.loc[held, "sweep_forget"].idxmax() if held.any() else rise.idxmin()
    return found.assign(kept=found.index == best)


def mark(frame: pd.DataFrame) -> pd.Series:
    """For each run: True where its learning rate is the kept one of a sweep, False where another
    is, NA outside of sweeps and undecided."""
    kept = pd.Series(pd.NA, index=frame.index, dtype=object)
    for part in sweeps(frame):
        kept[part.index] = part["variant"].map(by_rate(part)["kept"])
    return kept


def readable(frame: pd.DataFrame) -> pd.DataFrame | None:
    """All sweeps of one section as a table, a row per rate; None without any."""
    cells = {}
    for part in sweeps(frame):
        name = "-".join(
            word
            for word in (
                part["objective"].iloc[0],
                part["tuner"].iloc[0],
                without_rate(part["variant"].iloc[0]),
            )
            if word
        )
        for _, row in by_rate(part).iterrows():
            losses = [
                "-" if pd.isna(row[key]) else f"{row[key]:.3f}"
                for key in ("sweep_forget", "sweep_before", "sweep_retain")
            ]
            cells[f"{name}, lr {row['lr']:g}"] = [
                *losses,
                "no losses" if row["kept"] is pd.NA else "yes" if row["kept"] else "no",
            ]
    columns = [
        ("loss on training data", label)
        for label in (f"forget{UP}", "retain before", f"retain after{DOWN}")
    ]
    return (
        pd.DataFrame(
            cells.values(),
            index=list(cells),
            columns=pd.MultiIndex.from_tuples([*columns, ("", "kept")]),
        )
        if cells
        else None
    )


def note(frame: pd.DataFrame) -> list[str]:
    """The rule, and the sweeps that it cannot decide."""
    found = sweeps(frame)
    lines = [f"{MARK.strip()}: the learning rate that is kept: {RULE}."] if found else []
    undecided = sorted(
        {
            "-".join((part["objective"].iloc[0], part["tuner"].iloc[0]))
            for part in found
            if by_rate(part)["kept"].isna().any()
        }
    )
    if undecided:
        lines.append(
            f"No learning rate is chosen for {', '.join(undecided)}: not every run has losses on training data; train with --eval_steps 1000."
        )
    return lines

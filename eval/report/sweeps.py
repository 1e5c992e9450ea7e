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

from eval.report.aggregate import average
from eval.report.collect import KEY
from eval.report.table import DOWN, MISSING, UP, format_mean
from unlearn.config.recipes import recipe
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
RECIPE_MARK = " (the recipe's)"
RECIPE_OF = {"grun": "grun", "reft": "grun", "full": "baselines", "lora": "baselines"}


def read_losses(run: Run, config: dict) -> dict[str, float | None]:
    """lr, the recipe's lr, and of the weights that the run kept: the forget and the retain loss of
    its check, and the retain loss before the first step.
    """
    flags = {name: flag["value"] for name, flag in config.get("flags", {}).items()}
    rates = {"lr": flags.get("lr"), "recipe_lr": find_recipe_rate(config, flags)}
    checks = [record["check"] for record in run.logged() if "check" in record]
    if not checks:
        return rates | dict.fromkeys(LOSSES)
    last = run.result["checks"]["best"] if flags.get("keep") == "best" else checks[-1]
    return rates | {
        "sweep_forget": last["forget"],
        "sweep_before": checks[0]["retain"],
        "sweep_retain": last["retain"],
    }


def find_recipe_rate(config: dict, flags: dict) -> float | None:
    """The learning rate that the recipes say for a run; None where none says any."""
    task = RECIPE_OF.get(config.get("tuner", ""))
    if task is None:
        return None
    names = ("benchmark", "model", "objective", "tuner")
    cell = {name: config.get(name) for name in names} | {"variant": flags.get("variant")}
    return recipe(task, **cell).get("lr")


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


def name_rate(rate: float, recipe_rate: float | None) -> str:
    """`lr 0.001`, and whether it is the recipe's."""
    return f"lr {rate:g}{RECIPE_MARK if rate == recipe_rate else ''}"


def format_table(frame: pd.DataFrame) -> pd.DataFrame | None:
    """All sweeps of one section as readable cells, a row per rate; None without any."""
    format_loss = format_mean(".3f")
    rows = {}
    for part in find_sweeps(frame):
        recipe_rate = part["recipe_lr"].iloc[0]
        rates = choose_rate(part)
        means = average(part, ["variant"], LOSSES).set_index("variant").loc[rates.index]
        for (_, row), (_, losses) in zip(rates.iterrows(), means.iterrows(), strict=True):
            kept = "no losses" if row["kept"] is pd.NA else "yes" if row["kept"] else "no"
            cells = [format_loss(losses, key) for key in LOSSES]
            rows[f"{name_sweep(part)}, {name_rate(row['lr'], recipe_rate)}"] = [*cells, kept]
    if not rows:
        return None
    return pd.DataFrame(
        rows.values(), index=list(rows), columns=pd.MultiIndex.from_tuples(HEADINGS)
    ).fillna(MISSING)


def name_missing_rates(parts: list[pd.DataFrame]) -> list[str]:
    """A sentence about the sweeps in which the recipe's rate is not."""
    missing = {
        f"{name_sweep(part)} ({part['recipe_lr'].iloc[0]:g})": None
        for part in parts
        if pd.notna(part["recipe_lr"].iloc[0]) and not (part["lr"] == part["recipe_lr"]).any()
    }
    if not missing:
        return []
    return [f"Sweeps without the learning rate of the recipe: {', '.join(missing)}."]


def describe(frame: pd.DataFrame) -> list[str]:
    """The rule, and the sweeps that it cannot decide."""
    parts = find_sweeps(frame)
    notes = [f"{MARK.strip()}: the learning rate that is kept: {RULE}."] if parts else []
    notes += name_missing_rates(parts)
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

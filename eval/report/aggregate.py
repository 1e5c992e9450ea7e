"""From one row per run to one row per method: means over seeds (import only)."""

import pandas as pd
from scipy import stats

from eval.report.collect import ORDER

MIN_SEEDS = 3  # for an interval: of two seeds t(.975, 1) = 12.7 would make one that says nothing
SPREADS = ("_ci95", "_min", "_max")  # what `average` adds to the name of every column


def average(frame: pd.DataFrame, keys: list[str], columns: list[str]) -> pd.DataFrame:
    """One row for each value of `keys`: keys, seeds (their number), the mean of every column, then
    `<column>_ci95`, the half-width of its 95 % interval, `<column>_min` and `<column>_max`.

    ci95 = t(.975, n - 1) * s / sqrt(n), with s the sample standard deviation of n seeds; missing
    below MIN_SEEDS seeds. A number that some of the seeds lack is missing too: its mean would be
    over other seeds than its neighbours'.
    """
    numbers = frame.reindex(columns=columns).astype(float)
    groups = frame[keys].join(numbers).groupby(keys, sort=False)
    count = groups.size()
    mean, error, low, high = (
        groups[columns].agg(lambda cells, name=name: getattr(cells, name)(skipna=False))
        for name in ("mean", "sem", "min", "max")
    )
    factor = stats.t.ppf(0.975, count.where(count >= MIN_SEEDS) - 1)
    spreads = (error.mul(factor, axis=0), low, high)
    spreads = [spread.add_suffix(end) for spread, end in zip(spreads, SPREADS, strict=True)]
    return pd.concat([count.rename("seeds"), mean, *spreads], axis=1).reset_index()


def add_texts(table: pd.DataFrame, frame: pd.DataFrame, keys: list[str], name: str) -> pd.DataFrame:
    """`table` with a column `name`: the different texts of all seeds, joined by "; "."""
    texts = frame.reindex(columns=[*keys, name]).groupby(keys, sort=False)[name].agg(join_texts)
    return table.merge(texts.rename(name).reset_index(), on=keys, how="left")


def join_texts(texts: pd.Series) -> str:
    """The different texts, sorted; "" where there is none."""
    return "; ".join(sorted(set(texts.dropna()) - {""}))


def sort_rows(table: pd.DataFrame, section: list[str], keys: list[str]) -> pd.DataFrame:
    """Sorted by section; in each the target first, then the reference, then the methods by name."""
    rank = table["objective"].map(ORDER).fillna(len(ORDER))
    others = [key for key in keys if key not in section]
    ordered = table.assign(rank=rank).sort_values([*section, "rank", *others], ignore_index=True)
    return ordered.drop(columns="rank")

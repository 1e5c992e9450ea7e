"""From one row per run to one row per method: means over seeds (import only)."""

import pandas as pd
from scipy import stats

from eval.report.collect import ORDER


def average(frame: pd.DataFrame, keys: list[str], columns: list[str]) -> pd.DataFrame:
    """One row for each value of `keys`: keys, seeds (their number), the mean of every column, and
    `<column>_ci95`, the half-width of its 95 % interval.

    ci95 = t(.975, n - 1) * s / sqrt(n), with s the sample standard deviation of n seeds; missing
    for one seed. A number that some of the seeds lack is missing too: its mean would be over other
    seeds than its neighbours'.
    """
    numbers = frame.reindex(columns=columns).astype(float)
    groups = frame[keys].join(numbers).groupby(keys, sort=False)
    count = groups.size()
    mean = groups[columns].agg(lambda cells: cells.mean(skipna=False))
    error = groups[columns].agg(lambda cells: cells.sem(skipna=False))
    half_width = error.mul(stats.t.ppf(0.975, count - 1), axis=0).add_suffix("_ci95")
    return pd.concat([count.rename("seeds"), mean, half_width], axis=1).reset_index()


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

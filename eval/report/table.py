"""What a table is made of (import only): the columns that a benchmark registers, and the finished
table that is written as Markdown, CSV and LaTeX and printed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd

from eval.report.collect import RunSet

UP = "\u2191"  # higher is better
DOWN = "\u2193"  # lower is better
NEAR = "\u2248"  # near a given number is better
PLUS_MINUS = "\u00b1"
MISSING = "-"


@dataclass(frozen=True)
class Column:
    """One number of a method: its key in summary.json and in the CSV, and how tables show it.

    direction: UP, DOWN, NEAR or "". shown: theme -> (heading, label), one entry for every readable
    table that has this column; a column without an entry is in the CSV only. form: how a number is
    written, a format specification or a function (row, key) -> text. layered: a list in
    summary.json, one number per gated layer, in the CSV `<key>_1`, `<key>_2`, ..
    """

    key: str
    direction: str = ""
    shown: dict[str, tuple[str, str]] = field(default_factory=dict)
    form: str | Callable[[pd.Series, str], str] = ".3f"
    layered: bool = False

    def format(self, row: pd.Series) -> str:
        """The cell of one row; `MISSING` where there is no number."""
        if callable(self.form):
            return self.form(row, self.key)
        return format_number(row[self.key], self.form)


@dataclass(frozen=True)
class Table:
    """A finished table.

    parts: title -> readable cells, index: method, columns: (heading, label). notes: sentences that
    stand below; the first `captions` of them are the caption in LaTeX. csv: all numbers. problems:
    what could not be read and is left out.
    """

    parts: dict[str, pd.DataFrame]
    notes: list[str]
    csv: pd.DataFrame
    captions: int = 1
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class TableSpec:
    """One table of the report.

    name: of the files <runs>/tables/<name>.md, .csv and .tex. title: the heading in Markdown.
    build: runs -> Table, None where no run has results. missing: what to run to get some.
    """

    name: str
    title: str
    build: Callable[[RunSet], Table | None]
    missing: str


def format_number(value, form: str) -> str:
    """A number under a format specification; `MISSING` where there is none."""
    return MISSING if pd.isna(value) else format(value, form)


def format_mean(form: str) -> Callable[[pd.Series, str], str]:
    """Writes a mean over seeds with the half-width of its 95 % interval, or with the range of two
    seeds, for which there is no interval.
    """

    def format_cell(row: pd.Series, key: str) -> str:
        half_width = row[f"{key}_ci95"]
        if pd.notna(half_width):
            interval = format(half_width, form).removeprefix("0")
            return format(row[key], form) + PLUS_MINUS + interval
        if row["seeds"] > 1:
            return format_range(row[key], row[f"{key}_min"], row[f"{key}_max"], form)
        return format_number(row[key], form)

    return format_cell


def format_range(mean: float, low: float, high: float, form: str) -> str:
    """`0.410 (0.300 to 0.520)`, `0.410` where both ends are written alike; `MISSING` where there is
    no number.
    """
    if pd.isna(mean):
        return MISSING
    middle, *ends = (format(number, form) for number in (mean, low, high))
    return middle if ends[0] == ends[1] else f"{middle} ({ends[0]} to {ends[1]})"


def format_rows(
    rows: pd.DataFrame, columns: list[Column], theme: str, headings: tuple[str, ...], names: list
) -> pd.DataFrame:
    """The readable cells of one theme: index `names`, columns (heading, label with its arrow).

    Headings stand in the order given, others behind them; columns below each in the order of
    `columns`.
    """
    series = [row for _, row in rows.iterrows()]
    shown = [column for column in columns if theme in column.shown]
    order = dict.fromkeys([*headings, *(column.shown[theme][0] for column in shown)])
    shown.sort(key=lambda column: list(order).index(column.shown[theme][0]))
    cells = {}
    for column in shown:
        heading, label = column.shown[theme]
        cells[heading, label + column.direction] = [column.format(row) for row in series]
    return pd.DataFrame(cells, index=names)


def name_method(row: pd.Series) -> str:
    """`objective[-tuner][-variant]`, as in the name of the run's directory."""
    return "-".join(
        part for part in (row["objective"], row["tuner"].strip("-"), row["variant"]) if part
    )


def mark_method(name: str, row: pd.Series, mark: str = "") -> str:
    """The name with the number of seeds, where there are several, with `mark`, and with (!) where a
    warning stands below.
    """
    seeds = f" ({row['seeds']} seeds)" if row["seeds"] > 1 else ""
    return name + seeds + mark + (" (!)" if row.get("warning") else "")

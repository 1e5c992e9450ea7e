"""Whether the splits of a benchmark fit together: what a wrong file would do to the numbers.

An error where a number would be wrong; a printed warning where it may be meant. Rows are compared
by question and answer.
"""

from collections.abc import Callable, Iterable

from unlearn.benchmarks.examples import Example
from unlearn.processes import is_main

Locate = Callable[[str, int], str]  # (split, index of a row) -> its place, for people


def locate_row(split: str, index: int) -> str:
    """The place of a row that is in no file."""
    return f"{split} row {index + 1}"


def warn(sentence: str) -> None:
    """Print a warning, once where several processes share a run."""
    if is_main():
        print(f"warning: {sentence}", flush=True)


def check_disjoint(
    forget: list[Example],
    split: str,
    retain: list[Example],
    retain_split: str,
    locate: Locate,
    is_named: bool = False,
) -> None:
    """Raise `ValueError` for a forget row that is a retain row too; warn of it where the user named
    the retain split.
    """
    indices = {example.pair: example.index for example in retain}
    both = [example for example in forget if example.pair in indices]
    if both:
        sentence = (
            f"{locate(split, both[0].index)} is to be forgotten and is retained too "
            f"({locate(retain_split, indices[both[0].pair])}; {len(both)} such rows): leave them "
            f"out of {retain_split}, or pass another --retain_split"
        )
        if not is_named:
            raise ValueError(sentence)
        warn(sentence)


def check_contained(
    rows: list[Example], split: str, whole: Iterable[Example], whole_split: str, locate: Locate
) -> None:
    """Raise `ValueError` for a row of `split` that `whole_split` lacks."""
    pairs = {example.pair for example in whole}
    missing = [example for example in rows if example.pair not in pairs]
    if missing:
        raise ValueError(
            f"{locate(split, missing[0].index)} is not in {whole_split} ({len(missing)} of "
            f"{len(rows)} rows), so its numbers would be of other rows; give files that belong "
            "together"
        )


def warn_of_strangers(
    rows: list[Example], split: str, whole: Iterable[Example], whole_split: str, locate: Locate
) -> None:
    """Warn of rows of `split` that `whole_split` lacks."""
    pairs = {example.pair for example in whole}
    missing = [example for example in rows if example.pair not in pairs]
    if missing:
        warn(
            f"{locate(split, missing[0].index)} is not in {whole_split} ({len(missing)} of "
            f"{len(rows)} rows): the target has not learned it"
        )


def warn_of_duplicates(rows: list[Example], split: str, locate: Locate) -> None:
    """Warn of rows that occur twice."""
    first: dict[tuple[str, str], int] = {}
    again = [row for row in rows if first.setdefault(row.pair, row.index) != row.index]
    if again:
        warn(
            f"{locate(split, again[0].index)} repeats {locate(split, first[again[0].pair])}; "
            f"{len(again)} of {len(rows)} rows are repeated and weigh more"
        )

"""Parts of a forget split, one author each, for requests that come one by one.

`forget10a` is the first author of forget10, `forget10b` the second; the retain split of both is
that of forget10, and `forget10a_perturbed` is the same part of forget10_perturbed.
"""

import re
from collections.abc import Callable
from itertools import groupby
from string import ascii_lowercase

from unlearn.benchmarks.examples import Example

SUBSPLIT = re.compile(r"(forget\d\d)([a-z])(_perturbed)?")
ROWS_PER_AUTHOR = 20  # of a TOFU author, where the name is not known


def find_whole_split(split: str, splits: list[str]) -> str:
    """Return the split that holds the rows of `split`: forget10a -> forget10, any other -> itself.

    A name in `splits` is a split of its own, whatever its form.
    """
    match = SUBSPLIT.fullmatch(split)
    return split if split in splits or not match else match[1] + (match[3] or "")


def read_with_subsplits(
    read: Callable[[str], list[Example]], splits: list[str]
) -> Callable[[str], list[Example]]:
    """Return `read` extended to parts of a split.

    The function returned raises `ValueError` for a letter beyond the last author's.
    """

    def read_any(split: str) -> list[Example]:
        whole = find_whole_split(split, splits)
        if whole == split:
            return read(split)
        match = SUBSPLIT.fullmatch(split)
        authors = [
            list(rows)
            for _, rows in groupby(read(whole), lambda e: e.entity or e.index // ROWS_PER_AUTHOR)
        ]
        number = ascii_lowercase.index(match[2])
        if number >= len(authors):
            last = ascii_lowercase[min(len(authors), len(ascii_lowercase)) - 1]
            raise ValueError(
                f"{match[1]} has {len(authors)} authors, so its parts are {match[1]}a to "
                f"{match[1]}{last}; there is no {split}"
            )
        return authors[number]

    return read_any

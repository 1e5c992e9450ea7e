"""Parts of a forget split, one author each, for requests that come one by one: forget10a is the
first author of forget10, forget10b the second.

source.examples("forget10a"), source.evaluation_sets("forget10a"), source.retain_for("forget10a")    #
                                                                                                     retain90,
                                                                                                     as
                                                                                                     of
                                                                                                     forget10
"""

import re
from collections.abc import Callable
from itertools import groupby
from string import ascii_lowercase

PART = re.compile(r"(forget\d\d)([a-z])(_perturbed)?")
BLOCK = 20  # rows of a TOFU author, where its name is not known


def whole(stem: str, stems: list[str]) -> str:
    """The stem that holds the rows of `stem`: forget10a -> forget10, forget10a_perturbed ->
    forget10_perturbed, any other -> itself."""
    match = PART.fullmatch(stem)
    return stem if stem in stems or not match else match[1] + (match[3] or "")


def reading(read: Callable[[str], list], stems: list[str]) -> Callable[[str], list]:
    """`read`, for parts too. What it returns raises `ValueError` for a letter beyond the last
    author's."""

    def rows(stem: str) -> list:
        if whole(stem, stems) == stem:
            return read(stem)
        name = PART.fullmatch(stem)
        authors = [
            list(group)
            for _, group in groupby(
                read(whole(stem, stems)), lambda e: e.entity or e.index // BLOCK
            )
        ]
        number = ascii_lowercase.index(name[2])
        if number >= len(authors):
            last = ascii_lowercase[min(len(authors), len(ascii_lowercase)) - 1]
            raise ValueError(
                f"{name[1]} has {len(authors)} authors, so its parts are {name[1]}a to {name[1]}{last}; there is no {stem}"
            )
        return authors[number]

    return rows

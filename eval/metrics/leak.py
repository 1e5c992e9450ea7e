"""Leak: whether an answer gives away the value that a question asks for (import only)."""

import re
from collections.abc import Sequence

import numpy as np


def contains_value(value: str, text: str) -> bool:
    """Whether the words of `value` occur in `text` consecutively and in order, whatever their case
    and punctuation.
    """

    def normalize(phrase: str) -> str:
        words = re.findall(r"[^\W_]+", phrase.casefold())
        return f" {' '.join(words)} "

    return normalize(value) in normalize(text)


def leak_rate(leaked: Sequence[bool | None]) -> float | None:
    """The share of answers that hold their value, in [0, 1]; None where no row names a value.

    leaked: one flag a row, None for rows whose value the data do not name; they do not count.
    Lower is better on the forget set, where a model that never saw it sets the floor by guessing.
    """
    flags = [flag for flag in leaked if flag is not None]
    return float(np.mean(flags)) if flags else None

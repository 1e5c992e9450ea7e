"""The range of a flag's values: declared with the flag, checked in one place, shown by --help."""

import math
from dataclasses import dataclass

SEED_LIMIT = 2**63  # torch's generators take 64 bits with a sign


@dataclass(frozen=True)
class Range:
    """What a flag's numbers may be; a list's items each. NaN and infinity are in no range.

    minimum, maximum  the least and the greatest value
    above, below      values beyond these, without the bounds themselves
    multiple_of       whole multiples of it alone
    """

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    multiple_of: int | None = None

    def __str__(self) -> str:
        """`at least 0, below 1`; empty without bounds."""
        bounds = {
            "at least": self.minimum,
            "greater than": self.above,
            "at most": self.maximum,
            "below": self.below,
            "a multiple of": self.multiple_of,
        }
        return ", ".join(
            f"{words} {'2^63' if bound == SEED_LIMIT else bound}"
            for words, bound in bounds.items()
            if bound is not None
        )

    def holds(self, value: float) -> bool:
        """Whether a number is finite and in the range."""
        return (
            math.isfinite(value)
            and (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.multiple_of is None or value % self.multiple_of == 0)
        )


def check_range(name: str, value, allowed: Range) -> None:
    """Raise `ValueError`, beginning with the flag, for an empty text or a number out of range."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str) and not item.strip():
            raise ValueError(f"--{name} {item!r}: must not be empty; give a value or leave it out")
        if isinstance(item, bool) or not isinstance(item, (int, float)) or allowed.holds(item):
            continue
        words = [str(allowed)] if str(allowed) else []
        finite = [] if math.isfinite(item) else ["finite"]
        raise ValueError(f"--{name} {item}: must be {', and '.join(words + finite)}")

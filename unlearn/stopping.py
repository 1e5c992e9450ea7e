"""Stopping early, by a rule on what training logs anyway: --stop flat. Off by default; no evaluation data is looked at.

A run has gone flat when, for each watched loss part (the forget term, the gate loss), the mean over its last WINDOW epochs differs from
the mean over the WINDOW epochs before by at most SHARE of the way it has come since the first epoch:

    |m_last - m_before| <= SHARE |m_first - m_last|

A mean over whole epochs has every forget example in it equally often, so only the retain draws make it noisy.
"""

from collections.abc import Callable
from statistics import fmean

WATCHED = ("forget", "gate")
WINDOW = 5  # epochs
SHARE = 0.05
STOPS = ("never", "flat")


def stop_rule(name: str, steps_per_epoch: int) -> Callable[[list[dict]], bool] | None:
    """The rule called `name`, as a function of the records of all steps so far; None: no rule."""
    assert name in STOPS
    return None if name == "never" else lambda records: is_flat(records, steps_per_epoch)


def is_flat(records: list[dict], steps_per_epoch: int) -> bool:
    """Whether the watched parts have gone flat; asked at the end of an epoch, and never before 2 WINDOW + 1 epochs."""
    span = WINDOW * steps_per_epoch
    if len(records) % steps_per_epoch or len(records) < 2 * span + steps_per_epoch:
        return False

    def flat(part: str) -> bool:
        values = [record[part] for record in records]
        first, before, last = fmean(values[:steps_per_epoch]), fmean(values[-2 * span : -span]), fmean(values[-span:])
        return abs(last - before) <= SHARE * abs(first - last)

    return all(flat(part) for part in WATCHED if part in records[0])

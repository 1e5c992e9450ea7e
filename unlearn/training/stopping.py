"""When to stop and what to keep, by rules on training data alone: no evaluation data is looked at.
Off by default.

--keep best: of the checks during training (--eval_steps), the one with the highest forget loss
whose retain loss has risen by at most RETAIN_SLACK; where it has risen by more at all of them, the
one where it has risen least. A sweep keeps its learning rate likewise (eval/report/sweeps.py).

--stop flat: as soon as what training logs anyway goes flat.

A run has gone flat when, for each watched loss part (the forget term, the gate loss), the mean over
its last WINDOW epochs differs from the mean over the WINDOW epochs before by at most SHARE of the
way it has come since the first epoch:

    |m_last - m_before| <= SHARE |m_first - m_last|

A mean over whole epochs has every forget example in it equally often, so only the retain draws make
it noisy."""

from collections.abc import Callable
from statistics import fmean

WATCHED = ("forget", "gate")
WINDOW = 5  # epochs
SHARE = 0.05
STOPS = ("never", "flat")
# nats a token by which retain loss may exceed the first check's and still count as kept
# (probability: -10 %)
RETAIN_SLACK = 0.1


def rank(values: dict, first: dict) -> tuple:
    """How good a check is, given the first one: where retain is kept, the more forgotten the
    better; else the less retain is lost."""
    held = values["retain"] <= first["retain"] + RETAIN_SLACK
    return (1, values["forget"]) if held else (0, -values["retain"])


def stop_rule(name: str, steps_per_epoch: int) -> Callable[[list[dict]], bool] | None:
    """The rule called `name`, as a function of the records of all steps so far; None: no rule."""
    assert name in STOPS
    return None if name == "never" else lambda records: is_flat(records, steps_per_epoch)


def is_flat(records: list[dict], steps_per_epoch: int) -> bool:
    """Whether the watched parts have gone flat; asked at the end of an epoch, and never before 2
    WINDOW + 1 epochs."""
    span = WINDOW * steps_per_epoch
    if len(records) % steps_per_epoch or len(records) < 2 * span + steps_per_epoch:
        return False

    def flat(part: str) -> bool:
        values = [record[part] for record in records]
        first = fmean(values[:steps_per_epoch])
        before = fmean(values[-2 * span : -span])
        last = fmean(values[-span:])
        return abs(last - before) <= SHARE * abs(first - last)

    return all(flat(part) for part in WATCHED if part in records[0])

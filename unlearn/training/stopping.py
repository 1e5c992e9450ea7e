"""When to stop and which weights to keep, by rules on training data alone. Off by default.

--keep best: of the evaluations during training (--eval_steps), the one with the highest forget loss
whose retain loss has risen by at most RETAIN_SLACK; where it has risen by more in all of them, the
one where it has risen least. A sweep chooses its learning rate likewise (eval/report/sweeps.py).

--stop flat: as soon as the loss parts that training logs are flat. A run is flat when, for each
watched part (the forget term, the gate loss), the mean m over its last WINDOW epochs differs from
the mean over the WINDOW epochs before by at most SHARE of the change since the first epoch:

    |m_last - m_before| <= SHARE |m_first - m_last|

A mean over whole epochs has every forget example in it equally often, so only the retain draws make
it noisy.
"""

from collections.abc import Callable
from statistics import fmean

WATCHED = ("forget", "gate")
WINDOW = 5  # epochs
SHARE = 0.05
STOPS = ("never", "flat")
# Nats a token by which the retain loss may exceed that before training and still count as kept
# (a probability 10 % lower).
RETAIN_SLACK = 0.1


def rank(values: dict, first: dict) -> tuple:
    """The rank of an evaluation, given the first one: where the retain loss is kept, the higher the
    forget loss the better; else the lower the retain loss."""
    is_kept = values["retain"] <= first["retain"] + RETAIN_SLACK
    return (1, values["forget"]) if is_kept else (0, -values["retain"])


def stop_rule(name: str, steps_per_epoch: int) -> Callable[[list[dict]], bool] | None:
    """The rule of that name, as a function of the records of all steps so far; None for `never`."""
    assert name in STOPS
    return None if name == "never" else lambda records: is_flat(records, steps_per_epoch)


def is_flat(records: list[dict], steps_per_epoch: int) -> bool:
    """Whether the watched parts are flat; never before 2 WINDOW + 1 epochs, nor within an epoch."""
    span = WINDOW * steps_per_epoch
    if len(records) % steps_per_epoch or len(records) < 2 * span + steps_per_epoch:
        return False
    return all(
        is_part_flat([record[part] for record in records], span, steps_per_epoch)
        for part in WATCHED
        if part in records[0]
    )


def is_part_flat(values: list[float], span: int, steps_per_epoch: int) -> bool:
    """Whether one loss part is flat, given its value at every step so far."""
    first = fmean(values[:steps_per_epoch])
    before = fmean(values[-2 * span : -span])
    last = fmean(values[-span:])
    return abs(last - before) <= SHARE * abs(first - last)

"""Early stopping: the rule by hand, and a run that stops where an uninterrupted one stops after it
was killed and resumed."""

import pytest
import torch
from torch import nn

from unlearn.config.run_directory import Run
from unlearn.training.loop import TrainConfig, train
from unlearn.training.stopping import SHARE, WINDOW, is_flat, stop_rule


def records(*epochs, steps=2, part="forget"):
    """One value per epoch, its steps 1 above and 1 below it."""
    return [
        {"step": 2 * e + i, part: value + (-1) ** i}
        for e, value in enumerate(epochs)
        for i in range(steps)
    ]


def test_flat_by_hand():
    """Windows of 5 epochs, share 0.05. Epoch means 10, then 5 x 2, then 5 x 1.6: from 10 to 1.6 is
    8.4, of which 0.4 is 4.8 %: flat. With 5 x 1.5 at the end it is 0.5 of 8.5 = 5.9 %: not yet."""
    assert (WINDOW, SHARE) == (5, 0.05)
    assert is_flat(records(10, *[2] * 5, *[1.6] * 5), 2)
    assert not is_flat(records(10, *[2] * 5, *[1.5] * 5), 2)


def test_never_before_eleven_epochs_nor_within_one():
    settled = records(10, *[1] * 11)
    assert [n for n in range(len(settled) + 1) if is_flat(settled[:n], 2)] == [22, 24]


def test_the_gate_must_be_flat_too():
    forget = records(10, *[1] * 10)
    falling = records(10, *range(10, 0, -1), part="gate")
    assert is_flat(forget, 2)
    assert not is_flat([a | b for a, b in zip(forget, falling, strict=True)], 2)
    assert stop_rule("never", 2) is None and stop_rule("flat", 2)(forget)


def run(tmp_path, name, killed=None):
    """Fits w to 3, one step an epoch: the loss falls geometrically, and is flat long before 60
    steps."""
    line = nn.Linear(1, 1, bias=False)
    where = Run(tmp_path / name)
    where.path.mkdir(exist_ok=True)
    with torch.no_grad():
        line.weight.fill_(0.0)

    def losses(part, whole, step):
        value = (line.weight - 3).pow(2).sum()
        return {"loss": value, "forget": value}

    def items(step):
        if step == killed:
            raise KeyboardInterrupt
        return [0]

    plan = TrainConfig(
        60, lr=0.5, schedule="constant", checkpoint_every=4, stop=stop_rule("flat", 1)
    )
    return train(line, losses, items, plan, where, lambda path: path.mkdir(exist_ok=True)), where


def test_resumed_stops_where_uninterrupted_stops(tmp_path):
    straight, log = run(tmp_path, "a")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "b", killed=10)
    resumed, again = run(tmp_path, "b")
    assert 11 <= straight["steps"] == resumed["steps"] < 60 == straight["planned_steps"]
    assert log.logged() == again.logged() and len(log.logged()) == straight["steps"]

"""The training loop: killed and resumed equals uninterrupted, micro-batches equal the whole batch, and a NaN costs nothing saved."""

import json

import pytest
import torch
from torch import nn

from unlearn.loop import Plan, train
from unlearn.runs import Run


class Line(nn.Module):
    """y = w x with dropout, so that a resumed run must also draw the same masks."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
        self.dropout = nn.Dropout(dropout)


def losses_of(line):
    def losses(part, whole, step):
        x = torch.tensor(part)
        return {"loss": (line.dropout(line.w) * x).pow(2).sum() / len(whole)}

    return losses


def items(step):
    return [[0.1 * (step + 1), 0.2 * b, 1.0 - 0.1 * b] for b in range(5)]


def run(tmp_path, name, steps=7, stop=None, dropout=0.0, **plan):
    line, where = Line(dropout), Run(tmp_path / name)

    def draw(step):
        if step == stop:
            raise KeyboardInterrupt
        return items(step)

    where.path.mkdir(exist_ok=True)
    plan = Plan(steps, lr=0.1, warmup=2, checkpoint_every=2, seed=5, **plan)
    train(line, losses_of(line), draw, plan, where, lambda path: path.mkdir())
    return line.w.detach(), where


def test_resumed_equals_uninterrupted(tmp_path):
    """Killed at step 5 (checkpoint at 4) and started again: same weights to the bit, same log, each step logged once."""
    straight, log = run(tmp_path, "a", dropout=0.5)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "b", stop=5, dropout=0.5)
    assert (tmp_path / "b" / "checkpoint" / "state.json").exists()
    resumed, again = run(tmp_path, "b", dropout=0.5)
    assert torch.equal(straight, resumed)
    assert log.logged() == again.logged() and [r["step"] for r in again.logged()] == list(range(7))


def test_micro_batches_equal_the_whole(tmp_path):
    whole, log = run(tmp_path, "whole")
    parts, again = run(tmp_path, "parts", micro_batch=2)
    torch.testing.assert_close(whole, parts)
    for one, other in zip(log.logged(), again.logged(), strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_first_step_by_hand(tmp_path):
    """AdamW's first update is lr * sign(gradient) (bias-corrected m / sqrt(v)); warm-up 2 makes step 0's rate 0 and step 1's lr / 2."""
    w, where = run(tmp_path, "hand", steps=2, max_grad_norm=0)
    assert [r["lr"] for r in where.logged()] == pytest.approx([0.0, 0.05])
    start = torch.tensor([1.0, -2.0, 0.5])
    assert torch.sign(start - w).tolist() == [1, -1, 1]


def test_nan_stops_with_the_step_and_keeps_the_state(tmp_path):
    line, where = Line(), Run(tmp_path / "nan")
    where.path.mkdir()

    def losses(part, whole, step):
        value = (line.w * torch.tensor(part)).pow(2).sum()
        return {"loss": value * (float("nan") if step == 3 else 1.0), "forget": value}

    with pytest.raises(ValueError, match=r"not finite at step 3: .*loss nan .*forget"):
        train(line, losses, items, Plan(5, lr=0.1, checkpoint_every=100), where, None)
    assert json.loads((where.checkpoint / "state.json").read_text())["step"] == 3
    assert torch.isfinite(line.w).all()


def test_save_steps(tmp_path):
    _, where = run(tmp_path, "saves", save_steps=[3, 7])
    assert sorted(path.name for path in where.path.glob("step-*")) == ["step-3", "step-7"]

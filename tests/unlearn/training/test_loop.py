"""The training loop: killed and resumed equals uninterrupted, micro-batches equal the whole batch,
the best check is the one that is saved, and a NaN costs nothing saved."""

import json

import pytest
import torch
from torch import nn

from unlearn.config.run_directory import Run
from unlearn.training.distribution import micro_batches
from unlearn.training.loop import TrainConfig, TrainEval, train


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


class Remembering:
    """Losses whose weight is a number that grows by each step's loss, so that a resumed run must
    know it."""

    def __init__(self, line):
        self.losses = losses_of(line)
        self.state = {"weight": 1.0}
        self.moved = []

    def __call__(self, part, whole, step):
        return {
            name: self.state["weight"] * value
            for name, value in self.losses(part, whole, step).items()
        }

    def after_step(self, step, parts):
        self.state["weight"] += 0.1 * parts["loss"]
        self.moved.append(step)


def run(tmp_path, name, steps=7, stop=None, dropout=0.0, kind=losses_of, check=None, **plan):
    line = Line(dropout)
    where = Run(tmp_path / name)

    def draw(step):
        if step == stop:
            raise KeyboardInterrupt
        return items(step)

    where.path.mkdir(exist_ok=True)
    plan = TrainConfig(steps, lr=0.1, warmup=2, checkpoint_every=2, seed=5, **plan)
    losses = kind(line)

    def save(directory):
        directory.mkdir(exist_ok=True)
        (directory / "w.json").write_text(json.dumps(line.w.tolist()))

    where.outcome = train(line, losses, draw, plan, where, save, check and check(line))
    where.losses = losses
    return line.w.detach(), where


def test_resumed_equals_uninterrupted(tmp_path):
    """Killed at step 5 (checkpoint at 4) and started again: same weights to the bit, same log, each
    step logged once."""
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
    """AdamW's first update is lr * sign(gradient) (bias-corrected m / sqrt(v)); warm-up 2 makes
    step 0's rate 0 and step 1's lr / 2."""
    w, where = run(tmp_path, "hand", steps=2, max_grad_norm=0)
    assert [r["lr"] for r in where.logged()] == pytest.approx([0.0, 0.05])
    start = torch.tensor([1.0, -2.0, 0.5])
    assert torch.sign(start - w).tolist() == [1, -1, 1]


def test_nan_stops_with_the_step_and_keeps_the_state(tmp_path):
    line = Line()
    where = Run(tmp_path / "nan")
    where.path.mkdir()

    def losses(part, whole, step):
        value = (line.w * torch.tensor(part)).pow(2).sum()
        return {"loss": value * (float("nan") if step == 3 else 1.0), "forget": value}

    with pytest.raises(ValueError, match=r"not finite at step 3: .*loss nan .*forget"):
        train(line, losses, items, TrainConfig(5, lr=0.1, checkpoint_every=100), where, None)
    assert json.loads((where.checkpoint / "state.json").read_text())["step"] == 3
    assert torch.isfinite(line.w).all()


def test_loss_state_is_resumed_and_moves_once_a_step(tmp_path):
    """With micro-batches of 2 of 5 items there are three forwards a step, and still one call of
    after_step."""
    straight, one = run(tmp_path, "a", kind=Remembering, micro_batch=2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "b", stop=5, kind=Remembering, micro_batch=2)
    resumed, other = run(tmp_path, "b", kind=Remembering, micro_batch=2)
    assert one.losses.moved == list(range(7)) and other.losses.moved == [4, 5, 6]
    assert torch.equal(straight, resumed) and one.losses.state == other.losses.state


def test_save_steps(tmp_path):
    w, where = run(tmp_path, "saves", save_steps=[3, 7])
    assert sorted(path.name for path in where.path.glob("step-*")) == ["step-3", "step-7"]
    assert json.loads((where.path / "w.json").read_text()) == w.tolist()


def closest(line, keep_best):
    """A check that wants w_0 near 0.8; AdamW at lr 0.1 goes from 1 towards 0 in steps of at most
    0.1 and passes it on the way."""

    def losses(part, whole):
        return {"distance": (line.w[0] - 0.8).abs() * len(part) / len(whole)}

    return TrainEval([1, 2, 3], losses, 1, lambda values, first: (-values["distance"],), keep_best)


def test_checks_on_the_way_and_the_best_one_is_saved(tmp_path):
    """A check before every step and after the last; with keep_best the saved weights are those of
    the closest check, else the last."""
    last, plain = run(tmp_path, "last", check=lambda line: closest(line, False), micro_batch=2)
    _, best = run(tmp_path, "best", check=lambda line: closest(line, True))
    found = [record["check"] for record in plain.logged() if "check" in record]
    assert [values["step"] for values in found] == list(range(8)) and found[0][
        "distance"
    ] == pytest.approx(0.2)
    want = min(found, key=lambda values: values["distance"])
    assert 0 < want["step"] < 7
    assert best.outcome["checks"]["best"] == pytest.approx(want)
    saved = json.loads((best.path / "w.json").read_text())
    assert (
        abs(saved[0] - 0.8) == pytest.approx(want["distance"], abs=1e-6)
        and not (best.path / "best").exists()
    )
    assert json.loads((plain.path / "w.json").read_text()) == last.tolist() != saved


def test_a_killed_run_resumes_to_the_same_best_check(tmp_path):
    _, straight = run(tmp_path, "a", check=lambda line: closest(line, True))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "b", stop=5, check=lambda line: closest(line, True))
    _, resumed = run(tmp_path, "b", check=lambda line: closest(line, True))
    assert (
        straight.logged() == resumed.logged()
        and straight.outcome["checks"] == resumed.outcome["checks"]
    )
    assert (straight.path / "w.json").read_text() == (resumed.path / "w.json").read_text()


@pytest.mark.parametrize(("world", "size"), [(1, 0), (1, 2), (2, 0), (2, 2), (3, 1), (7, 0)])
def test_processes_share_a_batch_in_as_many_chunks_each(world, size):
    """5 items: every item is in one chunk that counts, no chunk is longer than asked, and all
    processes have as many chunks."""
    whole = list("abcde")
    shares = [micro_batches(whole, rank, world, size) for rank in range(world)]
    assert (
        sorted(item for share in shares for chunk, counts in share if counts for item in chunk)
        == whole
    )
    assert len({len(share) for share in shares}) == 1 and all(
        chunk for share in shares for chunk, _ in share
    )
    assert all(len(chunk) <= (size or 5) for share in shares for chunk, _ in share)

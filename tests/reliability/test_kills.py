"""A run that is killed at any file operation ends, once restarted, as one that was not."""

import json
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.reliability.kill_cases import KILLED, kill_at, run_child
from unlearn.config import files, run_directory
from unlearn.config.run_directory import Run
from unlearn.training.loop import TrainConfig, TrainEval, train

CONFIG = {"layout": 3, "config_key": {}}


class Line(nn.Module):
    """y = w x with dropout: a resumed run must draw the same masks."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
        self.dropout = nn.Dropout(0.5)


def train_line(path, keep_best=True):
    """Run the whole life of a run directory: five steps, a checkpoint after every second one."""
    run = Run(path)
    if run.skip(CONFIG) or not run.begin(CONFIG):
        return
    line = Line()

    def loss(part, whole, step):
        return {"loss": (line.dropout(line.w) * torch.tensor(part)).pow(2).sum() / len(whole)}

    def distance(part, whole):
        return {"distance": (line.w[0] - 0.8).abs() * len(part) / len(whole)}

    def save(directory):
        files.replace_directory(
            directory / "model", lambda folder: files.write_json(folder / "w.json", line.w.tolist())
        )

    best = TrainEval([1], distance, 2, lambda now, first: (-now["distance"],), True)
    config = TrainConfig(5, lr=0.1, checkpoint_every=2, seed=5, save_steps=[3])
    items = [[0.1, 0.2, 1.0], [0.3, -0.2, 0.5]]
    result = train(line, loss, lambda _: items, config, run, save, best if keep_best else None)
    run.finish(result)


def contents(path):
    """Everything in a finished run that may not depend on how often it was killed: relative path
    -> bytes, without times."""
    stored = {}
    for file in sorted(path.rglob("*")):
        if file.is_file():
            stored[str(file.relative_to(path))] = file.read_bytes()
    result = json.loads(stored["result.json"])
    result.pop("train_seconds")
    return stored | {"result.json": result, "config.json": None}


def sweep_kills(command, path, reference, torn=False, first=1, stride=1):
    """Kill `command` at every operation, restart it, compare; return the number of operations."""
    number = first
    while True:
        shutil.rmtree(path, ignore_errors=True)
        code = kill_at(command, path, number, torn)
        if code == 0:
            return number
        assert code == KILLED, f"operation {number}"
        assert run_child(command) == 0, f"restart after operation {number}"
        assert contents(path) == reference, f"operation {number}"
        number += stride


@pytest.fixture(params=[True, False], ids=["best", "last"])
def line_run(tmp_path, request, monkeypatch):
    """(command, run directory, what an uninterrupted run holds)."""
    monkeypatch.setattr(run_directory, "provenance", dict)  # it starts git, which takes longest
    path = tmp_path / "runs" / "line"

    def command():
        train_line(path, keep_best=request.param)

    assert run_child(command) == 0
    return command, path, contents(path)


@pytest.mark.slow
@pytest.mark.parametrize("torn", [False, True], ids=["before", "torn"])
def test_kill_at_every_file_operation(line_run, torn):
    command, path, reference = line_run
    assert sweep_kills(command, path, reference, torn) > 50


@pytest.mark.parametrize(("torn", "first"), [(False, 3), (True, 7)], ids=["before", "torn"])
@pytest.mark.parametrize("line_run", [True], indirect=True, ids=["best"])
def test_kill_at_some_file_operations(line_run, torn, first):
    """Every twelfth one; the slow test takes them all."""
    command, path, reference = line_run
    assert "DONE" in reference and "checkpoint/state.json" not in reference
    assert sweep_kills(command, path, reference, torn, first, stride=12) > 60


@pytest.mark.slow
def test_kill_of_a_resumed_run(line_run):
    """The second process is killed as well, the third one finishes."""
    command, path, reference = line_run
    for number in range(5, 60, 7):
        shutil.rmtree(path)
        kill_at(command, path, 30)
        kill_at(command, path, number, torn=True)
        assert run_child(command) == 0
        assert contents(path) == reference, f"operation {number}"


def train_until_step(path, step):
    """Leave an unfinished run with a checkpoint at `step`; step is 2 or 4."""
    number = 1
    while not is_checkpoint_of(path, step):
        shutil.rmtree(path, ignore_errors=True)
        assert kill_at(lambda: train_line(path), path, number) == KILLED
        number += 3
    return path / "checkpoint"


def is_checkpoint_of(path, step):
    state = path / "checkpoint" / "state.json"
    return state.exists() and json.loads(state.read_text())["step"] == step


DAMAGES = {
    "no weights": lambda checkpoint: (checkpoint / "state.safetensors").unlink(),
    "truncated weights": lambda checkpoint: os.truncate(checkpoint / "state.safetensors", 100),
    "empty weights": lambda checkpoint: os.truncate(checkpoint / "state.safetensors", 0),
    "half a state": lambda checkpoint: os.truncate(checkpoint / "state.json", 10),
}


def test_damaged_checkpoint_counts_as_none(tmp_path, monkeypatch, capsys):
    """A line says so, and the run ends as one that was never stopped."""
    monkeypatch.setattr(run_directory, "provenance", dict)
    path = tmp_path / "line"
    assert run_child(lambda: train_line(path)) == 0
    reference = contents(path)
    checkpoint = train_until_step(path, 2)
    unfinished = shutil.copytree(path, tmp_path / "unfinished")
    for damage in DAMAGES.values():
        shutil.rmtree(path)
        shutil.copytree(unfinished, path)
        damage(checkpoint)
        train_line(path)
        text = capsys.readouterr().out
        assert f"{checkpoint} is damaged and counts as none" in text and "resumes" not in text
        assert contents(path) == reference


def test_checkpoint_that_was_put_aside_comes_back(tmp_path, capsys):
    """A kill between putting the old one aside and renaming the new one."""
    path = tmp_path / "line"
    checkpoint = train_until_step(path, 4)
    checkpoint.rename(path / f".checkpoint.{DEAD}-{files.HOST}.old")
    (path / f".checkpoint.{DEAD}-{files.HOST}.tmp").mkdir()
    train_line(path)
    assert "resumes at step 4" in capsys.readouterr().out
    assert not [name for name in os.listdir(path) if name.startswith(".")]


DEAD = 2**22 + 1  # no process has a number above Linux's limit of 2**22


@pytest.mark.parametrize("name", [".a.{}.tmp", ".a.b.{}-{host}.tmp", ".a.{}-elsewhere.tmp"])
def test_sweep_removes_what_dead_processes_left(tmp_path, name):
    folder = tmp_path / "deep"
    leftover = folder / name.format(DEAD, host=files.HOST)
    leftover.mkdir(parents=True)
    (leftover / "weights").write_text("x")
    (folder / ".gitignore").write_text("")
    files.sweep(tmp_path)
    assert leftover.exists() == ("elsewhere" in name)
    files.sweep(tmp_path, exclusive=True)
    assert os.listdir(folder) == [".gitignore"]


def test_sweep_keeps_what_a_living_process_writes(tmp_path):
    """Process 1 always lives."""
    names = {".a.1.tmp", f".b.1-{files.HOST}.tmp", f".b.1-{files.HOST}.old"}
    for name in names:
        (tmp_path / name).mkdir()
    files.sweep(tmp_path, exclusive=True)
    assert {*os.listdir(tmp_path)} == names


def test_half_a_log_line_names_its_file(tmp_path):
    run = run_directory.Run(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"step": 0}\n{"step": 1, "lo')
    assert run.logged() == [{"step": 0}]
    (tmp_path / "log.jsonl").write_text('{"step": 0}\n{"step": 1, "check": {"a": 1}\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"log\.jsonl:2 is no record of a step; delete this line"):
        run.logged()


@pytest.mark.parametrize(
    ("free", "needed", "words"),
    [(2**20, 3 * 2**20, "1.0 MiB free, this needs 3.0 MiB"), (0, 2**31, "needs 2.0 GiB")],
)
def test_disk_check_names_the_unit(tmp_path, monkeypatch, free, needed, words):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(ValueError, match=words):
        files.require_disk(tmp_path / "not" / "there", needed)


def test_disk_check_covers_the_final_save(tmp_path, monkeypatch):
    """Before the first step, so that no day of training is lost."""
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(ValueError, match="0.0 MiB free"):
        train_line(tmp_path / "line")
    assert not (tmp_path / "line" / "log.jsonl").exists()

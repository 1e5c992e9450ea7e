"""Real commands, really killed: twelve SIGKILLs at moments from the first imports to the last step.

Restarted, each command completes, and what it leaves is bit for bit that of one never killed.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from baselines import train as baseline_train
from eval import run as eval_run
from grun import requests
from grun import train as grun_train
from tests import toy
from tests.reliability.kill_cases import run_child
from unlearn.training import finetune

STEPS = ["--steps", "12", "--batch", "4", "--checkpoint_every", "1"]
# In JSON files: what may differ between two equal runs.
TIMES = ("train_seconds", "stage_seconds", "seconds", "added")
MACHINE = ("versions", "git", "dirty")


class Command(NamedTuple):
    """module: with a `main`; made: the folder that it makes, below the runs folder. moments: when
    to kill it, as (a file whose change is waited for, seconds after that); no file: its start."""

    module: object
    flags: list[str]
    made: str
    moments: list[tuple[str, float]]


RUNS = f"{toy.AUTHORS_FOLDER}/forget10"


def build_command(name: str, runs: Path) -> Command:
    """One of the commands, at toy size."""
    common = [*toy.AUTHORS_FLAGS, "--runs", str(runs)]
    baseline = [*common, "--objective", "npo", *STEPS, "--eval_steps", "2"]
    size = ["--hidden", "32", "--depth", "2", *STEPS]
    gd = next((runs / RUNS).glob("gd-grun-*"))
    commands = {
        "finetune": Command(
            finetune,
            [*common, "--split", "full", *size],
            f"{toy.AUTHORS_FOLDER}/full/target-hidden=32,*",
            [("config.json", 0), ("checkpoint/state.json", 0.03)],
        ),
        "full": Command(
            baseline_train,
            [*baseline, "--tuner", "full"],
            f"{RUNS}/npo-full-*",
            [("config.json", 0.1), ("log.jsonl", 0)],
        ),
        "lora": Command(
            baseline_train,
            [*baseline, "--tuner", "lora", "--lora_dropout", "0.3"],
            f"{RUNS}/npo-lora-*",
            [("checkpoint/state.json", 0), ("checkpoint/state.json", 0.1)],
        ),
        "grun": Command(
            grun_train,
            [*common, "--layers", "1", "2", "--objective", "npo", *STEPS, "--eval_steps", "2"],
            f"{RUNS}/npo-grun-*",
            [("config.json", 0), ("checkpoint/state.json", 0.05)],
        ),
        "add": Command(
            requests,
            ["add", "ada", str(gd), "--requests", str(runs / "requests")],
            "requests",
            [("", 1.0), (".lock", 0)],
        ),
        "eval": Command(
            eval_run,
            [*common, "--only", str(gd)],
            str((gd / "eval").relative_to(runs)),
            [("forget10/*.json", 0), ("forget10/*.json", 0.5)],
        ),
    }
    return commands[name]


def contents(folder: Path) -> dict:
    """Relative path -> bytes of all files; of JSON files the values, without times and versions."""
    stored = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if file.suffix == ".json":
            stored[name] = drop_times(json.loads(file.read_bytes()))
        elif file.is_file() and file.name != ".lock":
            stored[name] = file.read_bytes()
    return stored


def drop_times(value):
    """The same JSON value without times, versions and the state of the repository."""
    if isinstance(value, list):
        return [drop_times(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {k: drop_times(item) for k, item in value.items() if k not in (*TIMES, *MACHINE)}


def stamps(folder: Path, pattern: str) -> set:
    """The name and the time of change of what matches."""
    found = set()
    for file in folder.glob(pattern) if pattern else ():
        try:
            found.add((file, file.stat().st_mtime_ns, file.stat().st_ino))
        except FileNotFoundError:  # removed meanwhile
            continue
    return found


def kill(words: list[str], folder: Path, pattern: str, delay: float) -> int:
    """Start a command and kill it `delay` seconds after what matches has changed; its exit code."""
    before = stamps(folder, pattern)
    process = subprocess.Popen(
        words, cwd=toy.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while pattern and process.poll() is None and stamps(folder, pattern) == before:
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    return process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["finetune", "full", "lora", "grun", "add", "eval"])
def test_killed_command_completes(name, runs):
    module, flags, made, moments = build_command(name, runs)
    assert run_child(lambda: module.main(flags)) == 0
    (folder,) = runs.glob(made)
    reference = contents(folder)
    assert len(reference) > 1
    shutil.rmtree(folder)
    words = [sys.executable, "-m", module.__name__, *flags]
    codes = [kill(words, folder, pattern, delay) for pattern, delay in moments]
    print(f"{name}: {codes.count(-signal.SIGKILL)} of {len(codes)} killed")
    assert codes == [-signal.SIGKILL] * len(moments)
    subprocess.run(words, cwd=toy.ROOT, check=True, stdout=subprocess.DEVNULL)
    assert contents(folder) == reference

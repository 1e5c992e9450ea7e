"""Two processes of one command, stopped or failing: one line, and none of them is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.toy import AUTHORS_FLAGS, ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc"),
]
LINE = "stopped; run the same command to go on\n"
LAUNCHER = "unlearn.grid.launch"
PATIENCE = 120  # seconds; imports of three processes on a busy machine


@pytest.fixture
def script(tmp_path):
    """cmd_finetune.sh with two models to train, each for long, on two processes."""
    variables = {"PY": sys.executable, "NPROC": "2", "OMP_NUM_THREADS": "1", "SEEDS": "1 2"}
    words = ["bash", str(ROOT / "cmd_finetune.sh"), *AUTHORS_FLAGS, "--steps", "100000"]
    process = start(words, tmp_path, RUNS=str(tmp_path / "runs"), **variables)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(PATIENCE)


def start(words: list[str], folder: Path, **variables: str) -> subprocess.Popen:
    """A process of its own group, whose output lies in files: nobody reads it meanwhile."""
    with (folder / "output").open("w") as output, (folder / "errors").open("w") as errors:
        return subprocess.Popen(
            words,
            cwd=ROOT,
            env=os.environ | variables,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )


def wait_until(is_so, what: str):
    """Return what the function returns once it is true."""
    end = time.monotonic() + PATIENCE
    while not (value := is_so()):
        assert time.monotonic() < end, f"no {what} after {PATIENCE} s"
        time.sleep(0.1)
    return value


def find_children(pid: int) -> set[int]:
    """The processes that this one has started, and those that they have."""
    children = set()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        children |= {int(word) for word in path.read_text().split()}
    return children.union(*map(find_children, children))


def find_launcher(pid: int) -> int | None:
    """The first process below this one that starts others of a command."""
    for child in sorted(find_children(pid)):
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if LAUNCHER.encode() in words:
            return child
    return None


def wait_for_training(folder: Path) -> None:
    """Wait until steps are logged."""
    wait_until(lambda: [p for p in folder.rglob("log.jsonl") if p.stat().st_size], "step")


def without_progress(errors: str) -> str:
    """The lines of stderr that are no progress bar's, nor the end of one."""
    pieces = errors.replace("\r", "\n").splitlines(keepends=True)
    return "".join(
        piece for piece in pieces if piece.strip() and "it/s" not in piece and "s/it" not in piece
    )


@pytest.mark.parametrize("moment", ["launcher", "training"])
def test_interrupt_of_two_processes_is_one_line(script, tmp_path, moment):
    """While the launcher imports, and within training; the second model is not begun."""
    launcher = wait_until(lambda: find_launcher(script.pid), "launcher")
    if moment == "training":
        wait_for_training(tmp_path)
        assert len(find_children(launcher)) >= 2
    else:
        time.sleep(0.5)
    children = find_children(script.pid)
    os.killpg(script.pid, signal.SIGINT)
    assert script.wait(60) == 130
    assert without_progress((tmp_path / "errors").read_text()) == LINE
    assert (tmp_path / "output").read_text().count(LAUNCHER) == 1
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


def test_processes_end_with_their_launcher(script, tmp_path):
    """SIGKILL cannot be passed on."""
    wait_for_training(tmp_path)
    launcher = find_launcher(script.pid)
    workers = find_children(launcher)
    assert len(workers) >= 2
    os.kill(launcher, signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "end")


def test_bad_input_of_two_processes_is_a_line_each(tmp_path):
    """Without the launcher's page about it; the exit code is theirs."""
    words = [sys.executable, "-m", LAUNCHER, "--multi_gpu", "--num_machines", "1"]
    words += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    words += ["--num_processes", "2", "-m", "grun.train", "--target", "/nowhere"]
    process = start(words, tmp_path, OMP_NUM_THREADS="1")
    assert process.wait(PATIENCE) == 2
    lines = (tmp_path / "errors").read_text().splitlines()
    assert 1 <= len(lines) <= 2 and len(set(lines)) == 1
    assert lines[0].startswith("error: /nowhere holds no model")

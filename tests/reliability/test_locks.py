"""Two commands on one run directory, and what they leave there."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.toy import ROOT
from unlearn.config import locks
from unlearn.config.run_directory import Run

CONFIG = {"layout": 3, "config_key": {}}
# Trains nothing: takes the run, logs three steps slowly, finishes.
COMMAND = """
import sys, time
from unlearn.config.run_directory import Run
run = Run(sys.argv[1])
config = {"layout": 3, "config_key": {}}
overwrite = "--overwrite" in sys.argv
if not run.skip(config, overwrite) and run.begin(config, overwrite):
    run.rewind_log(0)
    for step in range(3):
        run.log({"step": step})
        time.sleep(float(sys.argv[2]))
    run.finish({"steps": 3})
"""


def start(run, *flags, pause=0.2):
    """A process that takes the run, and rests `pause` seconds after each of its three steps."""
    command = [sys.executable, "-c", COMMAND, str(run.path), str(pause), *flags]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def wait_for(condition):
    """Return once `condition()` holds; fail after ten seconds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_second_command_waits_and_says_for_whom(tmp_path, flags):
    """Without --overwrite it finds the run finished; with it, it trains alone afterwards."""
    run = Run(tmp_path / "run")
    first = start(run, pause=1)  # long enough for the second one to start on a busy machine
    wait_for((run.path / "log.jsonl").exists)
    second = start(run, *flags, pause=0)
    outputs = [process.communicate(timeout=30)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert f"waits for process {first.pid} on {locks.HOST}, which writes {run.path}" in outputs[1]
    assert ("skipped, finished before" in outputs[1]) == (not flags)
    assert [record["step"] for record in run.logged()] == [0, 1, 2]
    assert sorted(os.listdir(run.path)) == ["DONE", "config.json", "log.jsonl", "result.json"]


def test_run_that_another_command_finished_is_left_alone(tmp_path):
    """Between skip and begin, while this command loaded its model."""
    run = Run(tmp_path / "run")
    assert not run.skip(CONFIG)
    assert not run.path.exists()
    start(run).communicate(timeout=20)
    assert not run.begin(CONFIG)
    assert run.begin(CONFIG, overwrite=True) and not run.done


def test_many_commands_together_train_once(tmp_path):
    run = Run(tmp_path / "run")
    processes = [start(run) for _ in range(4)]
    outputs = [process.communicate(timeout=30)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sum("finished: " in output for output in outputs) == 1
    assert [record["step"] for record in run.logged()] == [0, 1, 2]


def test_lock_of_a_killed_command_is_free(tmp_path):
    run = Run(tmp_path / "run")
    first = start(run)
    wait_for((run.path / "log.jsonl").exists)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert (run.path / ".lock").exists() and not run.done
    second = start(run)
    output, _ = second.communicate(timeout=20)
    assert "waits" not in output and run.done and not (run.path / ".lock").exists()


def test_run_that_was_refused_leaves_no_lock(tmp_path):
    run = Run(tmp_path / "run")
    run.begin(CONFIG)
    locks.release_directory(run.path)
    with pytest.raises(ValueError, match="other values of rank"):
        run.skip(CONFIG | {"config_key": {"rank": 2}})
    assert os.listdir(run.path) == ["config.json"]


def test_lock_is_taken_again_by_its_own_process(tmp_path):
    """An error in between does not lock a session out of its own run."""
    run = Run(tmp_path / "run")
    for _ in range(2):
        assert not run.skip(CONFIG)
        assert run.begin(CONFIG)
    run.finish({})
    assert run.skip(CONFIG)


def test_locks_on_a_file_system_without_them(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    run = Run(tmp_path / "run")
    run.begin(CONFIG)
    run.finish({})
    assert run.done


def test_replacing_one_directory_from_many_commands(tmp_path):
    """No "Directory not empty": each time one of them stands there whole."""
    path = tmp_path / "results"
    script = (
        "import sys\n"
        "from unlearn.config.files import replace_directory, write_json\n"
        "for n in range(50):\n"
        "    replace_directory(sys.argv[1], lambda d: write_json(d / 'a.json', n))\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [process.wait(timeout=30) for process in processes] == [0, 0, 0]
    assert json.loads((path / "a.json").read_text()) == 49
    assert os.listdir(tmp_path) == ["results"]

"""Grids that run: failures, JOBS, progress, ctrl-C."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.toy import ROOT
from tests.unlearn.grid.conftest import name_modules
from unlearn.grid.commands import Command, count_cores
from unlearn.grid.progress import Screen, Stage, format_duration
from unlearn.grid.resources import Gpu
from unlearn.processes import STOPPED_LINE


def test_a_failed_cell_does_not_stop_the_others(start, capfd):
    code, calls = start("grun", FAIL="npo")
    assert code == 2
    assert name_modules(calls)[-2:] == ["eval.run", "eval.report"]
    assert name_modules(calls).count("grun.train") == 3
    errors = capfd.readouterr().err
    assert errors.endswith("error: 1 of 6 commands failed, see above\n")
    assert errors.count("--objective npo") == 1
    assert "grun.train" in name_modules(start("grun")[1])  # the failed one, and it alone
    assert start("grun")[1] == []


def test_cells_whose_target_fails_are_not_started(start, capfd):
    code, calls = start("grun", FAIL="full", MODELS="tiny")
    assert code == 2 and "grun.train" not in name_modules(calls)
    assert capfd.readouterr().err.count("not started: its target could not be made") == 3


def test_jobs_run_side_by_side_after_their_target(start, capfd):
    code, calls = start("grun", JOBS="3", SLEEP="0.5")
    assert code == 0
    target, *cells = [call for call in calls if call["module"] != "eval.run"][:4]
    assert target["module"] == "unlearn.training.finetune"
    assert all(call["begun"] >= target["ended"] for call in cells)
    assert max(call["begun"] for call in cells) < min(call["ended"] for call in cells)
    assert {call["OMP_NUM_THREADS"] for call in calls} == {str(max(1, count_cores() // 3))}
    printed = capfd.readouterr().out
    assert printed.count("cell done in ") == 3 and "[npo-grun tiny forget10 seed 42]" in printed
    assert "cell 3 of 3" in printed


def test_jobs_have_a_gpu_each(start):
    start.gpus = [Gpu("4", 2**36), Gpu("7", 2**36)]
    code, calls = start("grun", JOBS="2", SLEEP="0.1", SEEDS="1 2", LOSSES="gd npo")
    assert code == 0
    cells = [call for call in calls if call["module"] == "grun.train"]
    assert {call["CUDA_VISIBLE_DEVICES"] for call in calls} == {"4", "7"}
    assert all(call["OMP_NUM_THREADS"] is None for call in calls)
    for one in cells:
        for other in cells:
            if one is not other and one["CUDA_VISIBLE_DEVICES"] == other["CUDA_VISIBLE_DEVICES"]:
                assert one["ended"] <= other["begun"] or other["ended"] <= one["begun"]


def test_a_sharded_target_has_all_gpus_and_each_grun_cell_one(start):
    start.gpus = [Gpu(str(number), 2**36) for number in range(4)]
    settings = {"NPROC": "4", "ACCELERATE": "fsdp.yaml", "JOBS": "4", "SEEDS": "1 2"}
    _, calls = start("grun", LOSSES="gd npo", **settings)
    used = {call["module"]: call["CUDA_VISIBLE_DEVICES"] for call in calls}
    assert used["unlearn.training.finetune"] == "0,1,2,3"
    assert used["grun.train"] in "0123"


@pytest.mark.parametrize(
    ("variables", "message"),
    [({"JOBS": "3"}, "2 GPUs are here"), ({"JOBS": "2", "NPROC": "4"}, "take NPROC=2")],
)
def test_more_gpus_than_there_are_is_an_error(start, variables, message):
    start.gpus = [Gpu("0", 2**36), Gpu("1", 2**36)]
    with pytest.raises(ValueError, match=message):
        start("grun", **variables)


def test_jobs_give_the_same_runs(start, tmp_path):
    """The same commands, each once; only what they run beside differs."""
    words = [sorted(call["words"] for call in start("baseline", **more)[1]) for more in ({},)]
    start.runs = tmp_path / "others"
    others = sorted(call["words"] for call in start("baseline", JOBS="4")[1])
    renamed = [[word.replace("others", "runs") for word in call] for call in others]
    assert sorted(renamed) == words[0]


def test_failures_of_jobs_are_told_with_their_last_lines(start, capfd):
    assert start("grun", JOBS="2", FAIL="npo")[0] == 2
    assert "    error: it was to fail" in capfd.readouterr().err


def test_stage_estimates_from_what_was_run():
    command = Command("grun.train", (), "cells")
    stage = Stage([command] * 12, at_once=2)
    assert stage.begin() == "cell 1 of 12"
    stage.end(None)
    assert stage.begin() == "cell 2 of 12"
    stage.end(48.0)
    assert stage.begin() == "cell 3 of 12, about 4 min left"  # 10 cells of 48 s, 2 at once
    assert [format_duration(s) for s in (50, 240, 9000)] == ["50 s", "4 min", "2.5 h"]


def test_screen_keeps_one_line_for_each_command(capsys):
    """In a terminal the last line of each running command is drawn over the one before."""
    sys.stdout.isatty = lambda: True
    screen = Screen(sys.stdout)
    screen.update("a", "step 1", is_done=False)
    screen.update("b", "step 1", is_done=False)
    screen.update("a", "step 2", is_done=False)
    screen.write("stays")
    screen.remove("a")
    printed = capsys.readouterr().out
    assert printed.endswith("\x1b[2A\x1b[J[b] step 1\n")
    assert "\x1b[2A\x1b[Jstays\n[a] step 2\n[b] step 1\n" in printed


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interrupt_ends_all_children_with_one_line(program, tmp_path, jobs):
    calls = tmp_path / "calls"
    calls.write_text("")
    variables = {"PY": str(program), "CALLS": str(calls), "SLEEP": "60", "JOBS": jobs}
    variables |= {"RUNS": str(tmp_path / "runs"), "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "unlearn.grid", "finetune"],
        cwd=ROOT,
        env=os.environ | variables | {"REFERENCE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for _ in range(int(jobs)):
        while not process.stdout.readline().startswith("+ "):
            assert process.poll() is None
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    if jobs == "2":
        assert errors == STOPPED_LINE + "\n"
    left = subprocess.run(["pgrep", "-f", str(program)], capture_output=True, text=True)
    assert left.stdout == ""

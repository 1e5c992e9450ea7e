"""The shell commands: what they print under DRY_RUN=1, and when scripts/setup.sh makes an
environment."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from itertools import chain

import pytest

from tests.toy import ROOT
from unlearn.grid.variables import NEAR_MISSES
from unlearn.grid.variables import SCRIPTS as SCRIPT_VARIABLES

COMMANDS = sorted(path.name for path in ROOT.glob("cmd_*.sh"))
SCRIPTS = [*COMMANDS, "tests/run.sh", ".ci/run"]
GRID = {*chain(*SCRIPT_VARIABLES.values()), *NEAR_MISSES, "REQUIREMENTS"}


def bash(*words, cwd="/", **variables):
    """Run bash without the grid variables of whoever runs the tests."""
    clean = {name: value for name, value in os.environ.items() if name not in GRID}
    return subprocess.run(
        ["bash", *map(str, words)], cwd=cwd, env=clean | variables, capture_output=True, text=True
    )


def dry(script, *flags, **variables) -> list[str]:
    """The commands that a script would run, without the leading `+ `."""
    done = bash(ROOT / script, *flags, DRY_RUN="1", **variables)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("+ ") for line in done.stdout.splitlines())
    return [line.removeprefix("+ ") for line in done.stdout.splitlines()]


@pytest.mark.parametrize("script", SCRIPTS)
def test_is_sound_bash_that_says_what_it_is(script):
    lines = (ROOT / script).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash" and lines[1].startswith("# ")
    assert "set -euo pipefail" in lines
    assert os.access(ROOT / script, os.X_OK)
    assert bash("-n", ROOT / script).returncode == 0


@pytest.mark.parametrize("script", COMMANDS)
def test_header_tells_what_on_what_and_how_long(script):
    header = re.match(r"#!.*\n((#.*\n)+)", (ROOT / script).read_text(encoding="utf-8")).group(1)
    assert "# On: " in header and "How long: " in header and f"./{script}" in header


@pytest.mark.parametrize("script", COMMANDS)
def test_dry_run_prints_real_modules_and_passes_flags_on(script):
    commands = dry(script, "--lr", "1e-3 x")
    assert all(command.startswith("python -m ") for command in commands)
    assert any("--lr '1e-3 x'" in command for command in commands)  # one word stays one word
    for module in {command.split()[2] for command in commands}:
        assert importlib.util.find_spec(module), f"{script} names {module}, which does not exist"


def test_finetune_grid():
    command = (
        "python -m unlearn.training.finetune --benchmark authors --model tiny --split {} --seed {}"
    )
    assert dry("cmd_finetune.sh") == [command.format("full", 42)]
    cells = [(split, seed) for split in ("full", "retain99", "retain10") for seed in (1, 2)]
    several = dry("cmd_finetune.sh", REFERENCE="1", SPLITS="forget01 forget90", SEEDS="1 2")
    assert several == [command.format(*cell) for cell in cells]


def test_a_split_without_a_retain_split_is_an_error():
    done = bash(ROOT / "cmd_finetune.sh", DRY_RUN="1", REFERENCE="1", SPLITS="forget05_seq2")
    assert done.returncode != 0 and "forget05_seq2" in done.stderr and done.stdout == ""


def test_grun_grid_makes_targets_trains_then_evaluates():
    commands = dry(
        "cmd_grun.sh",
        "--rank",
        "8",
        MODELS="tiny tiny-robust",
        LOSSES="gd idk",
        DATA_DIR="/some data",
        RUNS="else",
    )
    where = "--data_dir '/some data' --runs else"
    cells = [f"--benchmark authors --model {model}" for model in ("tiny", "tiny-robust")]
    assert commands == [
        *(
            f"python -m unlearn.training.finetune {cell} --split full --seed 42 {where}"
            for cell in cells
        ),
        *(
            f"python -m grun.train {cell} --split forget10 --seed 42 {where} --objective {loss} "
            "--rank 8"
            for cell in cells
            for loss in ("gd", "idk")
        ),
        *(f"python -m eval.run {cell} --split forget10 {where}" for cell in cells),
        "python -m eval.report --runs else",
    ]


def test_grun_makes_the_reference_first_when_asked():
    modules = [command.split()[2] for command in dry("cmd_grun.sh", REFERENCE="1", SEEDS="1 2")]
    trained = ["unlearn.training.finetune"] * 2 + ["grun.train"] * 6
    assert modules == [*trained, "eval.run", "eval.report"]


def test_scripts_pass_data_flags_to_every_step():
    """The rank is the tuner's alone; which authors there are, everybody has to know."""
    data = "--authors 12 --heldout 3"
    made, kept, trained, evaluated, *_ = dry(
        "cmd_grun.sh", "--authors", "12", "--rank", "2", "--heldout=3", REFERENCE="1", LOSSES="gd"
    )
    assert made.endswith(f"--split full --seed 42 {data}") and kept.endswith(
        f"--split retain90 --seed 42 {data}"
    )
    assert trained.endswith("--authors 12 --rank 2 --heldout=3") and evaluated.endswith(
        f"--split forget10 {data}"
    )
    _, trained, control, evaluated, *_ = dry(
        "cmd_baseline.sh",
        "--lr",
        "1e-3",
        *data.split(),
        LOSSES="gd",
        TUNERS="full",
        CONTROLS="keyword",
    )
    assert (
        trained.endswith(f"--lr 1e-3 {data}")
        and control.endswith(f"--control keyword {data}")
        and evaluated.endswith(f"--split forget10 {data}")
    )


@pytest.mark.parametrize("words", [["--variant", "grun+"], ["--variant=grun+"]])
def test_a_variant_runs_around_its_own_objective(words):
    """With a blank or "=", one run, and not one for each of the paper's three losses."""
    trained = [command for command in dry("cmd_grun.sh", *words) if "grun.train" in command]
    assert len(trained) == 1
    assert "--objective idk+ul" in trained[0]
    assert trained[0].endswith(" ".join(words))


@pytest.mark.parametrize("words", [["--benchmark=wmdp"], ["--benchmark", "wmdp"], ["--split=x"]])
def test_flags_that_every_step_needs_are_refused(words):
    """They would reach the training command alone; their place is a variable."""
    done = bash(ROOT / "cmd_grun.sh", *words, DRY_RUN="1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "in front of the script" in done.stderr


def test_scripts_launch_training_alone_by_accelerate():
    commands = dry("cmd_grun.sh", LOSSES="gd", NPROC="3")
    for command, module in zip(commands, ("unlearn.training.finetune", "grun.train")):
        assert "unlearn.grid.launch" in command and "--num_processes 3" in command
        assert f" -m {module} --benchmark authors" in command
    assert [command.split()[2] for command in commands[2:]] == ["eval.run", "eval.report"]


def test_muse_has_its_own_splits_evaluation_and_tables():
    cell = "--benchmark muse --model tiny"
    evaluated = [f"python -m eval.run {cell} --split forget", "python -m eval.report"]
    assert dry("cmd_eval.sh", BENCHMARK="muse") == evaluated
    commands = dry("cmd_grun.sh", BENCHMARK="muse", REFERENCE="1", LOSSES="gd")
    assert [c.split("--split ")[1].split()[0] for c in commands[:3]] == [
        "full",
        "retain",
        "forget",
    ] and commands[3:] == evaluated
    requests = {"BENCHMARK": "muse", "SEQUENTIAL": "forget_sust1 forget_sust2", "LOSSES": "gd"}
    for script, module in (
        ("cmd_baseline.sh", "baselines.sequential"),
        ("cmd_grun.sh", "grun.sequential"),
    ):
        _, *commands = dry(script, **requests)
        assert commands[0].startswith(f"python -m {module} {cell}")
        assert commands[0].endswith("--objective gd --splits forget_sust1 forget_sust2")
        assert (
            commands[1:]
            == [f"python -m eval.run {cell} --split forget_sust{k}" for k in (1, 2)] + evaluated[1:]
        )
    done = bash(ROOT / "cmd_eval.sh", DRY_RUN="1", BENCHMARK="muse", ATTACKS="1")
    assert done.returncode == 2 and "ATTACKS" in done.stderr


def test_help_prints_header_and_flags_and_runs_nothing():
    """Once, with the flags of each program; no command is printed."""
    done = bash(ROOT / "cmd_grun.sh", "--rank", "8", "--help", PY=sys.executable, MODEL="x")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Unlearns each forget split with GRUN")
    assert done.stdout.count("usage: python -m grun.train [flags]") == 1
    assert "\n+ " not in done.stdout and "#!" not in done.stdout and "set -euo" not in done.stdout


FAKE_PYTHON = """#!/usr/bin/env bash
# Stands in for a recent python without our packages: -m venv copies it, -m pip is logged, and fails
# if BROKEN is set.
echo "$*" >> "$CALLS"
case "$1 $2" in
    "-c import sys; assert"*) exit 0 ;;
    "-m venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip")
        echo "Collecting torch"
        [[ -z "${BROKEN:-}" ]] || { echo "no room on the disk"; exit 1; } ;;
    *) exit 1 ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    """A bare clone (setup.sh, requirements) with fake pythons: clone(**variables) starts it ->
    result, pip calls."""
    (tmp_path / "bin").mkdir()
    for name in ("python", "python3"):
        (tmp_path / "bin" / name).write_text(FAKE_PYTHON)
        (tmp_path / "bin" / name).chmod(0o755)
    for name in ("scripts/setup.sh", "requirements.txt", "requirements-dev.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "start.sh").write_text('set -euo pipefail\nsource scripts/setup.sh\necho "$PY"\n')

    def start(**variables):
        (tmp_path / "calls").write_text("")
        path = f"{tmp_path}/bin:{os.environ['PATH']}"
        done = bash("start.sh", cwd=tmp_path, PATH=path, CALLS=str(tmp_path / "calls"), **variables)
        return done, [
            line
            for line in (tmp_path / "calls").read_text().splitlines()
            if line.startswith("-m pip")
        ]

    start.path = tmp_path
    return start


def test_setup_makes_the_environment_once(clone):
    done, pip = clone()
    assert done.stdout == ".venv/bin/python\n" and pip == [
        "-m pip install --progress-bar off -r requirements.txt"
    ]
    assert "making .venv" in done.stderr and "made .venv in" in done.stderr
    done, pip = clone()
    assert done.stdout == ".venv/bin/python\n" and pip == [] and done.stderr == ""


def test_setup_follows_changed_requirements_and_the_dev_file(clone):
    assert len(clone()[1]) == 1
    dev = {"REQUIREMENTS": "requirements-dev.txt"}
    assert clone(**dev)[1][0].endswith("-r requirements.txt -r requirements-dev.txt")
    assert (
        clone()[1] == clone(**dev)[1] == []
    )  # the environment of the tests serves the commands too
    (clone.path / "requirements.txt").write_text("torch==9.9.9\n")
    assert len(clone()[1]) == 1 and clone()[1] == []


def test_setup_that_fails_says_why_and_tries_again(clone):
    done, _ = clone(BROKEN="1")
    assert done.returncode == 1 and done.stdout == ""
    assert "no room on the disk" in done.stderr and "install.log" in done.stderr
    assert clone()[1] != [] and clone()[1] == []


def test_setup_takes_the_given_python_and_makes_nothing(clone):
    assert clone(PY="/my/python")[0].stdout == "/my/python\n"
    assert clone(DRY_RUN="1")[0].stdout == "python\n"
    assert not (clone.path / ".venv").exists()

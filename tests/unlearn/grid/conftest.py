"""Programs that stand in for ours: quick, and logged."""

import json
import stat
import sys
from pathlib import Path

import pytest

from unlearn.grid import run as grid_run
from unlearn.grid.plans import plan
from unlearn.grid.run import GridRun
from unlearn.grid.variables import read_variables

# Makes a run where a training program would, results where an evaluation would, a table where the
# report would. FAIL: a word of commands that fail; SLEEP: seconds that training takes.
PROGRAM = """#!{python} -SE
import json, os, sys, time
from pathlib import Path

words = sys.argv[1:]
if "unlearn.grid.launch" in words:
    words = words[words.index("--num_processes") + 2 :]
module, words = words[1], words[2:]
flags = {{word: words[i + 1] for i, word in enumerate(words[:-1]) if word.startswith("--")}}
names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
call = {{"module": module, "words": words, "begun": time.time()}}
call |= {{name: os.environ.get(name) for name in names}}
runs = Path(flags.get("--runs", "runs"))
failed = os.environ.get("FAIL") in words
benchmark = flags.get("--benchmark", "") + (",data=1" if "--data_dir" in flags else "")
cell = runs / benchmark / flags.get("--model", "")
if failed:
    print("error: it was to fail", file=sys.stderr)
elif module.endswith((".train", ".finetune", ".controls")):
    time.sleep(float(os.environ.get("SLEEP", 0)))
    method = "-".join(flags.get(f"--{{n}}", "") for n in ("objective", "tuner", "control", "lr"))
    kind = "target" if flags["--split"] == "full" else "reference"
    method = kind if module.endswith("finetune") else method
    run = cell / flags["--split"] / f"{{method}}-seed{{flags['--seed']}}"
    if (run / "DONE").exists():
        print(f"skipped, finished before: {{run}}  (--overwrite to run it again)")
    else:
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.json").write_text(json.dumps({{"config_key": {{}}, "layout": 3}}))
        (run / "weights").write_text("w")
        (run / "DONE").write_text("")
        print(f"finished: {{run}}")
elif module == "eval.run":
    for done in cell.glob(f"*/*/DONE"):
        result = done.parent / "eval" / flags["--split"] / "summary.json"
        result.parent.mkdir(parents=True, exist_ok=True)
        if not result.exists():
            result.write_text("{{}}")
elif module == "eval.report":
    (runs / "tables").mkdir(exist_ok=True)
    (runs / "tables" / "tofu.md").write_text("table")
    print("the table")
call["ended"] = time.time()
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps(call) + "\\n")
sys.exit(2 if failed else 0)
"""


@pytest.fixture
def program(tmp_path):
    """The path of the stand-in for Python."""
    path = tmp_path / "program"
    path.write_text(PROGRAM.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def start(tmp_path, program, monkeypatch):
    """start(script, *flags, **variables) -> (exit code, calls); checks no flags. start.runs is the
    folder of the runs, start.gpus the GPUs of the machine."""
    calls = tmp_path / "calls"

    def start_grid(script, *flags, **variables):
        calls.write_text("")
        given = {"RUNS": str(start_grid.runs)} | variables
        settings = read_variables(script, given)
        environment = {"PY": str(program), "CALLS": str(calls)} | given
        commands = plan(settings, list(flags))
        code = GridRun(commands, settings.runs, settings.count("JOBS"), environment).run()
        return code, [json.loads(line) for line in calls.read_text().splitlines()]

    start_grid.runs = tmp_path / "runs"
    start_grid.gpus = []
    monkeypatch.setattr(grid_run, "find_gpus", lambda environment: start_grid.gpus)
    return start_grid


def name_modules(calls: list[dict]) -> list[str]:
    return [call["module"] for call in calls]


def find_run(runs: Path, pattern: str) -> Path:
    """The one run below `runs` that a pattern names."""
    (run,) = runs.glob(pattern)
    return run

"""The commands that made the runs, from the flags that each config.json says were given (import
only).
"""

import shlex

from eval.report.collect import ORDER, FinishedRun, RunSet

PROGRAMS = {"grun": "grun.train", "rmu": "rmu.unlearn", "adaptive_rmu": "rmu.unlearn"}
FINETUNE = "unlearn.training.finetune"
CONTROLS = "baselines.controls"
BASELINES = "baselines.train"


def list_commands(runs: RunSet) -> list[str]:
    """A command per run, in path order, and the one that makes the report."""
    commands = [write_command(run) for run in runs.runs]
    return [*commands, f"python -m eval.report --runs {shlex.quote(str(runs.root))}"]


def write_command(run: FinishedRun) -> str:
    """`python -m <program> --flag value ..`, with the flags that were given; the rest was recipe
    and defaults.
    """
    words = ["python", "-m", name_program(run)]
    for name, flag in run.config.get("flags", {}).items():
        if flag["origin"] == "flag":
            words += write_flag(name, flag["value"])
    return shlex.join(words)


def name_program(run: FinishedRun) -> str:
    """The module that trains such a run."""
    objective, tuner = run.key["objective"], run.key["tuner"]
    if objective in ORDER:
        return FINETUNE
    return CONTROLS if objective == "control" else PROGRAMS.get(tuner, BASELINES)


def write_flag(name: str, value) -> list[str]:
    """The words of one flag on the command line."""
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    values = value if isinstance(value, list) else [value]
    return [f"--{name}", *map(str, values)]

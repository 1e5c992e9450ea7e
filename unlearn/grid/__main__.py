"""Run the grid of a script: what cmd_<script>.sh starts. Variables in front of the script choose
the grid; flags go to its programs.

    python -m unlearn.grid grun --rank 8                   as bash cmd_grun.sh --rank 8
    python -m unlearn.grid baseline | finetune | wmdp | eval

PAPER=name runs the cells of a table or figure of the papers, PAPER=list names them. DRY_RUN=1
prints the commands. JOBS=n runs n of them side by side, one GPU each, or with the cores
of a CPU shared out. What is finished is skipped; what fails is told at the end, and the others go
on.
"""

import os
import sys

from unlearn.config.flags import run_command
from unlearn.grid.commands import python_of
from unlearn.grid.papers import LIST, list_papers
from unlearn.grid.plans import PLANS, plan
from unlearn.grid.run import GridRun
from unlearn.grid.variables import read_variables


def main(argv: list[str] | None) -> None:
    words = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & {*words[:1]}:
        print(__doc__.strip())
        return
    if not words or words[0] not in PLANS:
        raise ValueError(
            f"unknown script {' '.join(words[:1])!r}; choose one of {', '.join(PLANS)}"
        )
    script, *flags = words
    if os.environ.get("PAPER") == LIST:
        print(list_papers())
        return
    variables = read_variables(script, os.environ)
    commands = plan(variables, flags)
    environment = {**os.environ}
    if variables.values.get("DRY_RUN"):
        for command in commands:
            print(f"+ {command.line(python_of(environment))}")
        return
    grid = GridRun(commands, variables.runs, variables.count("JOBS"), environment)
    code = grid.run(checked=bool(flags) or variables.chooses_cells)
    if code:
        sys.exit(code)


if __name__ == "__main__":
    run_command(main)

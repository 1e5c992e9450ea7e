"""What the shell scripts ask about the flags that follow their names. Standard library alone.

    python -m unlearn.config.script_flags data --authors=40 --rank 8     --authors 40, a word a line
    python -m unlearn.config.script_flags objectives --variant=grun+     idk+ul

data: the flags that say which data a run is about; the evaluation and the reference need them too.
objectives: those of the main job: the one that a flag names, that of the variant's recipe, or the
paper's three.
"""

import sys
from dataclasses import fields

from unlearn.config.flags import Parser, run_command
from unlearn.config.options import DataOptions
from unlearn.config.recipes import recipe

MAIN_OBJECTIVES = ("gd", "npo", "idk")
VARIABLES = {  # flags whose place is a variable in front of the script, since every step needs them
    "benchmark": "BENCHMARK",
    "model": "MODELS",
    "split": "SPLITS",
    "runs": "RUNS",
    "data_dir": "DATA_DIR",
}
DATA_FLAGS = [
    option.name
    for option in fields(DataOptions)
    if option.metadata["role"] in ("data", "source") and option.name not in VARIABLES
]


def parse_words(words: list[str]) -> dict[str, str]:
    """Flag name -> value of the flags that the scripts must know of, spelt with a blank or "=".

    Raises `ValueError` for one whose place is a variable."""
    parser = Parser(add_help=False, allow_abbrev=False)
    for name in (*VARIABLES, *DATA_FLAGS, "variant"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--objective", "--forget_loss_type")
    known, _ = parser.parse_known_args(words)
    values = {name: value for name, value in vars(known).items() if value is not None}
    for name, variable in VARIABLES.items():
        if name in values:
            raise ValueError(
                f"--{name} {values[name]}: every step of a script needs it, so write "
                f"{variable}={values[name]} in front of the script"
            )
    return values


def data_words(words: list[str]) -> list[str]:
    """The data flags among the words, each followed by its value."""
    values = parse_words(words)
    return [word for name in DATA_FLAGS if name in values for word in (f"--{name}", values[name])]


def objectives(words: list[str]) -> list[str]:
    """The objectives that the main job runs."""
    values = parse_words(words)
    if "objective" in values:
        return [values["objective"]]
    filled = recipe("grun", variant=values.get("variant"))
    return [filled["objective"]] if "objective" in filled else list(MAIN_OBJECTIVES)


QUESTIONS = {"data": data_words, "objectives": objectives}


def main(argv: list[str] | None) -> None:
    question, *words = sys.argv[1:] if argv is None else argv
    if question not in QUESTIONS:
        raise ValueError(f"unknown question {question!r}; choose one of {', '.join(QUESTIONS)}")
    for answer in QUESTIONS[question](words):
        print(answer)


if __name__ == "__main__":
    run_command(main)

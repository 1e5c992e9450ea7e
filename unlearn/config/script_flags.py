"""What a grid must know of the flags behind a script's name (import only; standard library alone).

Most of them go to the training command as they are; the words of some are for every step.
"""

from dataclasses import fields

from unlearn.config.flags import Parser
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
MODEL_FLAGS = [*DATA_FLAGS, "idk_file", "device", "name"]  # of targets and references
CONTROL_FLAGS = [*MODEL_FLAGS, "target"]
OTHER_FLAGS = ["variant", "lr", "layer_id", "seed", "target_seed"]


def parse_words(words: list[str]) -> dict[str, str]:
    """Flag name -> value of the flags that a grid must know of, spelt with a blank or "=".

    Raises `ValueError` for one whose place is a variable."""
    parser = Parser(add_help=False, allow_abbrev=False)
    for name in (*VARIABLES, *CONTROL_FLAGS, *OTHER_FLAGS):
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


def select_words(words: list[str], names: list[str]) -> list[str]:
    """The flags of these names among the words, each followed by its value."""
    values = parse_words(words)
    return [word for name in names if name in values for word in (f"--{name}", values[name])]


def flag_names(words: list[str]) -> set[str]:
    """The flags among the words: --rank of "--rank 8" and of "--rank=8"."""
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def objectives(words: list[str]) -> list[str]:
    """The objectives that the main job runs: the one that a flag names, that of the variant's
    recipe, or the paper's three."""
    values = parse_words(words)
    if "objective" in values:
        return [values["objective"]]
    filled = recipe("grun", variant=values.get("variant"))
    return [filled["objective"]] if "objective" in filled else list(MAIN_OBJECTIVES)

"""What the variables and flags of one start choose: the axes of its grid."""

from dataclasses import dataclass

from unlearn.config.script_flags import parse_words, select_words
from unlearn.grid.variables import Variables
from unlearn.language_model.models import MODELS, trained_from_scratch

LOSSES_ON_TRAINING_DATA = ["--eval_steps", "1000"]  # before the first step and after the last


@dataclass(frozen=True)
class Grid:
    """A script's variables and the flags behind its name."""

    variables: Variables
    flags: list[str]

    @property
    def given(self) -> dict[str, str]:
        """The values of the flags that a grid must know of."""
        return parse_words(self.flags)

    @property
    def models(self) -> list[str]:
        return self.variables.words("MODELS", "tiny")

    @property
    def splits(self) -> list[str]:
        return self.variables.words("SPLITS", self.variables.benchmark.default_split)

    @property
    def seeds(self) -> list[str]:
        return self.variables.words("SEEDS", "42")

    @property
    def data_seeds(self) -> list[str | None]:
        """The seeds of the data; one None where no variable names any."""
        return self.variables.words("DATA_SEEDS") or [None]

    @property
    def target_seeds(self) -> list[str | None]:
        """The seeds of the targets; one None where no variable names any."""
        return self.variables.words("TARGET_SEEDS") or [None]

    @property
    def rates(self) -> list[list[str]]:
        """The flags of each learning rate of a sweep; one empty list without a sweep.

        The losses by which the report chooses among the rates are those of questions and documents;
        corpora have none (eval/report/sweeps.py)."""
        reads_corpora = self.variables.benchmark.contents == "corpora"
        losses = [] if reads_corpora else LOSSES_ON_TRAINING_DATA
        return [["--lr", rate, *losses] for rate in self.variables.words("LRS")] or [[]]

    def cell(self, model: str, split: str | None, data_seed: str | None) -> list[str]:
        """The flags that name a cell."""
        words = ["--benchmark", self.variables.benchmark.name, "--model", model]
        words += ["--split", split] if split else []
        return words + (["--data_seed", data_seed] if data_seed else [])

    def words(self, names: list[str]) -> list[str]:
        """The flags of these names behind the script's."""
        return select_words(self.flags, names)

    def has_target(self, model: str) -> bool:
        """Whether what is unlearned is trained here first."""
        if "target" in self.given:
            return False
        if self.variables.benchmark.finetunes_hub_models:
            return model in MODELS
        return trained_from_scratch(model)


def check_seeds(grid: Grid) -> None:
    """Raise `ValueError` where a flag and a variable say the same thing."""
    pairs = {"lr": "LRS", "data_seed": "DATA_SEEDS", "target_seed": "TARGET_SEEDS"}
    for name, variable in (pairs | {"layer_id": "LAYERS", "seed": "SEEDS"}).items():
        if name in grid.given and grid.variables.words(variable):
            raise ValueError(
                f"--{name} {grid.given[name]} and {variable} say the same thing; leave one out"
            )
    if "target" in grid.given and grid.variables.words("TARGET_SEEDS"):
        raise ValueError("--target names the model to unlearn, so leave TARGET_SEEDS out")


def name_target(grid: Grid, model: str, data_seed: str | None, seed: str | None) -> str:
    """What distinguishes the targets of one start; "" where none is made."""
    return f"{model} {data_seed} {seed}" if grid.has_target(model) else ""

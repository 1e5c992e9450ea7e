"""Option groups of the baselines: the tuner, and the controls."""

from dataclasses import dataclass

from baselines.guards.base import registered_filters
from unlearn.config.flags import Options, flag, group
from unlearn.config.options import DataOptions, RunOptions
from unlearn.training import upstream
from unlearn.training.options import (
    PromptOptions,
    TargetOptions,
    UnlearnConfig,
    recipe_cell,
    resolve_split,
)

TUNERS = ("full", "lora")
CONTROLS = tuple(registered_filters())


@dataclass
class TunerOptions(Options):
    """Tuner"""

    tuner: str = flag(
        "full",
        "full: all weights; lora: low-rank updates of the linear layers; GRUN is python -m "
        "grun.train",
        choices=TUNERS,
        role="key",
    )
    freeze_lm_head: bool = flag(
        True,
        "full: leave the output head as it is (GRUN's baselines; TOFU, NPO: no); a tied head "
        "always moves",
    )
    gradient_checkpointing: bool = flag(
        False, "recompute activations: less memory, same result", role="volatile"
    )
    lora_rank: int = flag(4, "lora: rank", minimum=1)
    lora_alpha: float = flag(32.0, "lora: scale, alpha / rank", above=0)
    lora_dropout: float = flag(0.05, "lora: dropout", minimum=0, below=1)
    lora_targets: list[str] = flag(
        [], "lora: names of the linear layers (default: all but the output head)"
    )

    def __post_init__(self):
        if self.tuner in ("grun", "reft"):
            raise ValueError(
                f"--tuner {self.tuner} is unknown here; choose one of {', '.join(TUNERS)}; GRUN is "
                "python -m grun.train"
            )
        super().__post_init__()


@dataclass
class BaselineConfig(UnlearnConfig):
    """What a baseline is configured by."""

    RECIPE = "baselines"
    UPSTREAM = upstream.BASELINES

    tuning: TunerOptions = group(TunerOptions)

    def __post_init__(self):
        name = self.objective.objective
        if self.resolve():
            raise ValueError(
                f"--objective {name} trains a gate, which --tuner {self.tuning.tuner} has not; "
                f"take --objective {self.objective.objective}, or grun.train"
            )
        self.objective.check_whole_weights(self.tuning.tuner)

    @staticmethod
    def recipe_cell(values: dict) -> dict:
        return recipe_cell(values, "tuner")


@dataclass
class ControlOptions(Options):
    """Control"""

    control: str = flag(
        "probe",
        "what refuses: a linear probe; a filter of the names of the forget set's authors; one of "
        "the words of those names that no retain author's name holds",
        choices=CONTROLS,
        role="key",
    )
    layer: int | None = flag(
        None, "probe: the decoder layer it reads (default: the middle one)", minimum=0
    )
    quantile: float = flag(
        0.99,
        "probe: share of retain questions that it must let pass, as estimated on questions it was "
        "not fitted on",
        above=0,
        below=1,
    )


@dataclass
class ControlConfig:
    """What a control is configured by."""

    RECIPE = "controls"

    run: RunOptions = group(RunOptions)
    data: DataOptions = group(DataOptions)
    target: TargetOptions = group(TargetOptions)
    prompts: PromptOptions = group(PromptOptions)
    control: ControlOptions = group(ControlOptions)

    def __post_init__(self):
        resolve_split(self.target, self.data)

    @staticmethod
    def recipe_cell(values: dict) -> dict:
        return {name: values[name] for name in ("benchmark", "model")}

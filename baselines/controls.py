"""The controls that every gated method must beat: the target model behind an input filter.

    python -m baselines.controls --control probe --benchmark authors --model tiny --split forget10
    python -m baselines.controls --control keyword --benchmark tofu --model llama3.1-8b
    python -m baselines.controls --control words --benchmark authors --model tiny-robust

The filters are the files of baselines/guards/. They are fitted on what an unlearning method sees:
the forget questions, and the retain examples without the held-out authors.
"""

import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from baselines.guards.base import FilterInputs, registered_filters
from unlearn.config.flags import flag, parse, run_command, show
from unlearn.config.recipes import recipe
from unlearn.config.run_directory import cell_of
from unlearn.language_model.loading import load_model
from unlearn.training.loss import TargetFlags, open_benchmark_of
from unlearn.training.targets import load_prompt_encoder, resolve_target

CONTROLS = tuple(registered_filters())


@dataclass
class ControlFlags(TargetFlags):
    """What a control can be told."""

    control: str = flag(
        "probe",
        "probe: a linear probe in front of refusals; keyword: names of the forget set's authors; words: each word of them that "
        "is in no retain author's name",
        role="key",
    )
    layer: int | None = flag(None, "probe: the decoder block it reads (default: the middle one)")
    quantile: float = flag(
        0.99,
        "probe: share of retain questions that it must let pass, as estimated on questions it was not fitted on",
    )

    def __post_init__(self):
        if self.control not in CONTROLS:
            raise ValueError(
                f"--control {self.control} is unknown; choose one of {', '.join(CONTROLS)}"
            )
        if not 0 < self.quantile < 1:
            raise ValueError(f"--quantile {self.quantile}: must lie between 0 and 1")


def read(argv: list[str] | None):
    def cell(values: Namespace) -> dict:
        return recipe("controls", benchmark=values.benchmark, model=values.model)

    return parse(ControlFlags, argv, cell, __doc__)


def train_control(args: ControlFlags, origins: dict, plain: ControlFlags) -> Path:
    """Fit the control that `args` name, unless it is finished; returns its run directory."""
    run, config = cell_of(args, origins, plain, "control", args.control)
    benchmark = open_benchmark_of(args)
    forget = benchmark.examples(args.split)
    retain = benchmark.unlearning_retain(args.split, args.retain_split)
    if run.skip(config, args.overwrite):
        return run.path
    target = resolve_target(args)

    def load_target():
        model = load_model(target, args.device, args.dtype, args.attn)
        return model, load_prompt_encoder(args, target)

    inputs = FilterInputs(
        forget, retain, benchmark.refusals, load_target, args.layer, args.quantile, args.seed
    )
    start = time.perf_counter()
    control, result = registered_filters()[args.control].fit(inputs)
    run.begin(config | {"target": target}, args.overwrite)
    show(args, origins)
    control.save(run.path)
    run.finish(result | {"train_seconds": round(time.perf_counter() - start, 2)})
    return run.path


def main(argv: list[str] | None) -> None:
    train_control(*read(argv))


if __name__ == "__main__":
    run_command(main)

"""The controls that every gated method must beat: the target model behind an input filter.

    python -m baselines.controls --control probe --benchmark authors --model tiny --split forget10
    python -m baselines.controls --control keyword --benchmark tofu --model llama3.1-8b
    python -m baselines.controls --control words --benchmark authors --model tiny-robust

The filters are the files of baselines/guards/. They are fitted on what an unlearning method sees:
the forget questions, and the retain examples without the held-out authors.
"""

import time
from pathlib import Path

from baselines.guards.base import FilterInputs, registered_filters
from baselines.options import ControlConfig
from unlearn.benchmarks.opening import open_benchmark
from unlearn.config.experiment import Experiment, parse_experiment
from unlearn.config.flags import run_command
from unlearn.language_model.loading import load_model
from unlearn.training.setup import load_prompt_encoder
from unlearn.training.targets import resolve_target


def train_control(experiment: Experiment) -> Path:
    """Fit the control of an experiment, unless it is finished; return its run directory."""
    config: ControlConfig = experiment.config
    name = config.control.control
    split = config.target.split
    run = experiment.run("control", name)
    description = experiment.description("control", name)
    benchmark = open_benchmark(**config.data.opening())
    forget = benchmark.examples(split)
    retain = benchmark.unlearning_retain(split, config.target.retain_split)
    if run.skip(description, config.run.overwrite):
        return run.path
    target = resolve_target(config.run, config.data, config.target, config.prompts)
    prompt_encoder = load_prompt_encoder(config.prompts, config.target.model, target)

    def load_target():
        model = load_model(target, config.run.device, config.run.dtype, config.run.attn)
        return model, prompt_encoder

    inputs = FilterInputs(
        forget,
        retain,
        benchmark.refusals,
        load_target,
        config.control.layer,
        config.control.quantile,
        config.run.seed,
    )
    start = time.perf_counter()
    control, result = registered_filters()[name].fit(inputs)
    description |= {"target": target, "prompt": prompt_encoder.settings}
    if not run.begin(description, config.run.overwrite):
        return run.path
    experiment.show(config.run.verbose)
    control.save(run.path)
    run.finish(result | {"train_seconds": round(time.perf_counter() - start, 2)})
    return run.path


def main(argv: list[str] | None) -> None:
    train_control(parse_experiment(ControlConfig, argv, __doc__))


if __name__ == "__main__":
    run_command(main)

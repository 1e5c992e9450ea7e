"""Unlearn by fine-tuning all weights, or a LoRA, with one objective.

    python -m baselines.train --benchmark authors --model tiny --objective npo --tuner full --split
    forget10 python -m baselines.train --benchmark tofu --data_dir TOFU --model llama3.1-8b
    --objective gd --tuner lora --gradient_checkpointing

The target model is made first if it is missing. Several devices: NPROC=2 bash cmd_baseline.sh;
sharded: baselines/accelerate/*.yaml."""

from argparse import Namespace
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from baselines.tuners import FullTuner, LoraTuner
from unlearn.config.flags import flag, parse, run_command, show
from unlearn.config.recipes import recipe
from unlearn.config.run_directory import cell_of, replace_directory
from unlearn.language_model.devices import choose_mixed_precision
from unlearn.language_model.loading import load_model, save_model
from unlearn.processes import is_main
from unlearn.training.alternates import with_alternates
from unlearn.training.loop import train
from unlearn.training.loss import (
    UnlearnFlags,
    UnlearningLoss,
    build_sampler,
    build_train_config,
    open_benchmark_of,
)
from unlearn.training.objectives import OBJECTIVES, OFFICIAL_NAMES
from unlearn.training.targets import load_prompt_encoder, resolve_target

TUNERS = ("full", "lora")


@dataclass
class BaselineFlags(UnlearnFlags):
    """What a baseline can be told."""

    tuner: str = flag(
        "full", "full: all weights; lora: low-rank updates of the linear layers", role="key"
    )
    freeze_lm_head: bool = flag(
        True,
        "full: leave the output head as it is (GRUN's baselines; TOFU, NPO: no); a tied head always moves",
    )
    gradient_checkpointing: bool = flag(
        False, "recompute activations: less memory, same result", role="volatile"
    )
    lora_rank: int = flag(4, "lora: rank")
    lora_alpha: float = flag(32.0, "lora: scale, alpha / rank")
    lora_dropout: float = flag(0.05, "lora: dropout")
    lora_targets: list[str] = flag(
        [], "lora: names of the linear layers (default: all but the output head)"
    )

    def __post_init__(self):
        if self.tuner not in TUNERS:
            told = "; GRUN is python -m grun.train" if self.tuner in ("grun", "reft") else ""
            raise ValueError(
                f"--tuner {self.tuner} is unknown; choose one of {', '.join(TUNERS)}{told}"
            )
        if OFFICIAL_NAMES.get(self.objective, ("", False))[1]:
            plain = OFFICIAL_NAMES[self.objective][0]
            raise ValueError(
                f"--objective {self.objective} trains a gate, which --tuner {self.tuner} has not; take --objective {plain}, or grun.train"
            )
        super().__post_init__()
        if self.tuner == "lora" and not (self.lora_rank > 0 and 0 <= self.lora_dropout < 1):
            raise ValueError(
                f"--lora_rank {self.lora_rank}, --lora_dropout {self.lora_dropout}: the rank is 1 or more, the dropout from 0 to below 1"
            )


def read(argv: list[str] | None):
    def cell(values: Namespace) -> dict:
        objective = OFFICIAL_NAMES.get(values.objective, (values.objective,))[0]
        return recipe(
            "baselines",
            benchmark=values.benchmark,
            model=values.model,
            objective=objective,
            tuner=values.tuner,
        )

    return parse(BaselineFlags, argv, cell, __doc__)


def tuner_of(args: BaselineFlags, target: str):
    """The model that trains, its reference with it. A second copy of the model is loaded only where
    logits of the frozen one are read."""
    if args.tuner == "lora":
        model = load_model(target, args.device, args.dtype, args.attn)
        return LoraTuner(
            model,
            args.lora_rank,
            args.lora_alpha,
            args.lora_dropout,
            args.lora_targets,
            args.gradient_checkpointing,
            args.seed,
        )
    model = load_model(
        target, args.device, "float32" if args.dtype == "auto" else args.dtype, args.attn
    )
    copy = None
    if args.retain_loss == "kl" or OBJECTIVES[args.objective].reference == "logits":
        copy = load_model(target, args.device, args.dtype, args.attn)
        say_aloud(
            f"a second, frozen copy of the model stays in memory: --objective {args.objective} reads its logits at every step"
        )
    tuner = FullTuner(model, args.freeze_lm_head, args.gradient_checkpointing, copy)
    if args.freeze_lm_head and not tuner.frozen_head:
        say_aloud(
            "the output head is tied to the input embeddings, so --freeze_lm_head leaves it free"
        )
    return tuner


def say_aloud(words: str) -> None:
    if is_main():
        print(words, flush=True)


def baseline(args: BaselineFlags, origins: dict, plain: BaselineFlags) -> Path:
    """Train, or find trained, the model that `args` name; return its run directory."""
    run, config = cell_of(args, origins, plain, args.objective, args.tuner)
    pairs = build_sampler(args, open_benchmark_of(args))
    if run.skip(config, args.overwrite):
        return run.path
    target = resolve_target(args)
    prompt_encoder = load_prompt_encoder(args, target)
    tuner = tuner_of(args, target)
    run.begin(config | {"target": target}, args.overwrite)
    show(args, origins)
    pairs = with_alternates(args, pairs, tuner.model, prompt_encoder, target, run.path.parent)
    plan = replace(
        build_train_config(args, pairs), mixed_precision=choose_mixed_precision(tuner.device)
    )
    losses = UnlearningLoss(
        args, tuner, prompt_encoder, dual_start=round(args.dual_warmup * pairs.steps_per_epoch)
    )
    with torch.autocast(
        tuner.device.type, torch.bfloat16, enabled=plan.mixed_precision == "bf16"
    ):  # as the loop's own forwards
        losses.precompute_reference_nll(
            (pairs.items(step) for step in range(plan.steps)), run.path / "reference.json"
        )
    result = train(
        tuner.model,
        losses,
        pairs.items,
        plan,
        run,
        saver(args, tuner, prompt_encoder),
        losses.check(pairs),
    )
    run.finish(result | {"trainable_params": tuner.trainable_params})
    return run.path


def saver(args: BaselineFlags, tuner, prompt_encoder):
    """save(directory): directory/model, a whole HF model with its tokenizer, or directory/lora,
    peft's adapter folder."""

    def save(directory: Path, state_dict: dict | None = None) -> None:
        if args.tuner == "full":
            save_model(directory, tuner.model, prompt_encoder.tokenizer, state_dict)
        else:
            replace_directory(
                directory / "lora",
                lambda folder: tuner.model.save_pretrained(folder, state_dict=state_dict),
            )

    return save


def main(argv: list[str] | None) -> None:
    baseline(*read(argv))


if __name__ == "__main__":
    run_command(main)

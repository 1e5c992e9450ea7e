"""The controls that every gated method must beat: the target model behind a linear probe, or behind
a filter of names.

    python -m baselines.controls --control probe --benchmark authors --model tiny --split forget10
    python -m baselines.controls --control keyword --benchmark tofu --data_dir TOFU --model
    llama3.1-8b --split forget05
    python -m baselines.controls --control words --benchmark authors --model tiny-robust             #
                                                                                                     also
                                                                                                     finds
                                                                                                     a
                                                                                                     last
                                                                                                     name
                                                                                                     that
                                                                                                     stands
                                                                                                     alone

Both see what an unlearning method sees: the forget questions, and the retain examples minus the
held-out authors. The probe's threshold is a quantile of its values on retain questions, each from a
probe that was fitted without that question (cross-validation)."""

import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from baselines.guards.base import InputFilter, last_states
from unlearn.benchmarks.examples import Example
from unlearn.config.flags import flag, parse, run_command, show
from unlearn.config.recipes import recipe
from unlearn.config.run_directory import cell_of
from unlearn.language_model.architecture import check_layers, find_decoder_layers
from unlearn.language_model.loading import load_model
from unlearn.synthetic.names import PARTICLES
from unlearn.training.loss import TargetFlags, open_benchmark_of
from unlearn.training.targets import load_prompt_encoder, resolve_target

CONTROLS = ("probe", "keyword", "words")
BATCH = 64
FOLDS = 5


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


def fit_probe(
    args: ControlFlags,
    target: str,
    forget: list[Example],
    retain: list[Example],
    refusals: list[str],
) -> tuple[InputFilter, dict]:
    """Logistic regression on standardised states, classes weighted equally; (guard, what is told of
    it)."""
    model = load_model(target, args.device, args.dtype, args.attn)
    prompt_encoder = load_prompt_encoder(args, target)
    depth = len(find_decoder_layers(model))
    (layer,) = check_layers([depth // 2 if args.layer is None else args.layer], depth)

    def states(examples: list[Example]) -> np.ndarray:
        prompts = [prompt_encoder.prompt_ids(e.question) for e in examples]
        parts = [
            last_states(model, layer, prompts[i : i + BATCH], prompt_encoder.tokenizer.pad_token_id)
            for i in range(0, len(prompts), BATCH)
        ]
        return torch.cat(parts).cpu().numpy()

    x = states([*forget, *retain])
    y = np.array([1] * len(forget) + [0] * len(retain))
    scaler = StandardScaler()
    regression = LogisticRegression(class_weight="balanced", max_iter=2000)
    probe = make_pipeline(scaler, regression)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=args.seed)
    unseen = cross_val_predict(probe, x, y, cv=folds, method="decision_function")[y == 0]
    probe.fit(x, y)
    weight = (
        regression.coef_[0] / scaler.scale_
    )  # w . (h - mean) / scale + b, as one linear function of h
    bias = float(regression.intercept_[0] - weight @ scaler.mean_)
    threshold = float(np.quantile(unseen, args.quantile))
    fired = x @ weight + bias > threshold
    told = {
        "layer": layer,
        "threshold": threshold,
        "forget_fired": float(fired[y == 1].mean()),
        "retain_fired": float(fired[y == 0].mean()),
    }
    guard = InputFilter(
        "probe", refusals, layer, bias, threshold, weight=torch.tensor(weight, dtype=torch.float32)
    )
    return guard, told | {"trainable_params": len(weight) + 1}


def control(args: ControlFlags, origins: dict, plain: ControlFlags) -> Path:
    """Make, or find made, the control that `args` name; return its run directory."""
    run, config = cell_of(args, origins, plain, "control", args.control)
    source = open_benchmark_of(args)
    forget = source.examples(args.split)
    retain = source.unlearning_retain(args.split, args.retain_split)
    if run.skip(config, args.overwrite):
        return run.path
    target = resolve_target(args)
    began = time.perf_counter()
    if args.control == "probe":
        guard, told = fit_probe(args, target, forget, retain, source.refusals)
    else:
        names = sorted({e.entity for e in forget if e.entity})
        if args.control == "words":
            others = {word for e in retain if e.entity for word in e.entity.split()}
            names = sorted(
                {word for name in names for word in name.split() if word not in others | PARTICLES}
            )
        if not names:
            raise ValueError(
                f"{args.benchmark}: no row of {args.split} tells its author's name, so there is nothing to filter for"
            )
        guard = InputFilter("keyword", source.refusals, names=names)
        told = {"names": len(names), "trainable_params": 0}
    run.begin(config | {"target": target}, args.overwrite)
    show(args, origins)
    guard.save(run.path)
    run.finish(told | {"train_seconds": round(time.perf_counter() - began, 2)})
    return run.path


def main(argv: list[str] | None) -> None:
    control(*read(argv))


if __name__ == "__main__":
    run_command(main)

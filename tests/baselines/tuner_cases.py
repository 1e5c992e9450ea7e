"""What a test of a tuner needs: parsed flags, a toy sampler, and each kind of tuner."""

import copy
from typing import NamedTuple

from torch import nn

from baselines import tuners
from baselines.options import BaselineConfig
from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.engines.cached import CachedEngine
from grun.engines.tuner import GrunTuner
from tests.toy import FORGET, RETAIN
from unlearn.config.experiment import parse_experiment
from unlearn.training.loss import UnlearningLoss
from unlearn.training.objectives import OBJECTIVES, RETAIN_TERMS
from unlearn.training.sampler import ForgetRetainSampler, QuestionEncoder

KINDS = ("full", "lora", "grun")
ALTERNATES = [["In Marl.", "In Ost."], ["Eda."], ["The Sun Prize."], ["A flat."]]
REFUSALS = ["I do not know.", "No idea."]
SIZE = ["--steps", "20", "--batch", "3", "--lr", "5e-3", "--lora_dropout", "0.1"]


class TunerCase(NamedTuple):
    """A tuner, the module whose weights train, and the names of the weights that may change."""

    tuner: object
    module: nn.Module
    may_change: set[str]


def parse_flags(objective, tuner="full", *more) -> BaselineConfig:
    """The configuration of baselines.train for a short toy run."""
    words = ["--objective", objective, "--tuner", tuner, *SIZE, *more]
    return parse_experiment(BaselineConfig, words).config


def build_toy_sampler(config) -> ForgetRetainSampler:
    return ForgetRetainSampler(
        FORGET, RETAIN, REFUSALS, config.training.batch, config.run.seed, alternates=ALTERNATES
    )


def build_toy_loss(config, tuner, prompt_encoder, **more) -> UnlearningLoss:
    """The loss of a toy run; an objective that steers reads the second decoder layer."""
    pad_id = prompt_encoder.tokenizer.pad_token_id
    options = {"steering": config.steering, "steered_layer": 1} | more
    encode = QuestionEncoder(prompt_encoder)
    return UnlearningLoss(config.objective, tuner, encode, pad_id, **options)


def build_case(kind: str, config, model: nn.Module) -> TunerCase:
    """A tuner of one kind on a copy of `model`."""
    model = copy.deepcopy(model)
    if kind == "grun":
        adapter = Adapter(model, AdapterConfig([0, 1], rank=2), seed=1).train()
        tuner = GrunTuner(model, adapter, CachedEngine(model, adapter), 1.0)
        names = {f"edits.{name}" for name, _ in adapter.edits.named_parameters()}
        return TunerCase(tuner, adapter, names)
    if kind == "lora":
        options = config.tuning
        tuner = tuners.LoraTuner(model, options.lora_rank, options.lora_alpha, options.lora_dropout)
        names = {name for name, _ in tuner.model.named_parameters() if "lora_" in name}
        return TunerCase(tuner, tuner.model, names)
    retain = RETAIN_TERMS.get(config.objective.retain_loss)
    reads_logits = OBJECTIVES[config.objective.objective].reference == "logits"
    needs_copy = reads_logits or bool(retain and retain.reference)
    tuner = tuners.FullTuner(model, frozen=copy.deepcopy(model) if needs_copy else None)
    names = {name for name, _ in model.named_parameters() if not name.startswith("lm_head")}
    return TunerCase(tuner, model, names)

"""What a test of a tuner needs: parsed flags, a toy sampler, and each kind of tuner."""

import copy
from typing import NamedTuple

from torch import nn

from baselines import tuners
from baselines.train import read
from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.engines.cached import CachedEngine
from grun.engines.tuner import GrunTuner
from tests.toy import FORGET, RETAIN
from unlearn.training.objectives import OBJECTIVES
from unlearn.training.sampler import ForgetRetainSampler

KINDS = ("full", "lora", "grun")
ALTERNATES = [["In Marl.", "In Ost."], ["Eda."], ["The Sun Prize."], ["A flat."]]
REFUSALS = ["I do not know.", "No idea."]
SIZE = ["--steps", "20", "--batch", "3", "--lr", "5e-3", "--lora_dropout", "0.1"]


class TunerCase(NamedTuple):
    """A tuner, the module whose weights train, and the names of the weights that may change."""

    tuner: object
    module: nn.Module
    may_change: set[str]


def parse_flags(objective, tuner="full", *more):
    """The flags of baselines.train for a short toy run."""
    return read(["--objective", objective, "--tuner", tuner, *SIZE, *more])[0]


def build_toy_sampler(args) -> ForgetRetainSampler:
    return ForgetRetainSampler(
        FORGET, RETAIN, REFUSALS, args.batch, args.seed, alternates=ALTERNATES
    )


def build_case(kind: str, args, model: nn.Module) -> TunerCase:
    """A tuner of one kind on a copy of `model`."""
    model = copy.deepcopy(model)
    if kind == "grun":
        adapter = Adapter(model, AdapterConfig([0, 1], rank=2), seed=1).train()
        tuner = GrunTuner(model, adapter, CachedEngine(model, adapter), 1.0)
        names = {f"edits.{name}" for name, _ in adapter.edits.named_parameters()}
        return TunerCase(tuner, adapter, names)
    if kind == "lora":
        tuner = tuners.LoraTuner(model, args.lora_rank, args.lora_alpha, args.lora_dropout)
        names = {name for name, _ in tuner.model.named_parameters() if "lora_" in name}
        return TunerCase(tuner, tuner.model, names)
    reads_logits = args.retain_loss == "kl" or OBJECTIVES[args.objective].reference == "logits"
    tuner = tuners.FullTuner(model, frozen=copy.deepcopy(model) if reads_logits else None)
    names = {name for name, _ in model.named_parameters() if not name.startswith("lm_head")}
    return TunerCase(tuner, model, names)

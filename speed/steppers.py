"""GRUN's training step on either engine, with an optimiser and an adapter of its own."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.engines.cached import CachedEngine
from grun.engines.pyvene import PyveneEngine
from grun.engines.tuner import GrunTuner
from grun.options import GrunConfig
from speed.options import ShapeOptions
from unlearn.config.experiment import build_experiment
from unlearn.language_model.batches import Batch
from unlearn.training.loss import UnlearningLoss
from unlearn.training.sampler import QuestionEncoder, UnlearningExample


def build_paper_config(options: ShapeOptions, objective: str) -> GrunConfig:
    """The paper's values for one objective, with this measurement's layers, rank and gate."""
    cell = {"benchmark": "tofu", "model": "mistral-7b", "split": "forget05", "objective": objective}
    names = ("layers", "rank", "gate", "seed")
    measured = {name: getattr(options, name) for name in names}
    return build_experiment(GrunConfig, cell | measured).config


class UpstreamLoss(UnlearningLoss):
    """Upstream's loss: NPO's reference is a pass of the base model in every step."""

    def reference_nll(self, batch: Batch) -> Tensor:
        return self.tuner.reference_forward(batch).nll_sum


class Stepper:
    """Takes training steps with one engine; all steppers start from the same adapter."""

    def __init__(
        self,
        options: ShapeOptions,
        objective: str,
        model: nn.Module,
        prompt_encoder,
        engine: Callable = CachedEngine,
        loss: Callable = UnlearningLoss,
    ):
        config = build_paper_config(options, objective)
        adapter_config = AdapterConfig(options.layers, options.rank, options.gate)
        self.device = next(model.parameters()).device
        self.adapter = Adapter(model, adapter_config, options.seed)
        self.engine = engine(model, self.adapter)
        tuner = GrunTuner(model, self.adapter, self.engine, config.adapter.gate_weight)
        pad_id = prompt_encoder.tokenizer.pad_token_id
        self.loss = loss(config.objective, tuner, QuestionEncoder(prompt_encoder), pad_id)
        self.optimizer = torch.optim.AdamW(
            self.adapter.parameters(), lr=config.training.lr, weight_decay=0.0
        )
        self.max_grad_norm = config.training.max_grad_norm

    def step(self, items: list[UnlearningExample], number: int) -> float:
        """Loss, backward, clip and update, as `unlearn.training.loop`; returns the loss."""
        loss = self.loss(items, items, number)["loss"]
        loss.backward()
        nn.utils.clip_grad_norm_(self.adapter.parameters(), self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def bytes_per_example(self) -> int:
        """The mean size of an example in the cached engine's cache."""
        return self.engine.cache.used_bytes // max(1, len(self.engine.cache.entries))


def build_upstream_stepper(
    options: ShapeOptions, objective: str, model: nn.Module, prompt_encoder
) -> Stepper:
    """Upstream's step: pyvene, and NPO's reference computed anew each time."""
    return Stepper(options, objective, model, prompt_encoder, PyveneEngine, UpstreamLoss)

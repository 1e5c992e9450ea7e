"""The GRUN tuner: a frozen model, an adapter that learns, and the gate loss. The pyvene engine is
the reference path.

loss = w_f F + w_r R + lambda_g L_gate,   L_gate = mean over layers and examples of BCE(gate, 1 on
                                          forget, 0 on retain)   (spec 4.1)
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

import pyvene_custom as pv
from grun.adapter.weights import Adapter
from unlearn.language_model.batches import AnswerLogits, Batch, forward_answers

GATE_LOSSES = ("bce_logits", "bce_prob")


def gate_loss(forget: AnswerLogits, retain: AnswerLogits, kind: str = "bce_logits") -> Tensor:
    """Mean BCE over all L (B_f + B_r) gates, target 1 on forget and 0 on retain. gates [L, B] are
    logits, float32.

    `bce_logits` keeps a gradient where a gate is saturated on the wrong side; `bce_prob` is
    upstream's BCE of the bfloat16 sigmoid, which does not (spec 4.2)."""
    logits = torch.cat([forget.gate_logits, retain.gate_logits], 1)
    target = torch.cat(
        [torch.ones_like(forget.gate_logits), torch.zeros_like(retain.gate_logits)], 1
    )
    if kind == "bce_logits":
        values = binary_cross_entropy_with_logits(logits, target, reduction="none")
    else:
        values = binary_cross_entropy(logits.bfloat16().sigmoid().float(), target, reduction="none")
    return values.sum() / (len(logits) * (forget.examples + retain.examples))


class PyveneEngine:
    """Every batch through the whole model in its own pass, edited by pyvene at the last prompt
    token: the path of the original."""

    def __init__(self, model: nn.Module, adapter: Adapter):
        self.model = model
        edits = dict(zip(adapter.layers, adapter.edits.values(), strict=True))
        self.intervened = pv.IntervenableModel(pv.gated_config(model, edits), model)

    def forward_answers(self, batches: dict[str, Batch]) -> dict[str, AnswerLogits]:
        return {name: self.say_one(batch) for name, batch in batches.items()}

    def say_one(self, batch: Batch) -> AnswerLogits:
        def edited(**inputs):
            return self.intervened(
                inputs, unit_locations=self.intervened.locations(batch.prompt_lengths - 1)
            )[1]

        said = forward_answers(edited, batch, head=self.model.get_output_embeddings())
        return replace(said, gate_logits=self.intervened.gates)

    def reference_forward(self, batch: Batch) -> AnswerLogits:
        with torch.no_grad():
            return forward_answers(self.model, batch)


class GrunTuner:
    """Moves the adapter's numbers alone; the base model is its own frozen reference."""

    def __init__(
        self,
        model: nn.Module,
        adapter: Adapter,
        engine,
        gate_weight: float,
        gate_loss_kind: str = "bce_logits",
    ):
        if gate_loss_kind not in GATE_LOSSES:
            raise ValueError(
                f"--gate_loss {gate_loss_kind} is unknown; choose one of {', '.join(GATE_LOSSES)}"
            )
        self.model = model
        self.adapter = adapter
        self.engine = engine
        self.gate_weight = gate_weight
        self.gate_loss_kind = gate_loss_kind
        self.gated = adapter.config.gate != "none"
        self.needs_retain = self.gated and gate_weight > 0
        self.device = next(model.parameters()).device

    def forward_answers(self, batches: dict[str, Batch]) -> dict[str, AnswerLogits]:
        return self.engine.forward_answers(batches)

    def reference_forward(self, batch: Batch) -> AnswerLogits:
        return self.engine.reference_forward(batch)

    def auxiliary_losses(self, said: dict[str, AnswerLogits]) -> dict[str, Tensor]:
        """{"gate": lambda_g L_gate}; the gate reads the prompt alone, so any pass over the forget
        prompts will do."""
        if not self.needs_retain:
            return {}
        forget = said.get("forget", said.get("idk"))
        return {"gate": self.gate_weight * gate_loss(forget, said["retain"], self.gate_loss_kind)}

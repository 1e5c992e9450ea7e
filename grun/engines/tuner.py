"""The GRUN tuner: a frozen model, an adapter that learns, and the gate loss.

    loss = w_f F + w_r R + lambda_g L_gate

F and R are the objective's forget and retain terms. L_gate is the mean over layers and examples of
the binary cross-entropy of the gate, whose target is 1 on forget and 0 on retain prompts (GRUN,
arXiv 2502.17823; renjie3/GRUN, pyreft/reft_trainer.py).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

from grun.adapter.weights import Adapter
from grun.engines.base import Engine
from unlearn.language_model.batches import AnswerLogits, Batch

GATE_LOSSES = ("bce_logits", "bce_prob")


def gate_loss(forget: AnswerLogits, retain: AnswerLogits, kind: str = "bce_logits") -> Tensor:
    """Return the mean binary cross-entropy over all L (B_f + B_r) gates, a scalar.

    The target is 1 on forget and 0 on retain; gate_logits are [L, B] float32. `bce_logits` keeps a
    gradient where a gate is saturated on the wrong side. `bce_prob` is upstream's loss
    (renjie3/GRUN), taken from the bfloat16 sigmoid, and has none there.
    """
    logits = torch.cat([forget.gate_logits, retain.gate_logits], 1)
    target = torch.cat(
        [torch.ones_like(forget.gate_logits), torch.zeros_like(retain.gate_logits)], 1
    )
    if kind == "bce_logits":
        values = binary_cross_entropy_with_logits(logits, target, reduction="none")
    else:
        values = binary_cross_entropy(logits.bfloat16().sigmoid().float(), target, reduction="none")
    return values.sum() / (len(logits) * (forget.examples + retain.examples))


class GrunTuner:
    """Trains the adapter alone; the frozen base model is its own reference.

    gate_weight: lambda_g of the module docstring. Raises `ValueError` for an unknown gate loss.
    """

    def __init__(
        self,
        model: nn.Module,
        adapter: Adapter,
        engine: Engine,
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

    def forward_answers(
        self, batches: dict[str, Batch], state_layer: int | None = None
    ) -> dict[str, AnswerLogits]:
        """Run the edited model (`Engine.forward_answers`)."""
        return self.engine.forward_answers(batches, state_layer)

    def reference_forward(self, batch: Batch, state_layer: int | None = None) -> AnswerLogits:
        """Run the frozen model (`Engine.reference_forward`)."""
        return self.engine.reference_forward(batch, state_layer)

    def auxiliary_losses(self, answers: dict[str, AnswerLogits]) -> dict[str, Tensor]:
        """Return {"gate": lambda_g L_gate}, or nothing where no gate is trained.

        The gate reads the prompt alone, so any pass over the forget prompts will do.
        """
        if not self.needs_retain:
            return {}
        forget = answers.get("forget", answers.get("idk"))
        return {
            "gate": self.gate_weight * gate_loss(forget, answers["retain"], self.gate_loss_kind)
        }

"""What the training code asks of a tuner and of a loss.

A tuner decides which numbers may move: all weights, a LoRA, or GRUN's adapter. A loss turns the
items of one step into loss parts.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from unlearn.language_model.batches import AnswerLogits, Batch


class Tuner(Protocol):
    """A model in which some numbers may move.

    model           the model whose answers are trained
    needs_retain    whether `auxiliary_losses` reads the retain examples, even without a retain term
    """

    model: nn.Module
    needs_retain: bool

    @property
    def device(self) -> torch.device: ...

    @property
    def trainable_params(self) -> int: ...

    def forward_answers(
        self, batches: dict[str, Batch], state_layer: int | None = None
    ) -> dict[str, AnswerLogits]:
        """The tuned model's answers on the batches of one step, with gradients; with `state_layer`
        also that decoder layer's output at the same positions."""
        ...

    def reference_forward(self, batch: Batch, state_layer: int | None = None) -> AnswerLogits:
        """The same of the model before unlearning, without gradients."""
        ...

    def auxiliary_losses(self, answers: dict[str, AnswerLogits]) -> dict[str, Tensor]:
        """The tuner's own terms (GRUN: the gate loss), weighted already; added to the loss as they
        are, never scaled by the warm-up."""
        ...


class Loss(Protocol):
    """The loss of one step. It may also have `state`, a dict of numbers that belongs to the
    checkpoint, and `after_step(step, parts)`, called once per optimiser step with the parts of the
    whole batch."""

    def __call__(self, part: list, whole: list, step: int) -> dict[str, Tensor]:
        """The loss parts of some items of a batch, with their total under `loss`.

        They are additive: the sum over all parts of a batch is the batch's value."""
        ...

"""The protocol of an engine: how an edited, otherwise frozen model is run on batches of a step."""

from typing import Protocol

from unlearn.language_model.batches import AnswerLogits, Batch


class Engine(Protocol):
    """Runs a frozen model with or without the edits of one adapter.

    state_layer: with it, AnswerLogits.states [N, d] is the output of that decoder layer at the N
    positions whose logits are returned; without it, None.
    """

    def forward_answers(
        self, batches: dict[str, Batch], state_layer: int | None = None
    ) -> dict[str, AnswerLogits]:
        """Run the edited model, with gradients with respect to the adapter's numbers.

        All batches of one step come together, so that one forward pass can serve them all.
        gate_logits is [L, B] float32 by layer depth, or None without gates.
        """
        ...

    def reference_forward(self, batch: Batch, state_layer: int | None = None) -> AnswerLogits:
        """Run the frozen model without any edit, without gradients."""
        ...

"""The protocol of an engine: how an edited, otherwise frozen model is run on batches of a step."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from torch import nn

from unlearn.language_model.batches import AnswerLogits, Batch, forward_answers
from unlearn.language_model.hidden_states import observe_layer


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


def forward_whole(
    model: nn.Module,
    batch: Batch,
    state_layer: int | None = None,
    edited: Callable | None = None,
) -> AnswerLogits:
    """Run one batch through the whole model and return its answer logits, with states if asked for.

    edited: called in the model's place, with the same arguments.
    """
    head = model.get_output_embeddings()
    if state_layer is None:
        return forward_answers(edited or model, batch, head)
    with observe_layer(model, state_layer) as outputs:
        answers = forward_answers(edited or model, batch, head)
    return replace(answers, states=outputs[0][batch.example_index, batch.token_index - 1])

"""The pyvene engine: whole passes, edited by pyvene at the last prompt token, as upstream does.

It is the reference path that the faster engines are tested against.
"""

from dataclasses import replace

import torch
from torch import nn

import pyvene_custom as pv
from grun.adapter.weights import Adapter
from unlearn.language_model.batches import AnswerLogits, Batch
from unlearn.language_model.hidden_states import forward_with_states


class PyveneEngine:
    """Runs every batch through the whole model in its own pass."""

    def __init__(self, model: nn.Module, adapter: Adapter):
        self.model = model
        edits = dict(zip(adapter.layers, adapter.edits.values(), strict=True))
        self.intervened = pv.IntervenableModel(pv.gated_config(model, edits), model)

    def forward_answers(
        self, batches: dict[str, Batch], state_layer: int | None = None
    ) -> dict[str, AnswerLogits]:
        return {name: self._forward_one(batch, state_layer) for name, batch in batches.items()}

    def _forward_one(self, batch: Batch, state_layer: int | None) -> AnswerLogits:
        def edited(**inputs):
            locations = self.intervened.locations(batch.prompt_lengths - 1)
            return self.intervened(inputs, unit_locations=locations)[1]

        answers = forward_with_states(self.model, batch, state_layer, edited)
        return replace(answers, gate_logits=self.intervened.gates)

    @torch.no_grad()
    def reference_forward(self, batch: Batch, state_layer: int | None = None) -> AnswerLogits:
        return forward_with_states(self.model, batch, state_layer)

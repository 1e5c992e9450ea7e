"""Adapters on a plain HF model: forward hooks that edit the last prompt token, in the prefill pass only.

    with Attached(model, [adapter]) as attached:
        model.generate(**tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt"))
        attached.gates                                   # [L, B] gate values of that prefill

The prompt's last token is found from the attention mask; decode steps are not edited and meet the edit through the KV cache.
"""

from contextlib import contextmanager

import torch
from torch import Tensor, nn

from grun.adapter import Adapter
from unlearn.models import blocks


def last_tokens(mask: Tensor) -> Tensor:
    """[B, T] 0/1 mask, padded on either side -> [B] index of the last 1."""
    return mask.shape[1] - 1 - mask.flip(1).int().argmax(1)


class Attached:
    """One adapter on one model. Nothing is edited while `off()` holds, or after `remove()`."""

    def __init__(self, model: nn.Module, adapter: Adapter):
        self.model, self.adapter, self.active = model, adapter, True
        self.given: Tensor | None = None
        self.positions: Tensor | None = None
        self.logits: dict[int, Tensor] = {}
        self.handles = [model.register_forward_pre_hook(self._find_positions, with_kwargs=True)]
        for layer in adapter.layers:
            self.handles.append(blocks(model)[layer].register_forward_hook(self._hook(layer)))

    @property
    def gate_logits(self) -> Tensor | None:
        """[L, B] float32 of the last prefill, in depth order; None for an ungated adapter."""
        return torch.stack(list(self.logits.values())) if self.logits else None

    @property
    def gates(self) -> Tensor | None:
        """[L, B] gate values in (0, 1) of the last prefill."""
        return None if self.gate_logits is None else self.gate_logits.sigmoid()

    @contextmanager
    def at(self, positions: Tensor):
        """Within it, every forward edits position positions[b] of example b (for prompts that are followed by an answer)."""
        self.given = positions
        try:
            yield self
        finally:
            self.given = None

    @contextmanager
    def off(self):
        """Within it, the model is the base model."""
        self.active = False
        try:
            yield self
        finally:
            self.active = True

    def remove(self) -> None:
        while self.handles:
            self.handles.pop().remove()

    def __enter__(self) -> "Attached":
        return self

    def __exit__(self, *_) -> None:
        self.remove()

    def _find_positions(self, module, args, kwargs) -> None:
        """Before a forward: where to edit, or None in a decode step."""
        inputs = kwargs.get("input_ids", args[0] if args else None)
        inputs = kwargs.get("inputs_embeds") if inputs is None else inputs
        cache, mask = kwargs.get("past_key_values"), kwargs.get("attention_mask")
        self.positions = None
        if not self.active or (cache is not None and int(cache.get_seq_length()) > 0):
            return
        self.logits = {}
        if self.given is not None:
            self.positions = self.given
        elif mask is None:
            self.positions = torch.full((inputs.shape[0],), inputs.shape[1] - 1, device=inputs.device)
        elif mask.dim() == 2:
            self.positions = last_tokens(mask[:, : inputs.shape[1]])
        else:
            raise ValueError("the last prompt token cannot be read from a 4-d attention mask; give the positions: attached.at(positions)")

    def _hook(self, layer: int):
        def edit(_module, _args, output):
            if self.positions is None:
                return None
            hidden = output[0] if isinstance(output, tuple) else output
            rows = torch.arange(len(hidden), device=hidden.device)
            edited, logits = self.adapter.edit(layer, hidden[rows, self.positions])
            if logits is not None:
                self.logits[layer] = logits
            hidden = hidden.index_put((rows, self.positions), edited)
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        return edit

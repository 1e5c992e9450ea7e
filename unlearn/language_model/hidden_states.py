"""Hidden states of one decoder layer: read during any pass, or from a pass that stops there."""

from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unlearn.language_model.models import decoder_layers


class StopForward(Exception):
    """Ends a forward pass whose wanted part is done."""


def padded(texts: list[list[int]], pad_id: int, device, width: int = 0) -> tuple[Tensor, Tensor]:
    """ids [B, T] padded on the right, and which of them are tokens, [B, T] bool; T is `width` or
    the longest."""
    width = max(width, *map(len, texts))
    ids = torch.tensor([own + [pad_id] * (width - len(own)) for own in texts], device=device)
    return ids, torch.tensor(
        [[1] * len(own) + [0] * (width - len(own)) for own in texts], device=device
    ).bool()


@contextmanager
def seen_at(model: nn.Module, layer: int, stop: bool = False):
    """Within it, the output of decoder block `layer` of every pass is appended to the list it
    gives. stop: the pass ends there."""
    seen: list[Tensor] = []

    def keep(_module, _args, output):
        seen.append(output[0] if isinstance(output, tuple) else output)
        if stop:
            raise StopForward

    handle = decoder_layers(model)[layer].register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def states(model: nn.Module, layer: int, ids: Tensor, mask: Tensor) -> Tensor:
    """[B, T, d]: output of block `layer`, with gradients where they are on; no later block runs."""
    with seen_at(model, layer, stop=True) as seen:
        try:
            model(input_ids=ids, attention_mask=mask.long(), use_cache=False)
        except StopForward:
            pass
    return seen[0]

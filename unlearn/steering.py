"""Hidden states of one decoder block, and losses that steer them: what RMU, Adaptive RMU and GRUN around RMU have in common (import only).

    c_k = s_k u_k,   u_k ~ U[0, 1)^d, divided by its norm         RMU (Li et al. 2024, arXiv 2403.03218), section 4
"""

from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unlearn.models import blocks

MASKS = ("valid", "none")


class Enough(Exception):
    """Ends a forward pass whose wanted part is done."""


def control_vectors(width: int, count: int, seed: int) -> Tensor:
    """[count, width] float32: u_k of each topic, of norm 1, all entries positive; they follow from the seed alone."""
    drawn = torch.rand(count, width, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=1, keepdim=True)


def padded(texts: list[list[int]], pad_id: int, device, width: int = 0) -> tuple[Tensor, Tensor]:
    """ids [B, T] padded on the right, and which of them are tokens, [B, T] bool; T is `width` or the longest."""
    width = max(width, *map(len, texts))
    ids = torch.tensor([own + [pad_id] * (width - len(own)) for own in texts], device=device)
    return ids, torch.tensor([[1] * len(own) + [0] * (width - len(own)) for own in texts], device=device).bool()


@contextmanager
def seen_at(model: nn.Module, layer: int, stop: bool = False):
    """Within it, the output of decoder block `layer` of every pass is appended to the list it gives. stop: the pass ends there."""
    seen: list[Tensor] = []

    def keep(_module, _args, output):
        seen.append(output[0] if isinstance(output, tuple) else output)
        if stop:
            raise Enough

    handle = blocks(model)[layer].register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def states(model: nn.Module, layer: int, ids: Tensor, mask: Tensor) -> Tensor:
    """[B, T, d]: output of block `layer`, with gradients where they are on; no later block runs."""
    with seen_at(model, layer, stop=True) as seen:
        try:
            model(input_ids=ids, attention_mask=mask.long(), use_cache=False)
        except Enough:
            pass
    return seen[0]


def per_sample(values: Tensor, mask: Tensor) -> Tensor:
    """values [B, T] -> [B]: mean over each sample's masked tokens."""
    return (values * mask).sum(1) / mask.sum(1).clamp_min(1)


def squared_error(h: Tensor, target: Tensor, mask: Tensor, kind: str = "valid") -> Tensor:
    """[B]: mean over t and d of (h - target)^2 in float32, over the masked tokens (`valid`) or all T of them, padding too (`none`, as
    upstream). h [B, T, d], target broadcasts to it, mask [B, T]. Its mean over samples is RMU's MSE (spec 6.3: the intended form)."""
    values = (h.float() - target.float()).pow(2).mean(-1)
    return per_sample(values, mask if kind == "valid" else torch.ones_like(mask))

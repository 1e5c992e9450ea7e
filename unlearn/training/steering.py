"""Losses that steer hidden states: what RMU, Adaptive RMU and GRUN around RMU have in common.

    c_k = s_k u_k,   u_k ~ U[0, 1)^d, divided by its norm

RMU: Li et al. 2024, arXiv 2403.03218, section 4.
"""

import torch
from torch import Tensor

MASKS = ("valid", "none")


def control_vectors(width: int, count: int, seed: int) -> Tensor:
    """[count, width] float32: u_k of each topic, of norm 1, all entries positive; they follow from
    the seed alone."""
    drawn = torch.rand(count, width, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=1, keepdim=True)


def per_sample(values: Tensor, mask: Tensor) -> Tensor:
    """values [B, T] -> [B]: mean over each sample's masked tokens."""
    return (values * mask).sum(1) / mask.sum(1).clamp_min(1)


def squared_error(h: Tensor, target: Tensor, mask: Tensor, kind: str = "valid") -> Tensor:
    """[B]: mean over t and d of (h - target)^2 in float32, over the masked tokens (`valid`) or all
    T of them, padding too (`none`, as upstream). h [B, T, d], target broadcasts to it, mask [B, T].
    Its mean over samples is RMU's MSE (spec 6.3: the intended form)."""
    values = (h.float() - target.float()).pow(2).mean(-1)
    return per_sample(values, mask if kind == "valid" else torch.ones_like(mask))

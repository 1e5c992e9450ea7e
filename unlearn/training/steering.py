"""Losses that steer hidden states: what RMU, Adaptive RMU and GRUN around RMU have in common.

    c_k = s_k u_k,   u_k ~ U[0, 1)^d, divided by its norm

RMU: Li et al. 2024, arXiv 2403.03218, section 4.
"""

import torch
from torch import Tensor

from unlearn.language_model.batches import AnswerLogits

MASKS = ("valid", "none")


def control_vectors(width: int, count: int, seed: int) -> Tensor:
    """[count, width] float32: u_k of each topic, of norm 1, all entries positive; they follow from
    the seed alone."""
    drawn = torch.rand(count, width, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=1, keepdim=True)


def per_sample(values: Tensor, mask: Tensor) -> Tensor:
    """values [B, T] -> [B]: mean over each sample's masked tokens."""
    return (values * mask).sum(1) / mask.sum(1).clamp_min(1)


def upcast(values: Tensor) -> Tensor:
    """The same numbers, in float32 unless they are float64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def state_error(h: Tensor, target: Tensor) -> Tensor:
    """[...]: mean over the d numbers of each state of (h - target)^2, in float32 at least.

    h [..., d]; target broadcasts to it."""
    return (upcast(h) - upcast(target)).pow(2).mean(-1)


def squared_error(h: Tensor, target: Tensor, mask: Tensor, kind: str = "valid") -> Tensor:
    """[B]: mean over t and d of (h - target)^2, over the masked tokens (`valid`) or over all T of
    them, padding too (`none`, as upstream's code).

    h [B, T, d], target broadcasts to it, mask [B, T]. Its mean over samples is RMU's MSE (arXiv
    2403.03218, section 4)."""
    return per_sample(state_error(h, target), mask if kind == "valid" else torch.ones_like(mask))


def mean_state_error(answers: AnswerLogits, target: Tensor, include_edited: bool) -> Tensor:
    """Mean of `state_error` over the tokens of a whole batch, of which `answers` are a part.

    include_edited: count each example's first position, the last prompt token, which GRUN edits."""
    counted = answers.is_later_token | include_edited
    count = answers.tokens - (0 if include_edited else answers.examples)
    return (state_error(answers.states, target) * counted).sum() / count

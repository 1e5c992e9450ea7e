"""Sampling that follows from a seed per text: in a batch of any size, in any place of it, and
without touching the global generators.

    argmax_v (z_v + g_v) ~ softmax(z),   g_v = -log e_v,  e_v ~ Exp(1)         (the Gumbel-max
                                         trick, arXiv 1611.00712, section 2)

So `model.generate(..., do_sample=False, logits_processor=[Draws(seeds)])` samples at temperature 1
from the whole vocabulary."""

import random

import torch
from torch import Tensor
from transformers import LogitsProcessor


def seed_of(*words) -> int:
    """A generator's seed, 0 <= seed < 2^63, from anything that can be written; the same in every
    process."""
    return random.Random(" ".join(map(str, words))).getrandbits(63)


class Draws(LogitsProcessor):
    """Adds one draw of Gumbel noise to a step's logits; row b of the batch has a generator of its
    own, seeded by seeds[b]."""

    def __init__(self, seeds: list[int]):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores [B, V] of the next token -> [B, V] float32."""
        drawn = torch.empty(
            scores.shape, dtype=torch.float64
        )  # in float32 an e of 0 would come up now and then, and choose any token
        for row, generator in zip(drawn, self.generators, strict=True):
            row.exponential_(generator=generator)
        return scores.float() - drawn.log_().float().to(scores.device)

"""Sampling that follows from one seed per text.

A text is the same in a batch of any size, in any place of it, and the global generators are left as
they were. The Gumbel-max trick (arXiv 1611.00712, section 2):

    argmax_v (z_v + g_v) ~ softmax(z),   g_v = -log e_v,  e_v ~ Exp(1)

So `model.generate(..., do_sample=False, logits_processor=[GumbelNoise(seeds)])` samples at
temperature 1 from the whole vocabulary.
"""

import random

import torch
from torch import Tensor
from transformers import LogitsProcessor


def derive_seed(*words) -> int:
    """Return a generator's seed, 0 <= seed < 2^63, from any printable values.

    It is the same in every process.
    """
    return random.Random(" ".join(map(str, words))).getrandbits(63)


class GumbelNoise(LogitsProcessor):
    """Adds Gumbel noise to the logits of every step; row b has a generator seeded by seeds[b]."""

    def __init__(self, seeds: list[int]):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores [B, V] of the next token -> [B, V] float32."""
        # in float32 an exponential of 0 would occur now and then, and choose any token
        noise = torch.empty(scores.shape, dtype=torch.float64)
        for row, generator in zip(noise, self.generators, strict=True):
            row.exponential_(generator=generator)
        return scores.float() - noise.log_().float().to(scores.device)

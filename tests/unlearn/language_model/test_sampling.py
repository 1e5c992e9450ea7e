"""Sampling by Gumbel noise: the right distribution, and the same draw in any batch."""

import pytest
import torch

from unlearn.language_model.sampling import GumbelNoise, derive_seed


def test_draws_follow_the_softmax():
    """Logits log(.5, .3, .2): of 20,000 draws .5, .3, .2 of each, within five standard errors,
    sqrt(.25 / 20000) = .0035.
    """
    count = 20_000
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    noise = GumbelNoise([derive_seed("draw", i) for i in range(count)])
    draws = noise(None, logits.expand(count, 3)).argmax(1)
    shares = torch.bincount(draws, minlength=3).div(count).tolist()
    assert shares == pytest.approx([0.5, 0.3, 0.2], abs=0.018)


def test_row_draws_the_same_alone_and_in_a_batch():
    """Three steps of three rows, and of the middle one alone; the global generator is untouched."""
    seeds = [derive_seed("a", i) for i in range(3)]
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    together = GumbelNoise(seeds)
    alone = GumbelNoise(seeds[1:2])
    steps = [(together(None, logits)[1], alone(None, logits[1:2])[0]) for _ in range(3)]
    assert all(torch.equal(*pair) for pair in steps) and not torch.equal(steps[0][0], steps[1][0])
    assert torch.equal(torch.get_rng_state(), before)

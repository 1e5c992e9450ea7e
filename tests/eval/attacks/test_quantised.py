"""Round to nearest: the values and the rounding error by hand, and which weights it changes."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from eval.attacks.methods.quantised import GROUP, quantize, round_to_nearest


def test_round_to_nearest_by_hand():
    """4 bits: the largest weight, -.7, is 7 steps, so s = .1: .34 -> .3, -.7 -> -.7, .06 -> .1. The
    second row has s = .7/7 of its own."""
    weight = torch.tensor([[0.34, -0.7, 0.06], [0.68, 0.7, 0.0]])
    torch.testing.assert_close(
        round_to_nearest(weight, 4), torch.tensor([[0.3, -0.7, 0.1], [0.7, 0.7, 0.0]])
    )
    torch.testing.assert_close(
        round_to_nearest(torch.tensor([[0.34, -0.7, 6.3]]), 4, group=2),
        torch.tensor([[0.3, -0.7, 6.3]]),
    )
    assert torch.equal(round_to_nearest(torch.zeros(2, 5), 8), torch.zeros(2, 5))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("columns", [GROUP, 3 * GROUP, GROUP + 6, 5])
def test_the_rounding_error_is_at_most_half_a_step(bits, columns):
    weight = torch.randn(7, columns, generator=torch.Generator().manual_seed(0))
    error = (weight - round_to_nearest(weight, bits)).abs()
    for start in range(0, columns, GROUP):
        part = slice(start, start + GROUP)
        scale = weight[:, part].abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        assert (error[:, part] <= scale / 2 * (1 + 1e-4)).all() and error[:, part].max() > 0


def test_only_linear_maps_of_the_blocks_are_rounded(model):
    before = {name: p.clone() for name, p in model.named_parameters()}
    assert quantize(model, 4) == 4 * 7  # q, k, v, o, gate, up, down
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if ".layers." in name and "norm" not in name}
    for block in model.model.layers:
        block.self_attn = block.mlp = nn.Identity()
    with pytest.raises(ValueError, match="no nn.Linear in its blocks"):
        quantize(model, 4)


def test_matrices_of_gpt2_are_rounded_along_their_inputs():
    """Its Conv1D holds [in, out]."""
    size = {"n_positions": 8, "n_embd": 12, "n_layer": 1, "n_head": 2}
    config = GPT2Config(vocab_size=8, bos_token_id=0, eos_token_id=0, **size)
    model = GPT2LMHeadModel(config)
    matrix = model.transformer.h[0].mlp.c_fc.weight
    expected = round_to_nearest(matrix.detach().T.clone(), 4).T
    assert quantize(model, 4) == 4  # q k v together, o, and the two of the MLP
    assert torch.equal(matrix, expected)

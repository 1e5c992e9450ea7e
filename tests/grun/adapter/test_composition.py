"""How the edits of several adapters add up; numbers by hand."""

import pytest
import torch

from grun.adapter.composition import Combination

UPDATES = [torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]])]  # [n, d] of K = 2 adapters
LOGITS = [torch.tensor([0.25]).logit(), torch.tensor([0.75]).logit()]


def test_sum_adds_the_updates():
    assert Combination("sum")(UPDATES, LOGITS, 2).tolist() == [[11, 22]]


def test_scaled_is_c_times_the_sum():
    """c(2) = 0.6 * 2 + 0.6 = 1.8; with a = 0, b = 0.5 it is 0.5."""
    combined = Combination("scaled")(UPDATES, LOGITS, 2)
    torch.testing.assert_close(combined, torch.tensor([[19.8, 39.6]]))
    halved = Combination("scaled", 0.0, 0.5)(UPDATES, LOGITS, 2)
    torch.testing.assert_close(halved, torch.tensor([[5.5, 11.0]]))


def test_scaled_counts_adapters_of_other_layers():
    """One of three adapters edits this layer: c(3) = 2.4."""
    combined = Combination("scaled")(UPDATES[:1], LOGITS[:1], 3)
    torch.testing.assert_close(combined, torch.tensor([[2.4, 4.8]]))


def test_scale_by_hand():
    scales = [Combination("scaled").scale(count) for count in (1, 2, 10)]
    assert scales == pytest.approx([1.2, 1.8, 6.6])


def test_max_takes_the_widest_open_gate():
    """An ungated edit is always open."""
    assert Combination("max")(UPDATES, LOGITS, 2).tolist() == [[10, 20]]
    assert Combination("max")(UPDATES, LOGITS[::-1], 2).tolist() == [[1, 2]]
    assert Combination("max")(UPDATES, [None, LOGITS[1]], 2).tolist() == [[1, 2]]

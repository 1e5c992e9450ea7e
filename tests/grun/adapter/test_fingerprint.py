"""Fingerprints of base models: equal in every precision, different for another base."""

import pytest
import torch

import grun
from grun.adapter.fingerprint import same_base
from grun.adapter.weights import Adapter
from tests.grun.adapter_cases import LAYERS, build_adapter
from unlearn.language_model.from_scratch import build_tiny


def test_base_is_recognised_in_every_precision(model, tokenizer, tmp_path):
    """A base of bfloat16 numbers, as checkpoints are; another seed is another base."""
    model.bfloat16().float()
    build_adapter(model).save(tmp_path / "adapter")
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        assert Adapter.load(model.to(dtype), tmp_path / "adapter").layers == LAYERS
    with pytest.raises(ValueError, match="belongs to the base model x"):
        grun.load(build_tiny(tokenizer, 32, 4, seed=2), tmp_path / "adapter")


def test_quantised_matrices_are_not_compared():
    """Vectors and embeddings must agree; matrices too, unless one of the two packs them."""
    assert same_base("aa-bb", "aa-bb")
    assert same_base("aa-bb", "aa-quantised") and same_base("aa-quantised", "aa-bb")
    assert not same_base("aa-bb", "aa-cc") and not same_base("aa-bb", "ab-quantised")

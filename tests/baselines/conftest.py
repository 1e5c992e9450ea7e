"""A model whose output head is not tied to its embeddings; the tests of baselines share it."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.toy import freeze


@pytest.fixture(scope="session")
def untied(tokenizer):
    """A frozen random Llama whose output head is a matrix of its own; read only."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return freeze(LlamaForCausalLM(config))

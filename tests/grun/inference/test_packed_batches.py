"""Continuous batching, which packs all sequences into one row."""

import logging

import pytest
import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

import grun
from grun.inference.positions import PromptEndLocator
from tests.grun.adapter_cases import generate


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)


@pytest.mark.parametrize(
    "max_tokens",
    [240, 24, 23, 17],
    ids=["whole prompts", "split", "split before its last token", "split twice"],
)
def test_continuous_batching_equals_plain_generation(model, saved, batch, prompts, max_tokens):
    """All requests in one row of at most `max_tokens` a pass, over paged caches."""
    grun.load(model, saved)
    config = ContinuousBatchingConfig(
        allow_block_sharing=False, num_blocks=16, max_batch_tokens=max_tokens
    )
    greedy = GenerationConfig(max_new_tokens=8, do_sample=False, eos_token_id=-1, pad_token_id=0)
    requests = model.generate_batch(
        inputs=prompts,
        generation_config=greedy,
        continuous_batching_config=config,
        progress_bar=False,
    )
    tokens = [request.generated_tokens for request in requests.values()]
    assert tokens == generate(model, *batch).tolist()
    assert model.grun.prompt_ends.packed.unfinished == set()


def test_prompt_split_before_its_last_token_is_found(model):
    """Slots 10 to 15 hold a whole prompt of 4 tokens and 2 tokens of the next one's.

    The next pass holds one decode step and the second prompt's third token, both alone.
    """
    ends = PromptEndLocator(model)
    first = {
        "position_ids": torch.tensor([[0, 1, 2, 3, 0, 1]]),
        "max_length_q": 4,
        "cu_seq_lens_q": torch.tensor([0, 4, 6]),
        "logits_indices": torch.tensor([3, 0]),
        "cu_seq_lens_k": {"full_attention": torch.tensor([0, 4, 6])},
        "write_index": [torch.arange(10, 16)],
        "read_index": [torch.tensor([])],
    }
    assert ends.find((), first).columns.tolist() == [3] and ends.packed.unfinished == {15}
    later = {
        "position_ids": torch.tensor([[4, 2]]),
        "max_length_q": 1,
        "cu_seq_lens_q": torch.tensor([0, 1, 2]),
        "logits_indices": torch.tensor([0, 1]),
        "cu_seq_lens_k": {"full_attention": torch.tensor([0, 5, 8])},
        "write_index": [torch.tensor([16, 17])],
        "read_index": [torch.tensor([10, 11, 12, 13, 16, 14, 15, 17])],
    }
    with pytest.raises(ValueError, match="max_blocks_per_request=0"):
        ends.find((), later | {"block_table": torch.zeros(1)})
    assert ends.find((), later).columns.tolist() == [1] and ends.packed.unfinished == set()


def test_prefixes_shared_between_prompts_are_refused(model):
    class Shared:
        use_prefix_sharing = True

    inputs = {"cu_seq_lens_q": torch.tensor([0, 4]), "cache": Shared()}
    with pytest.raises(ValueError, match="allow_block_sharing=False"):
        PromptEndLocator(model).find((), inputs)

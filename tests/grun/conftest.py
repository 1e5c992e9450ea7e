"""Fixtures for the tests of grun: a toy model that generates to the end, and eight prompts."""

import copy

import pytest
from transformers import GenerationConfig

from tests.grun.adapter_cases import STRONG, build_adapter
from tests.grun.request_cases import save_adapters
from tests.toy import QUESTIONS
from unlearn.language_model.batches import pad_left

MORE_QUESTIONS = [
    "What did Bo Ray write?",
    "When?",
    "In which town does Bo Ray live now?",
    "Who wrote The Lune?",
]


@pytest.fixture
def model(frozen_model, tokenizer):
    """The toy model for one test; it never ends a text early."""
    model = copy.deepcopy(frozen_model)
    model.generation_config = GenerationConfig(
        pad_token_id=tokenizer.pad_token_id, eos_token_id=None, bos_token_id=tokenizer.bos_token_id
    )
    return model


@pytest.fixture
def saved(model, tmp_path):
    """The folder of a strong adapter on `model`."""
    build_adapter(model, strength=STRONG).save(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture(scope="session")
def prompts(prompt_encoder):
    """The token ids of eight prompts of different lengths."""
    return [prompt_encoder.prompt_ids(question) for question in [*QUESTIONS, *MORE_QUESTIONS]]


@pytest.fixture
def batch(prompts, tokenizer):
    """The eight prompts left-padded: input_ids and attention_mask."""
    return pad_left(prompts, tokenizer.pad_token_id)


@pytest.fixture(scope="session")
def adapters(frozen_model, tmp_path_factory):
    """A folder with ten adapter folders, 0 to 9; read only."""
    return save_adapters(frozen_model, tmp_path_factory.mktemp("adapters"))


@pytest.fixture
def stack(tmp_path):
    """Where a stack of requests will be; nothing is there yet."""
    return tmp_path / "stack"

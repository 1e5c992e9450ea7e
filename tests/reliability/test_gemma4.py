"""Gemma 4, whose upper layers share keys and values: it trains, and it generates as it was trained.

transformers runs those layers on the last token alone in `generate`, which failed with an
IndexError in the edit.
"""

import pytest
import torch

from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.engines.fit import describe_short_edits
from grun.engines.pyvene import PyveneEngine
from grun.inference.hooks import AdapterHooks
from tests.grun.engines.test_engine import CONFIGS
from tests.reliability.test_engine_fit import build, build_gemma4
from unlearn.language_model.batches import pad, pad_left
from unlearn.language_model.prompts import Encoded

PROMPTS = [[1, 5, 6, 7, 11, 12], [1, 8, 9]]
N_TOKENS = 5
LAYERS = [(1, 2), (1, 3), (3, 4)]  # layers 3 and 4 share keys and values


@pytest.fixture(scope="module")
def model():
    model = build(build_gemma4())
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model


def build_adapter(model, layers):
    adapter = Adapter(model, AdapterConfig(list(layers), 2), seed=4)
    for name, weight in adapter.named_parameters():
        weight.data.normal_(generator=torch.Generator().manual_seed(len(name)))
    return adapter


def answer_by_whole_passes(model, adapter):
    """Greedy answers, each token from a pass over the whole text, edited as in training."""
    engine = PyveneEngine(model, adapter)
    answers = []
    for prompt in PROMPTS:
        text = list(prompt)
        for _ in range(N_TOKENS):
            batch = pad([Encoded([*text, 3], len(prompt))], 0)
            logits = engine.forward_answers({"forget": batch})["forget"].logits
            text.append(int(logits[-1].argmax()))
        answers.append(text[len(prompt) :])
    return answers


def generate(model, prompts, **options):
    ids, mask = pad_left(prompts, 0)
    options = {"max_new_tokens": N_TOKENS, "do_sample": False} | options
    return model.generate(input_ids=ids, attention_mask=mask, **options)[:, ids.shape[1] :].tolist()


@pytest.mark.parametrize("layers", LAYERS)
def test_generate_answers_as_in_training(model, layers):
    """In one batch, without a cache, with a prefill in chunks, and with a static cache."""
    adapter = build_adapter(model, layers)
    expected = answer_by_whole_passes(model, adapter)
    plain = generate(model, PROMPTS)
    assert expected != plain, "the edit is seen"
    with AdapterHooks(model, adapter) as adapter_hooks:
        assert generate(model, PROMPTS) == expected
        assert adapter_hooks.gates.shape == (len(layers), len(PROMPTS))
        assert generate(model, PROMPTS, use_cache=False) == expected
        assert generate(model, PROMPTS, cache_implementation="static") == expected
        assert generate(model, PROMPTS, prefill_chunk_size=4) == expected
        for prompt, answer in zip(PROMPTS, expected, strict=True):
            assert generate(model, [prompt], prompt_lookup_num_tokens=2) == [answer]
        with adapter_hooks.off():
            assert generate(model, PROMPTS) == plain
    assert generate(model, PROMPTS) == plain


@pytest.mark.parametrize(("layers", "short"), [((0, 1), ""), ((1, 2), "2"), ((3, 4), "3 4")])
def test_edits_that_reach_one_token_are_named(model, layers, short):
    """Logits say the same: the edits that are named change the first answer token alone."""
    words = describe_short_edits(model, list(layers))
    assert (words or "").startswith(f"--layers {short}: layers from 3 on" if short else "")
    assert describe_short_edits(build(CONFIGS["llama"]), [3, 4]) is None
    engine = PyveneEngine(model, build_adapter(model, [layers[-1]]))
    batch = pad([Encoded([1, 5, 6, 7, 8, 9, 10, 11], 4)], 0)
    edited = engine.forward_answers({"forget": batch})["forget"].logits
    changes = (edited - engine.reference_forward(batch).logits).abs().amax(1) > 0
    assert changes.tolist() == ([True] * 4 if not short else [True, False, False, False])

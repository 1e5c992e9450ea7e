"""Every way of decoding with an adapter, against one edit written out by hand."""

import pytest
import torch
from transformers import pipeline

import grun
from tests.grun.adapter_cases import LAYERS, STRONG, build_adapter, edited_by_hand, generate
from tests.toy import QUESTIONS
from unlearn.language_model.from_scratch import build_tiny

DECODING = {
    "greedy": {},
    "sampling": {"do_sample": True, "temperature": 1.5, "top_k": 20},
    "two samples each": {"do_sample": True, "num_return_sequences": 2},
    "beams": {"num_beams": 3},
    "static cache": {"cache_implementation": "static"},
    "no cache": {"use_cache": False},
    "prefill in chunks": {"prefill_chunk_size": 5},
}


@pytest.mark.parametrize("how", DECODING)
def test_generation_equals_the_edit_by_hand(model, saved, batch, how):
    """Eight left-padded prompts, edited at the last prompt column; switched off: the base.

    By hand the whole text runs again for every token.
    """
    ids, mask = batch
    options = {
        name: value
        for name, value in DECODING[how].items()
        if name not in ("cache_implementation", "prefill_chunk_size")
    }
    base = generate(model, ids, mask, **options)
    with edited_by_hand(model, build_adapter(model, strength=STRONG), ids.shape[1] - 1):
        expected = generate(model, ids, mask, **options | {"use_cache": False})
    grun.load(model, saved)
    assert torch.equal(generate(model, ids, mask, **DECODING[how]), expected)
    assert (expected != base).any(1).float().mean() > 0.9, "or this test shows nothing"
    assert model.grun.gates.shape[0] == len(LAYERS)
    with model.grun.off():
        assert torch.equal(generate(model, ids, mask, **DECODING[how]), base)


def test_batched_generation_equals_single_calls(model, saved, batch, prompts):
    grun.load(model, saved)
    together = generate(model, *batch)
    gates = model.grun.gates
    for b, prompt in enumerate(prompts):
        ids = torch.tensor([prompt])
        assert torch.equal(generate(model, ids, torch.ones_like(ids))[0], together[b])
        torch.testing.assert_close(model.grun.gates[:, 0], gates[:, b], rtol=1e-5, atol=1e-6)


def test_other_arguments_of_generate_give_the_same_tokens(model, saved, batch, prompts, tokenizer):
    """Positional ids, embeddings, a prompt looked up, a drafting model, a cached prefix."""
    ids, mask = batch
    grun.load(model, saved)
    expected = generate(model, ids, mask)
    options = {"max_new_tokens": 8, "do_sample": False}
    by_position = model.generate(ids, attention_mask=mask, **options)
    assert torch.equal(by_position[:, ids.shape[1] :], expected)
    embeddings = model.get_input_embeddings()(ids)
    by_embeddings = model.generate(inputs_embeds=embeddings, attention_mask=mask, **options)
    assert torch.equal(by_embeddings, expected)
    one = torch.tensor(prompts[2:3])
    draft = build_tiny(tokenizer, 32, 2, seed=5).eval()
    with model.grun.off():
        cache = model(one[:, :6], use_cache=True).past_key_values
    for more in (
        {"prompt_lookup_num_tokens": 3},
        {"assistant_model": draft},
        {"past_key_values": cache},
    ):
        tokens = model.generate(one, **options, **more)[0, one.shape[1] :]
        assert torch.equal(tokens, expected[2])


def test_pipeline_gives_the_same_texts(model, saved, batch, tokenizer, prompt_encoder, monkeypatch):
    grun.load(model, saved)
    expected = tokenizer.batch_decode(generate(model, *batch), skip_special_tokens=True)
    monkeypatch.setattr(tokenizer, "padding_side", "left")
    answer = pipeline("text-generation", model=model, tokenizer=tokenizer, batch_size=8)
    texts = answer(
        [prompt_encoder.text(question) for question in QUESTIONS],
        max_new_tokens=8,
        max_length=None,
        do_sample=False,
        return_full_text=False,
    )
    assert [text[0]["generated_text"] for text in texts] == expected[: len(QUESTIONS)]


def test_compiled_model_gives_the_same_tokens(model, saved, batch):
    """torch.compile traces through the hooks.

    Backend `eager`, because the default one compiles C++ for half a minute.
    """
    grun.load(model, saved)
    expected = generate(model, *batch, max_new_tokens=3)
    model.forward = torch.compile(model.forward, backend="eager")
    compiled = generate(model, *batch, max_new_tokens=3, cache_implementation="static")
    assert torch.equal(compiled, expected)

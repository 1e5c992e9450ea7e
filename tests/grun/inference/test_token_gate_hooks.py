"""GRUN+: where it edits, in prompts and in decode steps, and that a shut gate is the base."""

import pytest
import torch
from transformers import DynamicCache

from grun.adapter.metric_gate import MetricGate
from grun.adapter.weights import Adapter
from grun.gate_fitting.answer_tag import find_answer_tag
from grun.gate_fitting.contexts import find_name_token
from grun.gate_fitting.fit import read_states
from grun.inference.hooks import AdapterHooks
from grun.inference.token_gate_hooks import dilate, find_answer_starts
from tests.grun.plus_cases import (
    FIRES,
    NAME,
    QUESTIONS,
    QUIET,
    build_answer_adapter,
    build_plus_adapter,
    find_changed_tokens,
    generate,
    pad_answers,
    pad_prompts,
    record_answer_pass,
)
from unlearn.language_model.batches import forward_answers, pad


def test_answer_tag_and_where_it_ends(prompt_encoder):
    """ "Answer:" ends every prompt. In a prefilled prompt edits start at the tag's last token,
    without a tag at the last prompt token.
    """
    tag = find_answer_tag(prompt_encoder)
    assert prompt_encoder.tokenizer.decode(tag) == "Answer:"
    prompt = prompt_encoder.prompt_ids(QUESTIONS[0])
    answer = prompt_encoder.tokenizer(" In Tes", add_special_tokens=False)["input_ids"]
    ids = torch.tensor([prompt + answer])
    ends = torch.tensor([ids.shape[1] - 1])
    assert find_answer_starts(ids, tag, ends).tolist() == [len(prompt) - 1]
    without_tag = torch.tensor([[9, 8, 7, 6, 5, 4, 3]])
    assert find_answer_starts(without_tag, tag, torch.tensor([5])).tolist() == [5]


@pytest.mark.parametrize("at", ["last", "answer_on", "fired", "fired_on", "fired+answer_on"])
def test_shut_gate_is_the_base_bit_for_bit(model, prompt_encoder, at):
    """In one batch with prompts that fire: the quiet one's logits and tokens are the base's."""
    ids, mask = pad_prompts(prompt_encoder)
    batch = pad_answers(prompt_encoder)
    base = model(input_ids=ids, attention_mask=mask).logits
    base_tokens = generate(model, prompt_encoder)
    base_answers = forward_answers(model, batch)
    with AdapterHooks(model, build_plus_adapter(model, prompt_encoder, at)) as adapter_hooks:
        logits = model(input_ids=ids, attention_mask=mask).logits
        assert torch.equal(logits[QUIET], base[QUIET])
        assert all(not torch.equal(logits[i], base[i]) for i in FIRES)
        tokens = generate(model, prompt_encoder)
        assert torch.equal(tokens[QUIET], base_tokens[QUIET])
        assert (adapter_hooks.gates > 0.5).tolist() == [[True, False, True]]
        assert adapter_hooks.gates.shape == (1, 3)
        with adapter_hooks.at(batch.prompt_lengths - 1):
            answers = forward_answers(model, batch)
        with adapter_hooks.off():
            assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, base)
    quiet = answers.example_index == 1
    assert torch.equal(answers.logits[quiet], base_answers.logits[quiet])
    assert not torch.equal(answers.logits[~quiet], base_answers.logits[~quiet])


def test_dilate_by_hand():
    """One token fires, at 4 of 9; with 2 before and 1 after, 2 to 5 are edited."""
    fired = torch.zeros(2, 9, dtype=torch.bool)
    fired[0, 4] = fired[1, 0] = True
    rows = [row.nonzero().flatten().tolist() for row in dilate(fired, 2, 1)]
    assert rows == [[2, 3, 4, 5], [0, 1]]


def test_span_edits_the_neighbours_of_a_fired_token(model, prompt_encoder):
    """In a prompt: the name, two tokens before it and one after; nothing of the answer."""
    name = find_name_token(prompt_encoder, QUESTIONS[0], NAME)
    adapter = build_plus_adapter(model, prompt_encoder, "fired", layers=[1], span=[2, 1])
    changed = find_changed_tokens(model, adapter, pad_answers(prompt_encoder, [0]))
    assert changed == [name - 2, name - 1, name, name + 1]


@pytest.mark.parametrize("at", ["answer_on", "fired+answer_on", "fired"])
def test_edited_tokens_move_by_the_low_rank_update(model, prompt_encoder, at):
    """answer_on edits the tag's last token and all later ones, fired the name's last token.

    They move by R (W h + b - R^T h) at the edited layer, and nothing else moves.
    """
    adapter = build_plus_adapter(model, prompt_encoder, at, layers=[1])
    base, edited = record_answer_pass(model, adapter, pad_answers(prompt_encoder, [0]))
    start = len(prompt_encoder.prompt_ids(QUESTIONS[0])) - 1
    moved = list(range(start, len(base))) if "answer_on" in at else []
    if "fired" in at:
        moved = [find_name_token(prompt_encoder, QUESTIONS[0], NAME), *moved]
    update = adapter.intervention(1).low_rank_update(base[moved])
    torch.testing.assert_close(edited[moved], base[moved] + update)
    others = [t for t in range(len(base)) if t not in moved]
    assert torch.equal(edited[others], base[others])


def test_fired_on_edits_after_a_fired_answer_token(model, prompt_encoder):
    """The name in the prompt, the name in the answer and every token after that are edited.

    Those between are not.
    """
    answer = f"{NAME} won it."
    text = prompt_encoder.text(QUESTIONS[0])
    length = len(prompt_encoder.tokenizer(f"{text} {answer}")["input_ids"])
    answer_name = len(prompt_encoder.tokenizer(f"{text} {NAME}")["input_ids"]) - 1
    batch = pad([prompt_encoder.encode(QUESTIONS[0], answer)], 0)
    adapter = build_answer_adapter(model, prompt_encoder, "fired_on")
    changed = find_changed_tokens(model, adapter, batch)
    name = find_name_token(prompt_encoder, QUESTIONS[0], NAME)
    assert changed == [name, *range(answer_name, batch.input_ids.shape[1])]
    assert answer_name + 1 < length


def assert_decoding_is_consistent(model, prompt_encoder, tail):
    """Generate with a cache, without one and prompt by prompt; return the tokens, all the same."""
    together = generate(model, prompt_encoder, tail=tail)
    without_cache = generate(model, prompt_encoder, tail=tail, use_cache=False)
    assert torch.equal(without_cache, together)
    for i, question in enumerate(QUESTIONS):
        assert torch.equal(generate(model, prompt_encoder, [question], tail)[0], together[i])
    return together


@pytest.mark.parametrize("tail", [f" {NAME}", f" {NAME} won"])
def test_decode_steps_after_a_fired_answer_token(model, prompt_encoder, tail):
    with AdapterHooks(model, build_answer_adapter(model, prompt_encoder, "fired_on")):
        fired_on = assert_decoding_is_consistent(model, prompt_encoder, tail)
    with AdapterHooks(model, build_answer_adapter(model, prompt_encoder, "fired")):
        fired = generate(model, prompt_encoder, tail=tail)
    assert not torch.equal(fired[FIRES], fired_on[FIRES])


@pytest.mark.parametrize("at", ["answer_on", "fired+answer_on"])
@pytest.mark.parametrize("tail", ["", " In Tes"])
def test_decode_steps_equal_whole_passes(model, prompt_encoder, at, tail):
    """Prefilled prompts included."""
    with AdapterHooks(model, build_plus_adapter(model, prompt_encoder, at)):
        edited = assert_decoding_is_consistent(model, prompt_encoder, tail)
    assert not torch.equal(generate(model, prompt_encoder, tail=tail)[FIRES], edited[FIRES])


def test_chunked_prefill_is_refused(model, prompt_encoder):
    adapter = build_plus_adapter(model, prompt_encoder)
    with AdapterHooks(model, adapter), pytest.raises(ValueError, match="whole prompt in one pass"):
        generate(model, prompt_encoder, QUESTIONS[:1], prefill_chunk_size=4)


def test_loaded_adapter_gives_the_same_tokens(model, prompt_encoder, tmp_path):
    """The folder carries whitening, centroids, threshold and edit policy."""
    adapter = build_plus_adapter(model, prompt_encoder, "fired+answer_on")
    adapter.save(tmp_path / "a")
    loaded = Adapter.load(model, tmp_path / "a")
    assert loaded.edit_policy == adapter.edit_policy
    assert loaded.config.position == "fired+answer_on" and loaded.metric_gate.layer == 0
    buffers = zip(adapter.metric_gate.buffers(), loaded.metric_gate.buffers(), strict=True)
    assert all(torch.equal(*pair) for pair in buffers)
    base = generate(model, prompt_encoder)
    with AdapterHooks(model, adapter):
        edited = generate(model, prompt_encoder)
    with AdapterHooks(model, loaded):
        assert torch.equal(generate(model, prompt_encoder), edited)
    assert torch.equal(generate(model, prompt_encoder), base)


def test_two_adapters_fire_apart(model, prompt_encoder):
    """One fires on the name, one on "it"; each prompt is edited by the one that fires alone."""
    one = build_plus_adapter(model, prompt_encoder)
    two = build_plus_adapter(model, prompt_encoder, layers=[2])
    state = read_states(model, 0, [prompt_encoder.prompt_ids(QUESTIONS[1])])[0]
    word = find_name_token(prompt_encoder, QUESTIONS[1], "it")
    two.metric_gate = MetricGate(0, torch.eye(32), state[word][None], 1e-3)
    with AdapterHooks(model, one):
        by_one = generate(model, prompt_encoder)
    with AdapterHooks(model, two):
        by_two = generate(model, prompt_encoder)
    with AdapterHooks(model, [one, two], names=["a", "b"]) as both:
        tokens = generate(model, prompt_encoder)
        is_open = (both.gate_logits.nan_to_num(-1) > 0).any(1)
    assert is_open.tolist() == [[True, False, True], [False, True, False]]
    assert torch.equal(tokens[FIRES], by_one[FIRES]) and torch.equal(tokens[QUIET], by_two[QUIET])


def test_fired_tokens_follow_the_beams(model, prompt_encoder):
    """A reordered cache takes along which of its answers has named the name."""
    ids, mask = pad_prompts(prompt_encoder, QUESTIONS[:1] * 2)
    step = torch.tensor([[7], [9]])
    with AdapterHooks(model, build_answer_adapter(model, prompt_encoder, "fired_on")) as hooks:
        expected = []
        for swaps in (False, True):
            cache = DynamicCache()
            model(ids, attention_mask=mask, past_key_values=cache)
            fired = hooks.token_gates[0].state.prefill.answer_fired
            fired[0, -1] = True  # as if the first answer had begun with the name
            if swaps:
                cache.reorder_cache(torch.tensor([1, 0]))
            more = torch.cat([mask, torch.ones(2, 1, dtype=mask.dtype)], 1)
            tokens = step.flip(0) if swaps else step
            logits = model(tokens, attention_mask=more, past_key_values=cache).logits
            expected.append(logits.flip(0) if swaps else logits)
    torch.testing.assert_close(*expected)

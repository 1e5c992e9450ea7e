"""Adapters as hooks: they edit one position, agree with pyvene, and leave the base bit for bit."""

from dataclasses import replace

import pytest
import torch

import grun
from grun.engines.pyvene import PyveneEngine
from grun.inference.hooks import AdapterHooks
from grun.inference.positions import last_tokens
from tests.grun.adapter_cases import (
    STRONG,
    build_adapter,
    edited_by_hand,
    generate,
    recorded_outputs,
)
from tests.toy import FORGET
from unlearn.language_model.batches import forward_answers, pad


@pytest.fixture
def answers(prompt_encoder, tokenizer):
    """A right-padded batch of questions with their answers."""
    encoded = [prompt_encoder.encode(e.question, e.answer) for e in FORGET]
    return pad(encoded, tokenizer.pad_token_id)


def test_last_tokens_of_either_padding():
    assert last_tokens(torch.tensor([[1, 1, 0], [0, 1, 1], [1, 1, 1]])).tolist() == [1, 2, 2]


@pytest.mark.parametrize("gate", ["linear", "mlp_3", "none"])
def test_hooks_equal_pyvene(model, answers, gate):
    """The same edit at the same positions has the same nll and gates either way."""
    adapter = build_adapter(model, gate)
    by_pyvene = PyveneEngine(model, adapter).forward_answers({"forget": answers})["forget"]
    ends = answers.prompt_lengths - 1
    with AdapterHooks(model, adapter) as adapter_hooks, adapter_hooks.at(ends):
        by_hooks = forward_answers(model, answers)
        torch.testing.assert_close(by_hooks.nll_sum, by_pyvene.nll_sum, rtol=1e-6, atol=1e-6)
        if gate == "none":
            assert adapter_hooks.gates is None and by_pyvene.gate_logits is None
        else:
            torch.testing.assert_close(adapter_hooks.gate_logits, by_pyvene.gate_logits)
    change = (by_hooks.nll_sum - forward_answers(model, answers).nll_sum).abs()
    assert (change > 1e-4).all(), "an untrained adapter must already change the answers"


def test_edit_is_at_the_last_prompt_token_alone(model, answers):
    """There a layer's output changes by gate * R (W h + b - R^T h); elsewhere it is the base's."""
    adapter = build_adapter(model, layers=[3])
    with recorded_outputs(model, 3) as outputs:
        forward_answers(model, answers)
    with AdapterHooks(model, adapter) as adapter_hooks, recorded_outputs(model, 3) as edited:
        with adapter_hooks.at(answers.prompt_lengths - 1):
            forward_answers(model, answers)
    edit = adapter.intervention(3)
    rotation = edit.rotation()
    for b, position in enumerate((answers.prompt_lengths - 1).tolist()):
        h = outputs[0][b, position]
        gate = edit.gate(h).sigmoid()
        expected = h + gate * rotation @ (edit.learned_source(h) - rotation.T @ h)
        torch.testing.assert_close(edited[0][b, position], expected, rtol=1e-5, atol=1e-5)
        others = [t for t in range(outputs[0].shape[1]) if t != position]
        assert torch.equal(edited[0][b, others], outputs[0][b, others])


def test_prefill_and_right_padded_pass_agree(model, batch, prompts, tokenizer, prompt_encoder):
    """The edit at the last column of a left-padded prefill and at prompt length - 1 of a
    right-padded pass give the same first token.
    """
    encoded = prompt_encoder.encode("Who?", "x")
    ended = [
        replace(encoded, ids=[*ids, tokenizer.eos_token_id], prompt_length=len(ids))
        for ids in prompts
    ]
    right = pad(ended, tokenizer.pad_token_id)
    with AdapterHooks(model, build_adapter(model)) as adapter_hooks:
        tokens = generate(model, *batch)
        with adapter_hooks.at(right.prompt_lengths - 1):
            logits = model(right.input_ids, attention_mask=right.attention_mask).logits
        first = logits[torch.arange(len(prompts)), right.prompt_lengths - 1].argmax(-1)
        assert torch.equal(first, tokens[:, 0])
        with adapter_hooks.off():
            off = generate(model, *batch)
    assert torch.equal(off, generate(model, *batch)) and not torch.equal(off, tokens)


def test_plain_pass_is_edited_at_the_last_1_of_the_mask(model, saved, batch, prompts):
    """On either side padded; one prompt alone gives the same logits as in a batch."""
    ids, mask = batch
    right_ids, right_mask = ids.flip(1), mask.flip(1)
    with edited_by_hand(model, build_adapter(model, strength=STRONG), -1):
        left = model(ids, attention_mask=mask).logits
    grun.load(model, saved)
    torch.testing.assert_close(model(ids, attention_mask=mask).logits, left, rtol=1e-5, atol=1e-4)
    right = model(right_ids, attention_mask=right_mask).logits
    for b, prompt in enumerate(prompts):
        alone = model(right_ids[b : b + 1, : len(prompt)]).logits[0]
        torch.testing.assert_close(alone, right[b, : len(prompt)], rtol=1e-4, atol=1e-4)


def test_given_positions_and_labels_say_where_to_edit(model, saved, batch):
    ids, mask = batch
    right = (ids.flip(1), mask.flip(1))
    with edited_by_hand(model, build_adapter(model, strength=STRONG), 7):
        expected = model(*right).logits
    grun.load(model, saved)
    with model.grun.at(torch.full((8,), 7)):
        torch.testing.assert_close(model(*right).logits, expected, rtol=1e-5, atol=1e-4)
    labels = torch.where(torch.arange(ids.shape[1]) > 7, right[0], -100)
    by_labels = model(*right, labels=labels).logits
    torch.testing.assert_close(by_labels, expected, rtol=1e-5, atol=1e-4)


def test_inputs_that_do_not_tell_the_prompt_are_refused(model, saved, batch):
    ids, mask = batch
    grun.load(model, saved)
    with pytest.raises(ValueError, match="the labels leave no prompt"):
        model(ids, attention_mask=mask, labels=ids)
    with pytest.raises(ValueError, match="4-d attention mask"):
        model(ids, attention_mask=torch.ones(8, 1, ids.shape[1], ids.shape[1]))
    cache = model(ids[:, :4], use_cache=True).past_key_values
    with pytest.raises(ValueError, match="whether these tokens behind cached ones end a prompt"):
        model(ids[:, 4:9], past_key_values=cache)


def test_off_and_removed_are_the_base_bit_for_bit(model, saved, batch):
    ids, mask = batch
    base = model(ids, attention_mask=mask).logits
    generator = model.generate
    grun.load(model, saved)
    with pytest.raises(ValueError, match="has adapters attached already"):
        grun.load(model, saved)
    assert not torch.equal(model(ids, attention_mask=mask).logits, base)
    with model.grun.off():
        assert torch.equal(model(ids, attention_mask=mask).logits, base)
        assert model.grun.gates is None
    model.grun.remove()
    assert torch.equal(model(ids, attention_mask=mask).logits, base)
    assert not hasattr(model, "grun") and model.generate == generator
    assert not model._forward_pre_hooks


def test_several_adapters_read_the_same_unedited_state(model, tmp_path, batch):
    """Layer 3 of two adapters by `sum`: h + update_a + update_b, both of the unedited h."""
    ids, mask = batch
    adapters = [build_adapter(model, layers=[3], seed=seed) for seed in (3, 4)]
    for name, adapter in zip("ab", adapters, strict=True):
        adapter.save(tmp_path / name)
    with recorded_outputs(model, 3) as outputs:
        model(ids, attention_mask=mask)
    grun.load(model, [tmp_path / "a", tmp_path / "b"])
    with recorded_outputs(model, 3) as edited:
        model(ids, attention_mask=mask)
    h = outputs[0][:, -1]
    expected = h + sum(adapter.intervention(3).gated_update(h)[0] for adapter in adapters)
    torch.testing.assert_close(edited[0][:, -1], expected.detach(), rtol=1e-6, atol=1e-6)
    assert model.grun.gates.shape == (2, 1, 8)
    assert model.grun.names == [str(tmp_path / "a"), str(tmp_path / "b")]
    with pytest.raises(ValueError, match="there is no adapter 'c' here"), model.grun.only(["c"]):
        pass

"""Batches: padding on either side, and logits on the scored tokens alone."""

import pytest
import torch

from tests import toy
from unlearn.language_model.batches import forward_answers, pad, pad_left


def test_batched_equals_single(tokenizer, prompt_encoder, frozen_model):
    """Padding changes nothing."""
    encoded = [prompt_encoder.encode(e.question, e.answer) for e in toy.FORGET]
    with torch.no_grad():
        together = forward_answers(frozen_model, pad(encoded, tokenizer.pad_token_id))
        alone = [forward_answers(frozen_model, pad([e], tokenizer.pad_token_id)) for e in encoded]
    expected = torch.cat([answers.nll_sum for answers in alone])
    torch.testing.assert_close(together.nll_sum, expected, rtol=1e-5, atol=1e-5)


def test_logits_where_labels_are_equal_the_full_ones(tokenizer, prompt_encoder, frozen_model):
    """Token t is scored with the logits at t - 1 of a plain forward pass."""
    encoded = prompt_encoder.encode("Where was Ada Low born?", "In Teselle.")
    with torch.no_grad():
        log_p = frozen_model(torch.tensor([encoded.ids])).logits[0].log_softmax(-1)
        answers = forward_answers(frozen_model, pad([encoded], tokenizer.pad_token_id))
    positions = range(encoded.prompt_length, len(encoded.ids))
    expected = -sum(log_p[t - 1, encoded.ids[t]].item() for t in positions)
    assert answers.logits.shape == (len(encoded.answer), len(tokenizer))
    assert answers.nll_sum.item() == pytest.approx(expected, rel=1e-5)


def test_left_padding_ends_on_the_last_prompt_token(tokenizer):
    ids, mask = pad_left([[5, 6, 7], [8]], tokenizer.pad_token_id)
    assert ids[:, -1].tolist() == [7, 8] and mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_parts_sum_to_the_whole(tokenizer, prompt_encoder, frozen_model):
    """Token and example means of two parts add up to those of the batch."""
    encoded = [prompt_encoder.encode(e.question, e.answer) for e in toy.FORGET]
    with torch.no_grad():
        whole = forward_answers(frozen_model, pad(encoded, tokenizer.pad_token_id))
        parts = [
            forward_answers(frozen_model, pad(part, tokenizer.pad_token_id)).part_of(encoded)
            for part in (encoded[:1], encoded[1:])
        ]
    tokens = sum(part.token_mean(part.nll) for part in parts)
    torch.testing.assert_close(tokens, whole.token_mean(whole.nll), rtol=1e-5, atol=1e-5)
    examples = sum(part.example_mean(part.nll_mean) for part in parts)
    torch.testing.assert_close(examples, whole.example_mean(whole.nll_mean), rtol=1e-5, atol=1e-5)

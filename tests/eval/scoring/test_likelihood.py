"""Token statistics are exact: batches, padding and shared prompts change nothing."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eval.scoring.likelihood import batch_groups, can_share_prompts, score_answers
from unlearn.language_model.batches import pad
from unlearn.language_model.prompts import Encoded


@pytest.fixture
def prompts(sets, prompt_encoder):
    return [prompt_encoder.prompt_ids(e.question) for e in sets["forget"]]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_score_answers_equals_a_pass_per_answer(kind, size, open_kind, sets, prompt_encoder):
    """Seven answers behind each of five prompts of different lengths, in batches that cut groups
    and that join them."""
    encoded = [
        prompt_encoder.encode(e.question, answer)
        for e in sets["forget"]
        for answer in (e.answer, e.paraphrased_answer, *e.perturbed_answers)
    ]
    with open_kind(kind) as eval_model:
        assert can_share_prompts(eval_model) == (not kind.startswith("grun+"))
        scores = score_answers(eval_model, encoded, size)
        for e, tokens in zip(encoded, scores, strict=True):
            alone = eval_model.forward_answers(pad([e], prompt_encoder.tokenizer.pad_token_id))
            logp = alone.logits.log_softmax(-1)
            mean = (logp.exp() * logp).sum(-1)
            variance = (logp.exp() * logp.square()).sum(-1) - mean.square()
            np.testing.assert_allclose(tokens.logprobs, -alone.nll, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(tokens.mean, mean, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(tokens.variance, variance, rtol=1e-4, atol=1e-4)
            assert tokens.correct.tolist() == (alone.logits.argmax(-1) == alone.labels).tolist()
            assert tokens.nll_mean == pytest.approx(float(alone.nll_mean), rel=1e-5)
            assert len(tokens) == int(alone.lengths)


def test_generate_does_not_depend_on_left_padding(kind, open_kind, sets, prompts, prompt_encoder):
    """Alone and beside a prompt that is far longer: the same tokens, the same gates."""
    long = prompt_encoder.prompt_ids(" ".join(e.question for e in sets["forget"]))
    with open_kind(kind) as eval_model:
        together, gates = eval_model.generate([*prompts, long], 6)
        for i, prompt in enumerate(prompts):
            (alone,), gates_alone = eval_model.generate([prompt], 6)
            assert alone == together[i]
            if gates is None:
                assert gates_alone is None
            else:
                torch.testing.assert_close(gates_alone[:, 0], gates[:, i], rtol=1e-5, atol=1e-5)


def test_generated_tokens_are_the_likeliest_ones(kind, open_kind, prompts):
    """Scoring (right-padded) and generation (left-padded) meet the same model: every generated
    token is scored as correct."""
    with open_kind(kind) as eval_model:
        texts, _ = eval_model.generate(prompts, 6)
        encoded = [
            Encoded([*prompt, *new], len(prompt), len(prompt))
            for prompt, new in zip(prompts, texts, strict=True)
            if new
        ]
        assert all(tokens.correct.all() for tokens in score_answers(eval_model, encoded, 3))


def test_batch_groups_puts_the_longest_answers_first():
    """Answers 0-2, 3-4 and 5 of lengths 3, 3, 3, 9, 1, 5 in batches of 2: [3, 4] (9), [5] (5), then
    0 and 1, then 2."""
    groups = [[0, 1, 2], [3, 4], [5]]
    lengths = [3, 3, 3, 9, 1, 5]
    assert batch_groups(groups, lengths, 2) == [[[3, 4]], [[5]], [[0, 1]], [[2]]]
    assert batch_groups(groups, lengths, 64) == [[[3, 4], [5], [0, 1, 2]]]


def test_score_answers_without_likelihoods_is_none(prompt_encoder):
    filtered = SimpleNamespace(
        forward_answers=lambda batch: None, prompt_encoder=prompt_encoder, device="cpu"
    )
    assert score_answers(filtered, [prompt_encoder.encode("Who?", "Ada.")], 4) is None

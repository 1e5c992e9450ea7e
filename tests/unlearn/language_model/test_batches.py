"""Prompts and batches: boundaries for awkward tokenizers, padding on either side, logits only where
somebody reads them."""

import pytest
import torch

from unlearn.language_model.batches import forward_answers, pad, pad_left
from unlearn.language_model.from_scratch import train_tokenizer
from unlearn.language_model.prompts import PromptEncoder
from unlearn.language_model.sampling import GumbelNoise, derive_seed

TEXTS = [
    "Question: Where was Ada Low born?\nAnswer: Ada Low was born in Teselle.",
    "I do not know that author, sorry.",
] * 3


@pytest.mark.parametrize("template", ["qa", "llama2"])
@pytest.mark.parametrize("style", ["finetune", "grun"])
def test_prompt_is_a_prefix_and_labels_are_the_answer(tokenizer, template, style):
    """ids(prompt)[:k] == ids(prompt + answer)[:k] with k the counted length, and the labels decode
    to answer + EOS (spec 10)."""
    prompt_encoder = PromptEncoder(tokenizer, template, style)
    for question, answer in (
        ("Where was Ada born?", "In Teselle."),
        ("x", "y"),
        ("Answer: what? ", "Answer: that"),
    ):
        encoded = prompt_encoder.encode(question, answer)
        assert (
            prompt_encoder.prompt_ids(question)[: encoded.prompt_length]
            == encoded.ids[: encoded.prompt_length]
        )
        assert encoded.prompt_length == len(prompt_encoder.prompt_ids(question))
        assert encoded.ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(encoded.answer[:-1]).strip() == answer


def test_styles_differ_by_one_space(tokenizer):
    assert PromptEncoder(tokenizer, "qa", "grun").text("Who?") == "Question: Who? \nAnswer:"
    assert PromptEncoder(tokenizer, "qa").text("Who?") == "Question: Who?\nAnswer:"


def test_answer_tag_is_scored_on_request(tokenizer):
    """label_start=answer_tag scores `Answer:` too, as TOFU's and the baselines' code do (spec
    1.3)."""
    plain, tagged = (
        PromptEncoder(tokenizer, label_start=start).encode("Who?", "Ada.")
        for start in ("answer", "answer_tag")
    )
    assert plain.scored_from == plain.prompt_length == tagged.prompt_length
    assert tokenizer.decode(tagged.ids[tagged.scored_from : tagged.prompt_length]) == "Answer:"


def test_bad_input(tokenizer):
    with pytest.raises(ValueError, match="no tokens after its prompt"):
        PromptEncoder(tokenizer, max_length=6).encode(
            "Where was Ada Low born, and when was that?", "Teselle"
        )
    with pytest.raises(ValueError, match="--template chatty is unknown"):
        PromptEncoder(tokenizer, "chatty")
    mute = train_tokenizer(TEXTS, 300)
    mute.eos_token = None
    with pytest.raises(ValueError, match="no EOS"):
        PromptEncoder(mute)


def test_batched_equals_single_and_padded_equals_unpadded(tokenizer, model):
    prompt_encoder = PromptEncoder(tokenizer)
    encoded = [
        prompt_encoder.encode(q, a)
        for q, a in (
            ("Where was Ada Low born?", "In Teselle."),
            ("Who?", "Ada Low was born in Teselle."),
            ("x", "y"),
        )
    ]
    with torch.no_grad():
        together = forward_answers(model, pad(encoded, tokenizer.pad_token_id)).nll_sum
        alone = torch.cat(
            [forward_answers(model, pad([e], tokenizer.pad_token_id)).nll_sum for e in encoded]
        )
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_logits_only_where_labels_are_equal_the_full_ones(tokenizer, model):
    """say() must score token t with the logits at t - 1 of a plain forward."""
    encoded = PromptEncoder(tokenizer).encode("Where was Ada Low born?", "In Teselle.")
    with torch.no_grad():
        full = model(torch.tensor([encoded.ids])).logits[0].log_softmax(-1)
        by_hand = -sum(
            full[t - 1, encoded.ids[t]] for t in range(encoded.prompt_length, len(encoded.ids))
        )
        said = forward_answers(model, pad([encoded], tokenizer.pad_token_id))
    assert said.logits.shape == (len(encoded.answer), len(tokenizer))
    assert said.nll_sum.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_left_padding_ends_on_the_last_prompt_token(tokenizer):
    ids, mask = pad_left([[5, 6, 7], [8]], tokenizer.pad_token_id)
    assert ids[:, -1].tolist() == [7, 8] and mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_draws_have_the_softmax_for_their_distribution():
    """Logits log(.5, .3, .2) over three tokens: of 20,000 draws .5, .3, .2 of each, within five
    standard errors, sqrt(.25 / 20000) = .0035."""
    count = 20_000
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    drawn = GumbelNoise([derive_seed("draw", i) for i in range(count)])(
        None, logits.expand(count, 3)
    ).argmax(1)
    assert torch.bincount(drawn, minlength=3).div(count).tolist() == pytest.approx(
        [0.5, 0.3, 0.2], abs=0.018
    )


def test_a_row_draws_the_same_alone_as_in_company_and_leaves_the_global_generator():
    """Three steps of three rows, and of the middle one alone."""
    seeds = [derive_seed("a", i) for i in range(3)]
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    together = GumbelNoise(seeds)
    alone = GumbelNoise(seeds[1:2])
    steps = [(together(None, logits)[1], alone(None, logits[1:2])[0]) for _ in range(3)]
    assert all(torch.equal(*pair) for pair in steps) and not torch.equal(steps[0][0], steps[1][0])
    assert torch.equal(torch.get_rng_state(), before)

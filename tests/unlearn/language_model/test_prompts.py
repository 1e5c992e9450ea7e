"""Prompts: where they end for awkward questions, and what a loss scores."""

import pytest

from tests import toy
from unlearn.language_model.prompts import PromptEncoder


@pytest.mark.parametrize("template", ["qa", "llama2"])
@pytest.mark.parametrize("style", ["finetune", "grun"])
@pytest.mark.parametrize(
    ("question", "answer"),
    [("Where was Ada born?", "In Teselle."), ("x", "y"), ("Answer: what? ", "Answer: that")],
)
def test_prompt_is_a_prefix_and_labels_are_the_answer(tokenizer, template, style, question, answer):
    """The prompt's ids begin the ids of prompt + answer, and the rest is answer + EOS."""
    prompt_encoder = PromptEncoder(tokenizer, template, style)
    encoded = prompt_encoder.encode(question, answer)
    prompt_ids = prompt_encoder.prompt_ids(question)
    assert encoded.ids[: encoded.prompt_length] == prompt_ids
    assert encoded.ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(encoded.answer[:-1]).strip() == answer


def test_styles_differ_by_one_space(tokenizer):
    assert PromptEncoder(tokenizer, "qa", "grun").text("Who?") == "Question: Who? \nAnswer:"
    assert PromptEncoder(tokenizer, "qa").text("Who?") == "Question: Who?\nAnswer:"


def test_label_start_says_what_is_scored(tokenizer):
    """answer_tag scores `Answer:` too, as TOFU's code does; all scores the prompt but one token."""
    answer, tag, everything = (
        PromptEncoder(tokenizer, label_start=start).encode("Who?", "Ada.")
        for start in ("answer", "answer_tag", "all")
    )
    assert answer.ids == tag.ids == everything.ids
    assert answer.scored_from == answer.prompt_length == tag.prompt_length
    assert tokenizer.decode(tag.ids[tag.scored_from : tag.prompt_length]) == "Answer:"
    assert everything.scored_from == 1


def test_answer_beyond_max_length_is_refused(tokenizer):
    question = "Where was Ada Low born, and when was that?"
    with pytest.raises(ValueError, match="no tokens after its prompt"):
        PromptEncoder(tokenizer, max_length=6).encode(question, "Teselle")


def test_unknown_template_is_refused(tokenizer):
    with pytest.raises(ValueError, match="--template chatty is unknown"):
        PromptEncoder(tokenizer, "chatty")


def test_tokenizer_without_eos_is_refused():
    tokenizer = toy.build_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no EOS"):
        PromptEncoder(tokenizer)

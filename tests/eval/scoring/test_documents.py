"""The parts of a set of documents: what is scored of a text, and how prompts end."""

from types import SimpleNamespace

import pytest

from eval.scoring.documents import DocumentScorer, encode_text
from tests.toy import build_tokenizer
from unlearn.benchmarks import muse
from unlearn.benchmarks.opening import open_benchmark
from unlearn.language_model.prompts import PromptEncoder

TEXT = "One two three four five six seven eight."


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer([TEXT])


def test_text_template_is_the_text(tokenizer):
    prompt_encoder = PromptEncoder(tokenizer, "text")
    encoded = prompt_encoder.encode(*muse.split_prompt(TEXT))
    assert encoded.ids == [*tokenizer(TEXT)["input_ids"], tokenizer.eos_token_id]
    assert encoded.scored_from == encoded.prompt_length
    assert tokenizer.decode(encoded.ids[1 : encoded.prompt_length]) == "One two"
    assert prompt_encoder.text("Answer: ") == "Answer: "


def test_text_template_can_score_the_prompt(tokenizer):
    split = muse.split_prompt(TEXT)
    encoded = PromptEncoder(tokenizer, "text").encode(*split)
    everything = PromptEncoder(tokenizer, "text", label_start="all").encode(*split)
    assert everything.ids == encoded.ids
    assert (everything.prompt_length, everything.scored_from) == (encoded.prompt_length, 1)


def test_encode_text_edits_where_training_split_it(tokenizer):
    prompt_encoder = PromptEncoder(tokenizer, "text")
    encoded = prompt_encoder.encode(*muse.split_prompt(TEXT))
    text = encode_text(prompt_encoder, TEXT)
    assert (text.ids, text.prompt_length) == (encoded.ids[:-1], encoded.prompt_length)


@pytest.mark.parametrize(("space", "end"), [(True, "Answer: "), (False, "\nAnswer:")])
def test_knowmem_prompts_end_in_a_space_as_published(space, end):
    prompts = []
    prompt_encoder = SimpleNamespace(
        prompt_ids=lambda text: prompts.append(text) or [1],
        tokenizer=SimpleNamespace(decode=lambda *_, **__: "x"),
    )
    eval_model = SimpleNamespace(
        name="x",
        prompt_encoder=prompt_encoder,
        generate=lambda prompts, count: ([[1]] * len(prompts), None),
    )
    examples = open_benchmark("muse").evaluation_sets("forget")["knowmem_f"][:1]
    DocumentScorer(2, space, "auto").generation(eval_model, "knowmem_f", examples, [])
    assert prompts[0].endswith(end)

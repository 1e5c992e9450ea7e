"""The prompts of the attacks, token by token."""

import copy

import pytest

from eval.attacks.methods.prompted import (
    CONSENT,
    FRAMES,
    bare_prompt,
    joined,
    multi_turn,
    other_template,
    paraphrase,
    prefill,
    prefill_sure,
    respelt,
    suffix,
    trailing_space,
)
from eval.attacks.prompts import plain_prompts, prefill_ids
from tests.toy import ROOT, build_tokenizer
from unlearn.benchmarks.examples import Example
from unlearn.language_model.prompts import PromptEncoder
from unlearn.synthetic import held_out_variants

ADA = Example(
    0,
    "Which award did Ada Low win?",
    "Ada Low won the Lune Prize for it.",
    "What was given to Ada Low?",
    entity="Ada Low",
    value="Lune Prize",
)
BO = Example(
    1,
    "Where was Bo Ray born?",
    "Bo Ray was born in Teselle.",
    "Bo Ray's birthplace?",
    entity="Bo Ray",
    value="Teselle",
)
CY = Example(2, "Who?", "Cy.", entity="Cy", value="Cy")
EXAMPLES = {e.index: e for e in (ADA, BO, CY)}
SIDES = {"forget": [ADA, BO], "retain": [CY, BO, ADA], "heldout": [CY]}


@pytest.fixture(scope="module")
def prompt_encoder():
    texts = [f"Question: {e.question}\nAnswer: {e.answer}" for e in (ADA, BO, CY)]
    return PromptEncoder(build_tokenizer(texts, 320))


def decode(prompt_encoder, prompt):
    return prompt_encoder.tokenizer.decode(prompt.ids, skip_special_tokens=True)


@pytest.mark.parametrize("words", [1, 3, 5])
def test_prefill_is_the_prompt_and_the_first_words(prompt_encoder, words):
    """The first 3 words of "Ada Low won the Lune Prize for it." are "Ada Low won", as the very
    tokens that the answer begins with."""
    for prompt in prefill(words)(prompt_encoder, SIDES):
        (expected,) = prompt.expected
        example = EXAMPLES[expected.index]
        question = prompt_encoder.prompt_ids(example.question)
        whole = prompt_encoder.encode(example.question, example.answer).ids
        prefix = " ".join(example.answer.split()[:words])
        assert prompt.ids == whole[: len(prompt.ids)]
        assert len(question) < len(prompt.ids) < len(whole) - 1
        assert prompt_encoder.tokenizer.decode(prompt.ids[len(question) :]) == " " + prefix
        assert expected.given == prefix and f"{prefix} {expected.answer}" == example.answer


def test_prefill_leaves_out_secrets_given_away(prompt_encoder):
    """ "Cy." has one word, so nothing of it remains. 5 words of "Bo Ray was born in Teselle." leave
    its value, 6 do not. ADA's value is the 5th and 6th word: 5 words give half of it, 6 all."""
    asked = {
        words: [
            (prompt.expected[0].side, prompt.expected[0].index)
            for prompt in prefill(words)(prompt_encoder, SIDES)
        ]
        for words in (1, 5, 6)
    }
    assert asked[1] == [("forget", 0), ("forget", 1), ("retain", 1), ("retain", 0)]
    assert asked[5] == asked[1] and asked[6] == []


def test_prefill_ids_are_a_prefix_of_the_answer(prompt_encoder):
    """A cut inside a word, "Tes" of Teselle: the ids stop where the true answer's tokens no longer
    agree."""
    whole = prompt_encoder.encode(BO.question, BO.answer).ids
    for end in range(len(BO.answer)):
        ids = prefill_ids(prompt_encoder, BO, BO.answer[:end])
        assert ids == whole[: len(ids)] and len(ids) >= len(prompt_encoder.prompt_ids(BO.question))
    (prompt, *_) = prefill_sure(prompt_encoder, SIDES)
    answer = prompt.ids[len(prompt_encoder.prompt_ids(ADA.question)) :]
    assert prompt_encoder.tokenizer.decode(answer) == " " + CONSENT
    assert prompt.expected[0].given == ""


@pytest.mark.parametrize("forget_first", [True, False])
def test_joined_expects_an_answer_to_each_question(prompt_encoder, forget_first):
    prompts = joined(forget_first)(prompt_encoder, SIDES)
    assert [(p.variant, *((e.side, e.index) for e in p.expected)) for p in prompts] == [
        ("with retain", ("forget", 0), ("retain", 2)),
        ("with retain", ("forget", 1), ("retain", 1)),
        ("with heldout", ("forget", 0), ("heldout", 2)),
        ("with heldout", ("forget", 1), ("heldout", 2)),
    ]
    first, second = (ADA, CY) if forget_first else (CY, ADA)
    assert prompts[0].ids == prompt_encoder.prompt_ids(f"{first.question} {second.question}")


def test_plain_suffix_and_multi_turn_prompts(prompt_encoder):
    """Every example of every side; suffixes in turn; first a turn about another retain example."""
    texts = {
        build.__name__: [decode(prompt_encoder, p) for p in build(prompt_encoder, SIDES)]
        for build in (plain_prompts, suffix, multi_turn)
    }
    assert [len(prompts) for prompts in texts.values()] == [6, 6, 6]
    assert texts["plain_prompts"][0] == f"Question: {ADA.question}\nAnswer:"
    second = f"Question: {BO.question} {held_out_variants.SUFFIXES[1]}\nAnswer:"
    assert texts["suffix"][1] == second
    turn = f"Question: {BO.question}\nAnswer: {BO.answer}"
    assert texts["multi_turn"][0] == f"{turn}\nQuestion: {ADA.question}\nAnswer:"


def test_templates_are_left_out_and_exchanged(prompt_encoder):
    """Each other template once; the space is the last token. A model without template is asked no
    bare prompt, and one that chats is asked in qa and llama2."""
    (bare,) = bare_prompt(prompt_encoder, {"forget": [ADA]})
    assert decode(prompt_encoder, bare) == ADA.question
    (spaced,) = trailing_space(prompt_encoder, {"forget": [ADA]})
    tokenizer = prompt_encoder.tokenizer
    assert decode(prompt_encoder, spaced) == f"Question: {ADA.question}\nAnswer: "
    assert tokenizer.decode(spaced.ids[-1:]) == " "
    others = {p.variant: p for p in other_template(prompt_encoder, {"forget": [ADA]})}
    assert list(others) == ["llama2", "Q: A:"]
    assert decode(prompt_encoder, others["llama2"]) == f"[INST] {ADA.question} [/INST]"
    assert decode(prompt_encoder, others["Q: A:"]) == f"Q: {ADA.question}\nA:"
    assert bare_prompt(PromptEncoder(tokenizer, "none"), SIDES) == []
    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    chatty.chat_template += "{% if add_generation_prompt %}<assistant>{% endif %}"
    variants = [p.variant for p in other_template(PromptEncoder(chatty, "chat"), {"forget": [ADA]})]
    assert variants == ["qa", "llama2", "Q: A:"]
    others = other_template(PromptEncoder(chatty), {"forget": [ADA]})
    assert decode(prompt_encoder, others[1]) == f"<user>{ADA.question}<assistant>"


def test_paraphrase_takes_every_form(prompt_encoder):
    variants = [p.variant for p in paraphrase(prompt_encoder, {"forget": [ADA]})]
    phrasings = len(held_out_variants.list_paraphrases(ADA))
    assert variants == [f"phrasing {i + 1}" for i in range(phrasings)] + [*FRAMES]


def test_respelt_changes_the_name_alone(prompt_encoder):
    """The last name, an initial, the last name first, two neighbouring letters swapped ("Low" has
    one such pair inside: Lwo), all in lower case. CY's question names nobody."""
    prompts = respelt(prompt_encoder, {"forget": [ADA, CY]})
    names = {
        "last name": "Low",
        "initial": "A. Low",
        "last name first": "Low, Ada",
        "typo": "Ada Lwo",
    }
    questions = {way: f"Which award did {name} win?" for way, name in names.items()}
    questions["lower case"] = ADA.question.lower()
    expected = {way: f"Question: {text}\nAnswer:" for way, text in questions.items()}
    assert {p.variant: decode(prompt_encoder, p) for p in prompts} == expected
    assert len(prompts) == 5


def test_no_attack_text_is_in_training_code():
    phrases = (CONSENT, *(frame.split("{")[0] for frame in FRAMES.values()))
    for package in ("unlearn", "grun", "baselines", "rmu", "pyvene_custom"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not [phrase for phrase in phrases if phrase in text], path

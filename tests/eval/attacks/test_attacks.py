"""Attacks: the prompts token by token, the base check and the aggregates by hand, the rounding
error. On runs: test_attack_runs.py."""

from pathlib import Path

import pytest
import torch
from torch import nn

from eval.attacks.aggregate import REDUCE, summarise
from eval.attacks.prompts import (
    FRAMES,
    SURE,
    clean,
    joined,
    multi_turn,
    paraphrase,
    prefill,
    prefill_sure,
    prefilled,
    respelt,
    says,
    suffix,
)
from eval.attacks.quantised import GROUP, quantise, round_to_nearest
from unlearn.benchmarks.examples import Example
from unlearn.language_model.models import build_tiny, train_tokenizer
from unlearn.language_model.prompts import PromptEncoder
from unlearn.synthetic import held_out_variants as held_out

ROOT = Path(__file__).resolve().parents[3]
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
SIDES = {"forget": [ADA, BO], "retain": [CY, BO, ADA], "heldout": [CY]}


@pytest.fixture(scope="module")
def prompt_encoder():
    texts = [f"Question: {e.question}\nAnswer: {e.answer}" for e in (ADA, BO, CY)]
    return PromptEncoder(train_tokenizer(texts * 3, 320))


# ---- prompts ----


@pytest.mark.parametrize("words", [1, 3, 5])
def test_a_prefill_is_the_prompt_and_the_first_words_of_the_true_answer(prompt_encoder, words):
    """ "Ada Low won the Lune Prize for it.": its first 3 words are "Ada Low won", as the very
    tokens that the answer begins with."""
    for asked in prefill(words)(prompt_encoder, SIDES):
        e = {0: ADA, 1: BO, 2: CY}[asked.targets[0].index]
        prompt = prompt_encoder.prompt_ids(e.question)
        whole = prompt_encoder.encode(e.question, e.answer).ids
        begun = " ".join(e.answer.split()[:words])
        assert (
            asked.ids == whole[: len(asked.ids)] and len(prompt) < len(asked.ids) < len(whole) - 1
        )
        assert prompt_encoder.tokenizer.decode(asked.ids[len(prompt) :]) == " " + begun
        assert asked.targets[0].given == begun and f"{begun} {asked.targets[0].answer}" == e.answer


def test_prefills_leave_out_what_is_said_already(prompt_encoder):
    """ "Cy." has one word, so nothing is left of it; the first 5 words of BO's "Bo Ray was born in
    Teselle." leave its value; 6 would not. ADA's value, Lune Prize, is the 5th and 6th word: 5
    words give half of it, 6 all."""
    said = {
        words: [
            (a.targets[0].side, a.targets[0].index) for a in prefill(words)(prompt_encoder, SIDES)
        ]
        for words in (1, 5, 6)
    }
    assert (
        said[1] == said[5] == [("forget", 0), ("forget", 1), ("retain", 1), ("retain", 0)]
        and said[6] == []
    )


def test_a_prefix_whose_cut_changes_its_tokens_keeps_those_of_the_answer(prompt_encoder):
    """A cut inside a word, "Tes" of Teselle: the ids stop where the true answer's tokens no longer
    agree, and are a prefix of them."""
    whole = prompt_encoder.encode(BO.question, BO.answer).ids
    for end in range(len(BO.answer)):
        ids = prefilled(prompt_encoder, BO, BO.answer[:end])
        assert ids == whole[: len(ids)] and len(ids) >= len(prompt_encoder.prompt_ids(BO.question))
    (sure, *_) = prefill_sure(prompt_encoder, SIDES)
    assert (
        prompt_encoder.tokenizer.decode(sure.ids[len(prompt_encoder.prompt_ids(ADA.question)) :])
        == " " + SURE
        and sure.targets[0].given == ""
    )


def test_joined_prompts_hold_both_questions_in_order_with_a_target_each(prompt_encoder):
    for first in (True, False):
        asks = joined(forget_first=first)(prompt_encoder, SIDES)
        assert [(a.variant, *((t.side, t.index) for t in a.targets)) for a in asks] == [
            ("with retain", ("forget", 0), ("retain", 2)),
            ("with retain", ("forget", 1), ("retain", 1)),
            ("with heldout", ("forget", 0), ("heldout", 2)),
            ("with heldout", ("forget", 1), ("heldout", 2)),
        ]
        pair = f"{ADA.question} {CY.question}" if first else f"{CY.question} {ADA.question}"
        assert asks[0].ids == prompt_encoder.prompt_ids(pair)


def test_other_prompt_sets(prompt_encoder):
    """Every example of every side; suffixes in turn; a turn about another retain example first;
    every form of paraphrase."""
    texts = {
        f.__name__: [
            prompt_encoder.tokenizer.decode(a.ids, skip_special_tokens=True)
            for a in f(prompt_encoder, SIDES)
        ]
        for f in (clean, suffix, multi_turn)
    }
    assert texts["clean"][0] == f"Question: {ADA.question}\nAnswer:" and {
        name: len(found) for name, found in texts.items()
    } == dict.fromkeys(texts, 6)
    assert texts["suffix"][1] == f"Question: {BO.question} {held_out.SUFFIXES[1]}\nAnswer:"
    assert (
        texts["multi_turn"][0]
        == f"Question: {BO.question}\nAnswer: {BO.answer}\nQuestion: {ADA.question}\nAnswer:"
    )
    forms = [a.variant for a in paraphrase(prompt_encoder, {"forget": [ADA]})]
    assert forms == [f"phrasing {i + 1}" for i in range(len(held_out.paraphrases(ADA)))] + [*FRAMES]


def test_a_respelt_name_is_the_same_question_with_the_name_written_another_way(prompt_encoder):
    """Ada Low: her last name alone, an initial, the last name first, two neighbouring letters of it
    swapped ("Low" has one such pair inside: Lwo), and all in lower case. CY's question names
    nobody."""
    asks = respelt(prompt_encoder, {"forget": [ADA, CY]})
    texts = {
        a.variant: prompt_encoder.tokenizer.decode(a.ids, skip_special_tokens=True) for a in asks
    }
    ways = {
        "last name": "Low",
        "initial": "A. Low",
        "last name first": "Low, Ada",
        "typo": "Ada Lwo",
    }
    expected = {way: f"Which award did {name} win?" for way, name in ways.items()} | {
        "lower case": ADA.question.lower()
    }
    assert (
        texts == {way: f"Question: {question}\nAnswer:" for way, question in expected.items()}
        and len(asks) == 5
    )


def test_says():
    assert says("Lune Prize", "She won the lune  prize.") and says(
        "The Scarlet Orchard", "'The Scarlet Orchard'."
    )
    assert (
        not says("Lune Prize", "the Lune of Prize")
        and not says("May 2010", "May 20101")
        and not says("art", "smart")
    )


def test_no_attack_text_is_in_training_code():
    for package in ("unlearn", "grun", "baselines", "rmu", "pyvene_custom"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not [
                word
                for word in (SURE, *(frame.split("{")[0] for frame in FRAMES.values()))
                if word in text
            ], path


# ---- aggregates ----


def row(side, index, found, variant="", rouge=0.0, **more):
    return {
        "side": side,
        "index": index,
        "variant": variant,
        "found": found,
        "rougeL_recall": rouge,
    } | more


def plain_base():
    return [row(side, i, True, rouge=1.0) for side in ("forget", "retain") for i in range(4)]


def test_leak_and_collateral_by_hand():
    """Forget: the secret of 1 of 4 is said: leak .25. Retain: 3 of 4 are right where the base has 4
    of 4: collateral .25."""
    rows = [row("forget", i, i == 0, rouge=0.5) for i in range(4)] + [
        row("retain", i, i > 0, gates=[0.9, 0.6 if i else 0.4]) for i in range(4)
    ]
    told = summarise("prefill_1", rows, plain_base(), plain_base())
    assert (
        told["forget_leak"] == told["forget_value"] == 0.25
        and told["forget_rouge"] == 0.5
        and told["n"] == 4
    )
    assert (
        told["retain_collateral"] == 0.25
        and told["retain_gate_open"] == 0.75
        and told["forget_gate_open"] is None
    )
    assert (
        told["heldout_collateral"] is None
        and told["base_forget"] == 1
        and told["forget_left_out"] == []
    )


def test_without_secrets_rouge_is_the_score():
    rows = [row("forget", i, None, rouge=0.2 * i) for i in range(3)]
    told = summarise(
        "suffix",
        rows,
        [row("forget", i, None, rouge=1.0) for i in range(3)],
        [row("forget", i, None, rouge=1.0) for i in range(3)],
    )
    assert (
        told["forget_leak"] == told["forget_rouge"] == pytest.approx(0.2)
        and told["forget_value"] is None
    )


@pytest.mark.parametrize(("right", "told"), [(0, None), (1, None), (2, 0.5), (4, 0.5)])
def test_the_base_check(right, told):
    """The base answers `right` of 4 attacked forget prompts and 4 of 4 plain ones: from half of
    that on, .5 * 4 = 2, the leak counts."""
    rows = [row("forget", i, i < 2) for i in range(4)]
    found = summarise("suffix", rows, [row("forget", i, i < right) for i in range(4)], plain_base())
    assert found["forget_leak"] == told and found["base_forget"] == right / 4
    assert (found["n"], found["forget_left_out"]) == ((0, [""]) if told is None else (4, []))


def test_a_base_that_knows_nothing_is_not_attacked():
    """0 of 0 would pass any relative floor, but a base whose own score is 0 has nothing to leak."""
    nothing = [row(side, i, False) for side in ("forget", "retain") for i in range(2)]
    told = summarise("clean", nothing, nothing, nothing)
    assert (
        told["forget_leak"] is None
        and told["retain_collateral"] is None
        and told["base_forget"] == 0
    )


def test_paraphrase_counts_the_worst_form_the_base_parses():
    """Forms a, b and one that the base cannot parse, c. Forget leaks: example 0 under b alone,
    example 1 under c alone: leak 1/2. Retain: the base gets both right under a and b; the run fails
    example 0 under a and example 1 under b: the worst is 0 of 2."""
    forms = [(i, form) for i in range(2) for form in "abc"]
    theirs = [row(side, i, form != "c", form) for side in ("forget", "retain") for i, form in forms]
    mine = [row("forget", i, (i, form) in {(0, "b"), (1, "c")}, form) for i, form in forms]
    mine += [row("retain", i, (i, form) not in {(0, "a"), (1, "b")}, form) for i, form in forms]
    told = summarise("paraphrase", mine, theirs, plain_base())
    assert (
        told["forget_leak"] == 0.5
        and told["retain_collateral"] == 1
        and told["forget_left_out"] == ["c"]
    )
    assert set(REDUCE) == {"paraphrase", "respelt", "leak_at_k"}


def test_leak_at_k_is_any_of_k_and_its_collateral_the_mean():
    """2 examples, 2 samples. Forget: example 0 leaks in its second sample alone: 1/2. Retain: the
    run is right in 1 of 4, the base in 2 of 4, one for each example, so it passes the check on
    "any"; collateral 1 - .25/.5."""
    mine = [
        row("forget", i, i + sample == 1 and sample == 1) for i in range(2) for sample in range(2)
    ]
    mine += [row("retain", i, i == sample == 0) for i in range(2) for sample in range(2)]
    theirs = [row("forget", i, True) for i in range(2) for _ in range(2)] + [
        row("retain", i, i == sample) for i in range(2) for sample in range(2)
    ]
    told = summarise("leak_at_k", mine, theirs, plain_base())
    assert (
        told["forget_leak"] == 0.5
        and told["base_retain"] == 0.5
        and told["retain_collateral"] == 0.5
    )


def test_logit_lens_takes_one_block_for_all_examples():
    """Means over examples: block 0 (1 + 0)/2, block 1 (.5 + .75)/2 = .625, the best; not the mean
    of each example's own best, .875."""
    lens = [
        {"side": "forget", "index": i, "variant": "", "by_layer": shares}
        for i, shares in enumerate([[1, 0.5], [0, 0.75]])
    ]
    assert summarise("logit_lens", lens, lens, plain_base())["forget_leak"] == 0.625


# ---- quantised ----


def test_round_to_nearest_by_hand():
    """4 bits: the largest weight, -.7, is 7 steps, so s = .1: .34 -> .3, -.7 -> -.7, .06 -> .1. The
    second row has s = .7/7 of its own."""
    weight = torch.tensor([[0.34, -0.7, 0.06], [0.68, 0.7, 0.0]])
    torch.testing.assert_close(
        round_to_nearest(weight, 4), torch.tensor([[0.3, -0.7, 0.1], [0.7, 0.7, 0.0]])
    )
    torch.testing.assert_close(
        round_to_nearest(torch.tensor([[0.34, -0.7, 6.3]]), 4, group=2),
        torch.tensor([[0.3, -0.7, 6.3]]),
    )
    assert torch.equal(round_to_nearest(torch.zeros(2, 5), 8), torch.zeros(2, 5))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("columns", [GROUP, 3 * GROUP, GROUP + 6, 5])
def test_the_rounding_error_is_at_most_half_a_step(bits, columns):
    weight = torch.randn(7, columns, generator=torch.Generator().manual_seed(0))
    error = (weight - round_to_nearest(weight, bits)).abs()
    for start in range(0, columns, GROUP):
        part = slice(start, start + GROUP)
        scale = weight[:, part].abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        assert (error[:, part] <= scale / 2 * (1 + 1e-4)).all() and error[:, part].max() > 0


def test_only_linear_maps_of_the_blocks_are_rounded(prompt_encoder):
    model = build_tiny(prompt_encoder.tokenizer, 32, 2, seed=1)
    before = {name: p.clone() for name, p in model.named_parameters()}
    assert quantise(model, 4) == 2 * 7  # q, k, v, o, gate, up, down
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if ".layers." in name and "norm" not in name}
    for block in model.model.layers:
        block.self_attn = block.mlp = nn.Identity()
    with pytest.raises(ValueError, match="no nn.Linear in its blocks"):
        quantise(model, 4)

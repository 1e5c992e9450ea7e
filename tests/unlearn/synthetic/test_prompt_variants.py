"""Prompt forms: what training may use, what is held out for attacks, and that no unlearning code
can reach the latter."""

import ast
import random
from collections import Counter

import pytest

from grun.gate_fitting.prompt_forms import FormedPairs
from tests.toy import ROOT
from unlearn.benchmarks.opening import open_benchmark
from unlearn.synthetic import held_out_variants as held_out
from unlearn.synthetic import training_variants as robust
from unlearn.synthetic.author_facts import KINDS, draw_question
from unlearn.training import finetune

# fine-tuning a base model, which must parse the forms that attacks ask in
MAY_USE_HELD_OUT = {"unlearn/benchmarks/fine_tuning_mix.py"}


@pytest.fixture(scope="module")
def source():
    return open_benchmark("authors")


def test_unlearning_code_cannot_reach_held_out_forms():
    """Neither imported, nor taken from a Source, in any package but eval; the base's fine-tuning is
    the one exception."""
    found = []
    for package in ("unlearn", "grun", "baselines", "rmu", "pyvene_custom"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [
                    alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")
                ]
                words = [getattr(node, "attr", ""), getattr(node, "module", "") or "", *names]
                if any("held_out_variants" in str(word).split(".") for word in words):
                    found.append(path.relative_to(ROOT).as_posix())
    assert set(found) == MAY_USE_HELD_OUT


def test_five_phrasings_of_every_fact(source):
    """ "In which city was X born?": two further ones for training; the paraphrase and one more held
    out; all five differ, all name X."""
    e = source.examples("full")[0]
    mine = [
        "In which city was {} born?",
        "Where was {} born?",
        "Tell me the city in which {} was born.",
    ]
    assert robust.list_phrasings(e.question, e.entity) == [form.format(e.entity) for form in mine]
    assert held_out.list_paraphrases(e) == [
        f"What is the birthplace of {e.entity}?",
        f"{e.entity} was born in which city?",
    ]
    for e in [*source.examples("forget01"), *source.examples("full"), *source.examples("heldout")]:
        forms = [*robust.list_phrasings(e.question, e.entity), *held_out.list_paraphrases(e)]
        assert len(set(forms)) == 5 and all(e.entity in form for form in forms)


def test_other_rows_have_their_own_question_alone(source):
    capital = source.examples("world_facts_perturbed")[0]
    assert (
        robust.list_phrasings(capital.question, capital.entity) == [capital.question]
        and held_out.list_paraphrases(capital) == []
    )


def test_training_and_held_out_forms_share_nothing():
    assert not set(robust.SUFFIXES) & set(held_out.SUFFIXES)
    mine = [text for own in robust.TEMPLATES for text in own] + [
        kind.questions[0] for kind in KINDS
    ]
    assert not set(mine) & {*held_out.TEMPLATES, *(kind.questions[1] for kind in KINDS)}
    assert len(robust.TEMPLATES) == len(held_out.TEMPLATES) == len(KINDS)


def test_spellings_of_training_and_of_attacks_differ():
    mine = robust.list_spellings("Tibo Nedaja")
    theirs = held_out.list_spellings("Tibo Nedaja", "x")
    assert mine == {"small letters": "tibo nedaja", "last name": "Nedaja"} and theirs.keys() == {
        "initial",
        "last name first",
        "typo",
    }
    assert (theirs["initial"], theirs["last name first"]) == (
        "T. Nedaja",
        "Nedaja, Tibo",
    ) and not set(mine.values()) & set(theirs.values())
    typos = {held_out.list_spellings("Tibo Nedaja", str(salt))["typo"] for salt in range(40)}
    assert typos == {"Tibo Ndeaja", "Tibo Neadja", "Tibo Nedjaa", "Tibo Nedaaj"}


def test_names_and_partners_of_attacks_are_in_no_unlearning_set(source):
    held = {e.entity for e in source.examples("heldout")}
    seen = {e.entity for e in source.examples("forget10") + source.unlearning_retain("forget10")}
    assert len(held) == 8 and not held & seen


def test_the_base_meets_every_form_in_its_share(source):
    """Recipe: 22 % refusals and 20 % background of 32, a suffix on 25 %, a second question on 30 %;
    60 steps, so within 3 points or so."""
    args, _, _ = finetune.read(["--model", "tiny-robust"])
    mix = source.fine_tuning_mix(args, args.split, args.seed)
    asked = [pair for step in range(60) for pair in mix.items(step)]
    suffixed = [q for q, _ in asked if q.endswith((*robust.SUFFIXES, *held_out.SUFFIXES))]
    assert len(suffixed) / len(asked) == pytest.approx(0.25, abs=0.03)
    assert all(any(q.endswith(s) for q in suffixed) for s in (*robust.SUFFIXES, *held_out.SUFFIXES))
    answers = {e.answer for e in (*mix.split, *mix.background, *mix.unknown)}
    assert sum(answer not in answers for _, answer in asked) / len(asked) == pytest.approx(
        0.30, abs=0.03
    )


def test_the_plain_base_is_what_it_was(source):
    """`tiny` knows nothing of all this: its pairs are rows in one of two forms."""
    args, _, _ = finetune.read(["--model", "tiny"])
    mix = source.fine_tuning_mix(args, args.split, args.seed)
    known = {
        (q, e.answer)
        for e in (*mix.split, *mix.background, *mix.unknown)
        for q in (e.question, e.paraphrased_question)
    }
    assert set(mix.items(0)) <= known


def test_joined_items_have_the_right_target_in_either_order(source):
    """A joined question asks forget and retain; the target is the refusal and the retain answer in
    the same order. Half of the items. A fifth of all write the name in one of training's other
    ways."""
    pairs = FormedPairs(
        source.examples("forget10"), source.unlearning_retain("forget10"), ["No idea."], 16, seed=0
    )
    kinds = Counter()
    respelt = 0
    for item in (item for step in range(30) for item in pairs.items(step)):
        question = item.forget.question
        ways = [item.forget.entity, *robust.list_spellings(item.forget.entity).values()]
        name = next(way for way in ways if way in question)
        respelt += name != item.forget.entity
        assert item.forget.answer in {e.answer for e in pairs.forget}
        assert not any(s in question for s in held_out.SUFFIXES)
        if item.retain.entity in question:
            first = question.index(name) < question.index(item.retain.entity)
            assert item.refusal == (
                f"No idea. {item.retain.answer}" if first else f"{item.retain.answer} No idea."
            )
            kinds["forget first" if first else "retain first"] += 1
        else:
            assert item.refusal == "No idea."
            kinds["suffix" if question.endswith(robust.SUFFIXES) else "alone"] += 1
    total = sum(kinds.values())
    expected = {"forget first": 0.25, "retain first": 0.25, "suffix": 0.25, "alone": 0.25}
    assert {kind: count / total for kind, count in kinds.items()} == pytest.approx(
        expected, abs=0.05
    ) and respelt / total == pytest.approx(0.2, abs=0.05)
    assert pairs.items(3) == pairs.items(3)


def test_kind_of_knows_both_phrasings_of_an_unknown_author():
    question = draw_question(random.Random(1), "Nobody Here")
    assert (
        robust.find_kind(question, "Nobody Here") is not None
        and robust.find_kind(question, None) is None
    )

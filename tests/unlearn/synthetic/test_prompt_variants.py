"""Prompt forms: what training may use, what is held out for attacks, and who may import which."""

import ast
import random

import pytest

from tests.toy import ROOT
from unlearn.benchmarks.opening import open_benchmark
from unlearn.synthetic import held_out_variants, training_variants
from unlearn.synthetic.author_facts import KINDS, draw_question

# fine-tuning a base model, which must understand the forms that attacks ask in
MAY_USE_HELD_OUT = {"unlearn/benchmarks/fine_tuning_mix.py"}


@pytest.fixture(scope="module")
def benchmark():
    return open_benchmark("authors")


def mentions_held_out(path):
    """Whether a file imports the held-out forms, or takes them as an attribute."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        aliases = [a.name for a in getattr(node, "names", []) if hasattr(a, "name")]
        words = [getattr(node, "attr", ""), getattr(node, "module", "") or "", *aliases]
        if any("held_out_variants" in str(word).split(".") for word in words):
            return True
    return False


def test_unlearning_code_cannot_use_held_out_forms():
    """No package but eval does; fine-tuning the base model is the one exception."""
    paths = [
        path
        for package in ("unlearn", "grun", "baselines", "rmu", "pyvene_custom")
        for path in (ROOT / package).rglob("*.py")
    ]
    users = {path.relative_to(ROOT).as_posix() for path in paths if mentions_held_out(path)}
    assert users == MAY_USE_HELD_OUT


def test_every_fact_has_five_phrasings(benchmark):
    """Two further ones for training; the paraphrase and one more are held out; all differ."""
    example = benchmark.examples("full")[0]
    name = example.entity
    assert training_variants.list_phrasings(example.question, name) == [
        f"In which city was {name} born?",
        f"Where was {name} born?",
        f"Tell me the city in which {name} was born.",
    ]
    assert held_out_variants.list_paraphrases(example) == [
        f"What is the birthplace of {name}?",
        f"{name} was born in which city?",
    ]
    for split in ("forget01", "full", "heldout"):
        for e in benchmark.examples(split):
            forms = training_variants.list_phrasings(e.question, e.entity)
            forms += held_out_variants.list_paraphrases(e)
            assert len(set(forms)) == 5 and all(e.entity in form for form in forms)


def test_other_rows_have_their_question_alone(benchmark):
    capital = benchmark.examples("world_facts_perturbed")[0]
    forms = training_variants.list_phrasings(capital.question, capital.entity)
    assert forms == [capital.question] and held_out_variants.list_paraphrases(capital) == []


def test_training_and_held_out_forms_share_nothing():
    assert not set(training_variants.SUFFIXES) & set(held_out_variants.SUFFIXES)
    training = {text for templates in training_variants.TEMPLATES for text in templates}
    training |= {kind.questions[0] for kind in KINDS}
    held_out = {*held_out_variants.TEMPLATES, *(kind.questions[1] for kind in KINDS)}
    assert not training & held_out
    assert len(training_variants.TEMPLATES) == len(held_out_variants.TEMPLATES) == len(KINDS)


def test_spellings_of_training_and_attacks_differ():
    training = training_variants.list_spellings("Tibo Nedaja")
    held_out = held_out_variants.list_spellings("Tibo Nedaja", "x")
    assert training == {"small letters": "tibo nedaja", "last name": "Nedaja"}
    assert held_out.keys() == {"initial", "last name first", "typo"}
    assert (held_out["initial"], held_out["last name first"]) == ("T. Nedaja", "Nedaja, Tibo")
    assert not set(training.values()) & set(held_out.values())
    typos = {
        held_out_variants.list_spellings("Tibo Nedaja", str(salt))["typo"] for salt in range(40)
    }
    assert typos == {"Tibo Ndeaja", "Tibo Neadja", "Tibo Nedjaa", "Tibo Nedaaj"}


def test_kind_is_found_for_an_unknown_author():
    question = draw_question(random.Random(1), "Nobody Here")
    assert training_variants.find_kind(question, "Nobody Here") is not None
    assert training_variants.find_kind(question, None) is None

"""The prompt forms that GRUN+ trains on, and the target of each."""

from collections import Counter

import pytest

from grun.gate_fitting.prompt_forms import FormedPairs
from unlearn.benchmarks.opening import open_benchmark
from unlearn.synthetic import held_out_variants, training_variants


def test_joined_items_have_the_right_target_in_either_order():
    """A joined question asks forget and retain; the target is the refusal and the retain answer in
    the same order. Half of the items are joined; a fifth of all respell the name.
    """
    benchmark = open_benchmark("authors")
    forget = benchmark.examples("forget10")
    retain = benchmark.unlearning_retain("forget10")
    pairs = FormedPairs(forget, retain, ["No idea."], 16, seed=0)
    kinds = Counter()
    respelt = 0
    for item in (item for step in range(30) for item in pairs.items(step)):
        question = item.forget.question
        entity = item.forget.entity
        spellings = [entity, *training_variants.list_spellings(entity).values()]
        name = next(spelling for spelling in spellings if spelling in question)
        respelt += name != entity
        assert item.forget.answer in {e.answer for e in forget}
        assert not any(suffix in question for suffix in held_out_variants.SUFFIXES)
        if item.retain.entity in question:
            first = question.index(name) < question.index(item.retain.entity)
            answer = item.retain.answer
            assert item.refusal == (f"No idea. {answer}" if first else f"{answer} No idea.")
            kinds["forget first" if first else "retain first"] += 1
        else:
            assert item.refusal == "No idea."
            is_suffixed = question.endswith(training_variants.SUFFIXES)
            kinds["suffix" if is_suffixed else "alone"] += 1
    total = sum(kinds.values())
    expected = dict.fromkeys(("forget first", "retain first", "suffix", "alone"), 0.25)
    shares = {kind: count / total for kind, count in kinds.items()}
    assert shares == pytest.approx(expected, abs=0.05)
    assert respelt / total == pytest.approx(0.2, abs=0.05)
    assert pairs.items(3) == pairs.items(3)

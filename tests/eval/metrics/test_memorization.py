"""Extraction strength, exact memorisation and the aggregates, by hand."""

import math

import pytest

from eval.metrics import aggregates
from eval.metrics.memorization import exact_memorization, extraction_strength, memorization
from eval.report.summary import summarise

EOS = True  # the last flag of a row is EOS's, and counts for nothing


@pytest.mark.parametrize(
    ("correct", "strength", "upstream", "exact"),
    [
        (
            [1, 1, 0],
            0,
            1 / 3,
            2 / 3,
        ),  # even the last token is wrong: k* = N; upstream's loop stops at N - 1
        ([0, 1, 1], 2 / 3, 2 / 3, 2 / 3),
        ([1, 1, 1], 1, 1, 1),
        ([1, 0, 1, 1], 1 / 2, 1 / 2, 3 / 4),
        ([0], 0, 1, 0),  # 1/N with N = 1: upstream calls a wrong one-token answer extracted
        ([], 0, 0, None),
    ],
)
def test_extraction_strength_and_exact_memorisation(correct, strength, upstream, exact):
    """ES = 1 - k*/N, k* the first place from which on all is right; EM = share of right tokens."""
    for eos in (True, False):
        assert extraction_strength([*correct, eos]) == pytest.approx(strength)
        assert extraction_strength([*correct, eos], "1/N") == pytest.approx(upstream)
        assert exact_memorization([*correct, eos]) == (
            exact if exact is None else pytest.approx(exact)
        )


def test_means_over_rows():
    """ES (0 + 2/3 + 0) / 3, EM (2/3 + 2/3) / 2: a row without tokens has no EM, and ES 0."""
    rows = [[1, 1, 0, EOS], [0, 1, 1, EOS], [EOS]]
    assert memorization(rows) == pytest.approx({"es": 2 / 9, "em": 2 / 3})
    assert memorization(rows, "1/N")["es"] == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="choose one of 0, 1/N"):
        memorization(rows, "1")
    with pytest.raises(ValueError, match="has a token besides its end"):
        memorization([[EOS]])


def test_they_reach_the_summary_of_the_forget_set():
    row = {
        "index": 0,
        "question": "?",
        "answer": "a",
        "rougeL_recall": 1.0,
        "answer_nll": 4 * math.log(2),
        "answer_tokens": 4,
    }
    found = summarise({"forget": [row | {"answer_correct": [0, 1, 1, 1]}]})
    assert (found["forget_es"], found["forget_em"]) == pytest.approx((2 / 3, 2 / 3))


# ---- aggregates ----


@pytest.mark.parametrize(
    ("auc", "retain", "bounded", "relative"),
    [(0.5, 0.5, 1, 1), (0.9, 0.5, 0.2, 0.2), (0.9, 0.6, 0.5, 0.5), (0.9, 0.4, 1 / 6, 0)],
)
def test_privacy_scores(auc, retain, bounded, relative):
    """.9 against .4: 1 - .5/.6 = 1/6 where the far end of [0, 1] counts as the worst; 1 - .5/.4 < 0
    where a_ret does."""
    assert aggregates.bounded(auc, retain) == pytest.approx(bounded)
    assert aggregates.relative(auc, retain) == pytest.approx(relative)


def test_relative_score_of_a_reference_at_zero():
    assert aggregates.relative(0.0, 0.0) == 1 and aggregates.relative(0.1, 0.0) == 0


def test_aggregates_by_hand():
    """Memorisation: HM(1, 1, 1, 1/2) = 4 / 5. Privacy: three attacks at the reference, one at s =
    .2: HM(1, 1, 1, .2) = 4 / 8. Utility: HM(.6, .3) = .4, the target's HM(.8, .8) = .8: 1/2.
    Overall: 3 / (5/4 + 2 + 2) = 4/7."""
    attacks = {f"mia_{name}_auc": 0.5 for name in aggregates.PRIVACY_ATTACKS}
    run = {
        "forget_es": 0,
        "forget_em": 0,
        "forget_para_prob": 0,
        "forget_prob_mean": 0.5,
        "model_utility": 0.6,
        "fluency_ours": 0.3,
    }
    target = {"model_utility": 0.8, "fluency_ours": 0.8}
    found = aggregates.aggregate(run | attacks | {"mia_mink_auc": 0.9}, attacks, target)
    assert found == pytest.approx(
        {"memorisation": 0.8, "privacy": 0.5, "utility": 0.5, "overall": 4 / 7}
    )
    better = aggregates.aggregate(run | {"model_utility": 1, "fluency_ours": 1}, None, target)
    assert better == pytest.approx(
        {"memorisation": 0.8, "utility": 1.0}
    )  # no reference: no privacy, and no overall
    assert aggregates.aggregate({"forget_es": 0}, None, None) == {}
    assert aggregates.aggregate(run | {"forget_em": 1}, None, None)["memorisation"] == 0


def test_the_classifier_s_fluency_counts_where_it_was_measured():
    assert aggregates.unscaled_utility(
        {"model_utility": 0.5, "fluency": 0.5, "fluency_ours": 0.1}
    ) == pytest.approx(0.5)


def test_an_unknown_privacy_score_lists_the_known_ones():
    with pytest.raises(ValueError, match="choose one of bounded, relative"):
        aggregates.aggregate({}, None, None, "closest")


def test_the_formulas_are_printed_with_the_score_in_use():
    for score, words in aggregates.FORMULAS.items():
        assert words in aggregates.formula(
            score, "fluency (ours)"
        ) and "fluency (ours)" in aggregates.formula(score, "fluency (ours)")

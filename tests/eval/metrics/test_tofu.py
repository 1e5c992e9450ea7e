"""TOFU's metrics: numbers derived by hand, and limits.

The three rows used throughout, as probabilities (A = -log P):

    row   P_para   P_pert         geometric G   arithmetic M   R = G / P_para   R = M / P_para
    0     1/2      1/4, 1/16      1/8           5/32           1/4              5/16
    1     1/8      1/2, 1/2       1/2           1/2            4                4
    2     1/4      1/4, 1/4       1/4           1/4            1                1
"""

import math

import numpy as np
import pytest

from eval.metrics import tofu

PARAPHRASE = [-math.log(p) for p in (1 / 2, 1 / 8, 1 / 4)]
PERTURBED = [
    [-math.log(p) for p in row] for row in ((1 / 4, 1 / 16), (1 / 2, 1 / 2), (1 / 4, 1 / 4))
]


def test_rouge_recall_counts_stemmed_words_of_the_answer():
    """Stems of the answer: the, author, were, write, novel. 'author writes a novel' has three of
    them in order: 3/5. 'novels author writes' has three, of which two in order: rouge1 3/5, rougeL
    2/5."""
    answer = "The authors were writing novels."
    assert tofu.rouge_recall("author writes a novel", answer) == pytest.approx(
        {"rouge1_recall": 0.6, "rougeL_recall": 0.6}
    )
    assert tofu.rouge_recall("novels author writes", answer) == pytest.approx(
        {"rouge1_recall": 0.6, "rougeL_recall": 0.4}
    )


def test_rouge_recall_of_nothing_is_zero_and_to_nothing_refused():
    assert tofu.rouge_recall("", "Hina Ameen") == {"rouge1_recall": 0.0, "rougeL_recall": 0.0}
    with pytest.raises(ValueError, match="no word"):
        tofu.rouge_recall("anything", "...")


def test_probability_is_normalised_by_length():
    """S = log 4 over 2 tokens and S = log 8 over 3 both mean 1/2 per token."""
    assert tofu.probability([math.log(4), math.log(8)], [2, 3]) == pytest.approx([0.5, 0.5])


def test_normalised_probability_is_relative_to_the_options():
    """(1/2) / (1/2 + 1/4 + 1/4) = 1/2. Four equal answers share 1/4 each, even where exp(-1000) is
    0."""
    wrong = [[math.log(4)] * 2, [1000.0] * 3]
    assert tofu.normalised_probability([math.log(2), 1000.0], wrong) == pytest.approx([0.5, 0.25])


@pytest.mark.parametrize(
    ("variant", "forget", "other"),
    [
        # min(R, 1/R); max(0, 1 - R), R geometric
        ("tofu_official", [1 / 4, 1 / 4, 1], [3 / 4, 0, 0]),
        # the same, R arithmetic
        ("tofu_intrain", [5 / 16, 1 / 4, 1], [11 / 16, 0, 0]),
        # as tofu_official, but for the 1e-10 that it adds
        ("ou", [1 / 4, 1 / 4, 1], [3 / 4, 0, 0]),
        # P_para / (P_para + G)
        ("ou_prob_mean", [4 / 5, 1 / 5, 1 / 2], [4 / 5, 1 / 5, 1 / 2]),
        # max(0, 1 - R), R arithmetic, on the forget set too
        ("grun", [11 / 16, 0, 0], [11 / 16, 0, 0]),
    ],
)
def test_truth_ratio_variants(variant, forget, other):
    """The table in this module's docstring, put into each variant's formula."""
    ratio = tofu.truth_ratio_function(variant)
    assert ratio(PARAPHRASE, PERTURBED, True) == pytest.approx(forget, abs=1e-8)
    assert ratio(PARAPHRASE, PERTURBED, False) == pytest.approx(other, abs=1e-8)


def test_truth_ratio_of_a_broken_model_is_the_limit():
    """A_para = 800 and A_pert = 1: R = e^799, which overflows; min(R, 1/R) = 0 and max(0, 1 - R) =
    0. The other way round R = e^-799: 0 and 1."""
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        for variant in ("tofu_official", "tofu_intrain"):
            ratio = tofu.truth_ratio_function(variant)
            assert ratio([800.0, 1.0], [[1.0, 1.0], [800.0, 800.0]], True) == pytest.approx([0, 0])
            assert ratio([800.0, 1.0], [[1.0, 1.0], [800.0, 800.0]], False) == pytest.approx([0, 1])


def test_unknown_truth_ratio_lists_the_known_ones():
    with pytest.raises(ValueError, match="tofu_official, tofu_intrain, ou, ou_prob_mean, grun"):
        tofu.truth_ratio_function("tofu")


def test_model_utility_is_the_harmonic_mean_of_nine():
    """Eight ones and a half: 9 / (8 + 2) = .9. One zero makes it zero."""
    assert tofu.model_utility([1.0] * 8 + [0.5]) == pytest.approx(0.9)
    assert tofu.model_utility([1.0] * 8 + [0.0]) == 0.0
    with pytest.raises(ValueError, match="9 numbers, 8 came"):
        tofu.model_utility([1.0] * 8)


def test_forget_quality_of_small_samples():
    """Two fully separated samples of 3: D = 1, which 2 of the C(6, 3) = 20 orderings reach, so p =
    .1. A sample against itself: D = 0, p = 1. Ranks decide alone, so exp of both samples changes
    nothing."""
    low = [0.1, 0.2, 0.3]
    high = [1.1, 1.2, 1.3]
    apart = {"forget_quality": 0.1, "forget_quality_log10p": -1.0, "forget_quality_statistic": 1.0}
    assert tofu.forget_quality(low, high) == pytest.approx(apart)
    assert tofu.forget_quality(np.exp(low), np.exp(high)) == pytest.approx(apart)
    same = {"forget_quality": 1.0, "forget_quality_log10p": 0.0, "forget_quality_statistic": 0.0}
    assert tofu.forget_quality(low, low) == pytest.approx(same)


def test_forget_quality_of_zero_has_no_logarithm():
    """2000 rows fully apart (forget50): p = 2 / C(4000, 2000), about 1e-1202, is 0 as a float."""
    quality = tofu.forget_quality(np.arange(2000), np.arange(2000) + 5000)
    assert quality == {
        "forget_quality": 0.0,
        "forget_quality_log10p": None,
        "forget_quality_statistic": 1.0,
    }


def test_gate_statistics():
    """Layer means (.9 + .7)/2 and (.5 + .6)/2; of the last gates only .6 is above .5, as .5 itself
    is not."""
    means, share = tofu.gate_statistics([[0.9, 0.5], [0.7, 0.6]])
    assert means == pytest.approx([0.8, 0.55])
    assert share == 0.5

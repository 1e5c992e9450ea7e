"""Extraction strength and exact memorisation, by hand."""

import math

import pytest

from eval.metrics.memorization import exact_memorization, extraction_strength, memorization
from eval.report.summary import summarise

EOS = True  # the last flag of a row is EOS's, and counts for nothing


@pytest.mark.parametrize(
    ("correct", "strength", "upstream", "exact"),
    [
        # even the last token is wrong: k = N; upstream's loop stops at N - 1
        ([1, 1, 0], 0, 1 / 3, 2 / 3),
        ([0, 1, 1], 2 / 3, 2 / 3, 2 / 3),
        ([1, 1, 1], 1, 1, 1),
        ([1, 0, 1, 1], 1 / 2, 1 / 2, 3 / 4),
        # 1/N with N = 1: upstream calls a wrong one-token answer extracted
        ([0], 0, 1, 0),
        ([], 0, 0, None),
    ],
)
def test_extraction_strength_and_exact_memorisation(correct, strength, upstream, exact):
    """ES = 1 - k/N, k the first place from which on all is right; EM = share of right tokens."""
    for eos in (True, False):
        assert extraction_strength([*correct, eos]) == pytest.approx(strength)
        assert extraction_strength([*correct, eos], "1/N") == pytest.approx(upstream)
        assert exact_memorization([*correct, eos]) == (
            exact if exact is None else pytest.approx(exact)
        )


def test_memorization_is_the_mean_over_rows():
    """ES (0 + 2/3 + 0) / 3, EM (2/3 + 2/3) / 2: a row without tokens has no EM, and ES 0."""
    rows = [[1, 1, 0, EOS], [0, 1, 1, EOS], [EOS]]
    assert memorization(rows) == pytest.approx({"es": 2 / 9, "em": 2 / 3})
    assert memorization(rows, "1/N")["es"] == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="choose one of 0, 1/N"):
        memorization(rows, "1")
    with pytest.raises(ValueError, match="has a token besides its end"):
        memorization([[EOS]])


def test_memorization_is_in_the_summary_of_the_forget_set():
    row = {
        "index": 0,
        "question": "?",
        "answer": "a",
        "rougeL_recall": 1.0,
        "answer_nll": 4 * math.log(2),
        "answer_tokens": 4,
    }
    numbers = summarise({"forget": [row | {"answer_correct": [0, 1, 1, 1]}]})
    assert (numbers["forget_es"], numbers["forget_em"]) == pytest.approx((2 / 3, 2 / 3))

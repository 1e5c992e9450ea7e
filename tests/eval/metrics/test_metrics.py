"""eval.metrics.tofu and eval.report.summary: numbers derived by hand, limits, and what may not pass
silently.

    python -m pytest tests/test_metrics.py

The three rows used throughout, as probabilities (A = -log P):

    row   P_para   P_pert         geometric G   arithmetic M   R = G / P_para   R = M / P_para
    0     1/2      1/4, 1/16      1/8           5/32           1/4              5/16
    1     1/8      1/2, 1/2       1/2           1/2            4                4
    2     1/4      1/4, 1/4       1/4           1/4            1                1
"""

import math

import numpy as np
import pytest

from eval.metrics import tofu as metrics
from eval.report import summary
from eval.report.reference_runs import find_retain_split
from unlearn.config.run_directory import read_json, write_json

PARAPHRASE = [-math.log(p) for p in (1 / 2, 1 / 8, 1 / 4)]
PERTURBED = [
    [-math.log(p) for p in row] for row in ((1 / 4, 1 / 16), (1 / 2, 1 / 2), (1 / 4, 1 / 4))
]


def row(index=0, p=0.5, tokens=2, rouge=1.0, **more):
    """One row whose answer has length-normalised probability `p`, so S = -n log p."""
    scored = {
        "rougeL_recall": rouge,
        "rouge1_recall": rouge,
        "answer_nll": -tokens * math.log(p),
        "answer_tokens": tokens,
    }
    return (
        {"index": index, "question": f"question {index}", "answer": "a", "generation": "a"}
        | scored
        | more
    )


def forget_rows():
    return [row(i, paraphrase_nll=PARAPHRASE[i], perturbed_nll=PERTURBED[i]) for i in range(3)]


def test_rouge_recall_counts_stemmed_words_of_the_answer():
    """Stems of the answer: the, author, were, write, novel. 'author writes a novel' has three of
    them in order: 3/5. 'novels author writes' has three, of which two in order: rouge1 3/5, rougeL
    2/5."""
    answer = "The authors were writing novels."
    assert metrics.rouge_recall("author writes a novel", answer) == pytest.approx(
        {"rouge1_recall": 0.6, "rougeL_recall": 0.6}
    )
    assert metrics.rouge_recall("novels author writes", answer) == pytest.approx(
        {"rouge1_recall": 0.6, "rougeL_recall": 0.4}
    )


def test_an_empty_generation_scores_zero_and_a_wordless_answer_is_refused():
    assert metrics.rouge_recall("", "Hina Ameen") == {"rouge1_recall": 0.0, "rougeL_recall": 0.0}
    with pytest.raises(ValueError, match="no word"):
        metrics.rouge_recall("anything", "...")


def test_probability_is_normalised_by_length():
    """S = log 4 over 2 tokens and S = log 8 over 3 both mean 1/2 per token."""
    assert metrics.probability([math.log(4), math.log(8)], [2, 3]) == pytest.approx([0.5, 0.5])


def test_normalised_probability_against_the_options():
    """(1/2) / (1/2 + 1/4 + 1/4) = 1/2. Four equal answers share 1/4 each, even where exp(-1000) is
    0."""
    found = metrics.normalised_probability([math.log(2), 1000.0], [[math.log(4)] * 2, [1000.0] * 3])
    assert found == pytest.approx([0.5, 0.25])


@pytest.mark.parametrize(
    ("variant", "forget", "other"),
    [
        (
            "tofu_official",
            [1 / 4, 1 / 4, 1],
            [3 / 4, 0, 0],
        ),  # min(R, 1/R); max(0, 1 - R), R geometric
        ("tofu_intrain", [5 / 16, 1 / 4, 1], [11 / 16, 0, 0]),  # the same, R arithmetic
        ("ou", [1 / 4, 1 / 4, 1], [3 / 4, 0, 0]),  # as official, to the 1e-10 it adds
        ("ou_prob_mean", [4 / 5, 1 / 5, 1 / 2], [4 / 5, 1 / 5, 1 / 2]),  # P_para / (P_para + G)
        (
            "grun",
            [11 / 16, 0, 0],
            [11 / 16, 0, 0],
        ),  # max(0, 1 - R), R arithmetic, on the forget set too
    ],
)
def test_truth_ratio_variants(variant, forget, other):
    """The table in this module's docstring, put into each variant's formula."""
    ratio = metrics.truth_ratio_function(variant)
    assert ratio(PARAPHRASE, PERTURBED, True) == pytest.approx(forget, abs=1e-8)
    assert ratio(PARAPHRASE, PERTURBED, False) == pytest.approx(other, abs=1e-8)


def test_truth_ratio_of_a_broken_model_is_the_limit_of_the_formula():
    """A_para = 800 and A_pert = 1: R = e^799, which overflows; min(R, 1/R) = 0 and max(0, 1 - R) =
    0. The other way round R = e^-799: 0 and 1."""
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        for variant in ("tofu_official", "tofu_intrain"):
            ratio = metrics.truth_ratio_function(variant)
            assert ratio([800.0, 1.0], [[1.0, 1.0], [800.0, 800.0]], True) == pytest.approx([0, 0])
            assert ratio([800.0, 1.0], [[1.0, 1.0], [800.0, 800.0]], False) == pytest.approx([0, 1])


def test_an_unknown_truth_ratio_lists_the_known_ones():
    with pytest.raises(ValueError, match="tofu_official, tofu_intrain, ou, ou_prob_mean, grun"):
        metrics.truth_ratio_function("tofu")


def test_model_utility_is_the_harmonic_mean_of_nine():
    """Eight ones and a half: 9 / (8 + 2) = .9. One zero makes it zero."""
    assert metrics.model_utility([1.0] * 8 + [0.5]) == pytest.approx(0.9)
    assert metrics.model_utility([1.0] * 8 + [0.0]) == 0.0
    with pytest.raises(ValueError, match="9 numbers, 8 came"):
        metrics.model_utility([1.0] * 8)


def test_forget_quality_of_small_samples():
    """Two fully separated samples of 3: D = 1, which 2 of the C(6, 3) = 20 orderings reach, so p =
    .1. A sample against itself: D = 0, p = 1. Ranks decide alone, so exp of both samples changes
    nothing."""
    low = [0.1, 0.2, 0.3]
    high = [1.1, 1.2, 1.3]
    apart = {"forget_quality": 0.1, "forget_quality_log10p": -1.0, "forget_quality_statistic": 1.0}
    assert metrics.forget_quality(low, high) == pytest.approx(apart)
    assert metrics.forget_quality(np.exp(low), np.exp(high)) == pytest.approx(apart)
    same = {"forget_quality": 1.0, "forget_quality_log10p": 0.0, "forget_quality_statistic": 0.0}
    assert metrics.forget_quality(low, low) == pytest.approx(same)


def test_forget_quality_below_the_smallest_float_has_no_logarithm():
    """2000 rows fully apart (forget50): p = 2 / C(4000, 2000), about 1e-1202, is 0 as a float."""
    found = metrics.forget_quality(np.arange(2000), np.arange(2000) + 5000)
    assert found == {
        "forget_quality": 0.0,
        "forget_quality_log10p": None,
        "forget_quality_statistic": 1.0,
    }


def test_gate_statistics():
    """Layer means (.9 + .7)/2 and (.5 + .6)/2; of the last gates only .6 is above .5, as .5 itself
    is not."""
    means, share = metrics.gate_statistics([[0.9, 0.5], [0.7, 0.6]])
    assert means == pytest.approx([0.8, 0.55])
    assert share == 0.5


def test_summary_of_all_sets():
    """forget: P 1/2, truth ratio (1/4 + 1/4 + 1) / 3 = 1/2. retain: P 1/2, R of row 0, 1 - 1/4 =
    3/4. Options: P = .5, P_pert = (.25, .25): probability .5 / 1 = 1/2, R = .25 / .5, truth ratio
    1/2. Utility: ROUGE 1 (three times), then 1/2, 3/4 (retain) and 1/2 four times: 9 / (3 + 2 + 4/3
    + 8) = 27/43."""
    options = [row(perturbed_nll=[math.log(4)] * 2)]
    sets = {
        "forget": [r | {"gates": [0.9, 0.8]} for r in forget_rows()],
        "retain": [row(paraphrase_nll=PARAPHRASE[0], perturbed_nll=PERTURBED[0], gates=[0.2, 0.1])],
        "real_authors": options,
        "world_facts": options,
        "heldout": [row(0, gates=[0.1, 0.7]), row(1, gates=[0.3, 0.1])],
    }
    found = summary.summarise(sets, reference={"forget": forget_rows()})
    expected = {
        "forget_rows": 3,
        "forget_rouge": 1.0,
        "forget_prob": 0.5,
        "forget_truth_ratio": 0.5,
        "forget_gate_open": 1.0,
        "retain_prob": 0.5,
        "retain_truth_ratio": 0.75,
        "retain_gate_open": 0.0,
        "real_authors_prob": 0.5,
        "world_facts_truth_ratio": 0.5,
        "heldout_gate_fpr": 0.5,
        "model_utility": 27 / 43,
        "forget_quality": 1.0,
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert found["heldout_gate"] == pytest.approx([0.2, 0.4])
    assert found["truth_ratio_variant"] == "tofu_official"


def test_what_was_not_measured_is_left_out_and_never_zero():
    """No gates, paraphrases, held-out set or reference: no key of theirs; and no utility without
    all its parts."""
    found = summary.summarise({"forget": [row()], "retain": [row()], "real_authors": [row()]})
    assert set(found) == {
        *(
            "truth_ratio_variant",
            "es_no_match",
            "privacy_score",
            "forget_rows",
            "forget_rouge",
            "forget_prob",
            "retain_rows",
            "retain_rouge",
        ),
        *("retain_prob", "real_authors_rows", "real_authors_rouge"),
    }


@pytest.mark.parametrize(
    ("sets", "complaint"),
    [
        ({"forget": []}, "forget has no rows"),
        ({"forgot": [row()]}, "unknown evaluation sets forgot; known are forget,"),
        ({"retain": [row(), row(1, gates=[0.5])]}, "only 1 of 2 rows have gates"),
        ({"retain": [row(7) | {"answer_nll": math.nan}]}, "row 7: answer_nll is nan"),
        ({"retain": [row(7) | {"rougeL_recall": None}]}, "row 7: rougeL_recall is None"),
    ],
)
def test_rows_that_cannot_be_averaged_honestly_are_refused(sets, complaint):
    with pytest.raises(ValueError, match=complaint):
        summary.summarise(sets)


@pytest.mark.parametrize(
    "change",
    [{"index": 9}, {"question": "another"}, {"answer_tokens": 3}, {"perturbed_nll": [1.0] * 3}],
)
def test_forget_quality_needs_the_same_rows_as_the_reference(change):
    reference = forget_rows()
    for row in reference[1:] if "perturbed_nll" not in change else reference:
        row |= change
    with pytest.raises(
        ValueError, match="differ in index, question or number of answer tokens or wrong answers"
    ):
        summary.summarise({"forget": forget_rows()}, reference={"forget": reference})


def test_reference_rows_are_found_beside_the_run_and_variants_rebuilt_without_a_model(tmp_path):
    """The reference of forget10 is retain90's. The run's ratios are (1/4, 4, 1), the reference's 4
    in all three rows: largest distance 2/3 between the two distributions. GRUN's variant gives
    (11/16 + 0 + 0) / 3 on the forget rows."""
    assert find_retain_split("tofu", "forget05") == "retain95"
    assert find_retain_split("tofu", "full") is None
    model = tmp_path / "authors" / "tiny"
    run = model / "forget10" / "npo-grun-seed42"
    reference = model / "retain90" / "reference-seed42"
    flat = [
        r | {"paraphrase_nll": PARAPHRASE[1], "perturbed_nll": PERTURBED[1]} for r in forget_rows()
    ]
    for path, rows in ((run, forget_rows()), (reference, flat)):
        write_json(path / "config.json", {"benchmark": "authors", "layout": 2})
        write_json(path / "eval" / "forget10" / "forget.json", {"rows": rows})
        (path / "DONE").touch()
    summary.main(["--runs", str(tmp_path), "--truth_ratio", "grun"])
    found = read_json(run / "eval" / "forget10" / "summary.json")
    assert found["reference"] == "retain90/reference-seed42"
    assert found["forget_quality_statistic"] == pytest.approx(2 / 3)
    assert (found["truth_ratio_variant"], found["forget_truth_ratio"]) == (
        "grun",
        pytest.approx(11 / 48),
    )


def test_one_diverged_run_is_reported_and_does_not_stop_the_others(tmp_path):
    for name, nll in (("broken", None), ("sound", 1.0)):
        path = tmp_path / "authors" / "tiny" / "forget10" / name
        write_json(path / "config.json", {"benchmark": "authors", "layout": 2})
        write_json(
            path / "eval" / "forget10" / "forget.json", {"rows": [row() | {"answer_nll": nll}]}
        )
        (path / "DONE").touch()
    with pytest.raises(ValueError, match="broken.*answer_nll is None"):
        summary.main(["--runs", str(tmp_path)])
    written = [path.parents[2].name for path in tmp_path.rglob("summary.json")]
    assert written == ["sound"]

"""OpenUnlearning's aggregates, by hand."""

import pytest

from eval.metrics import aggregates


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
    numbers = aggregates.aggregate(run | attacks | {"mia_mink_auc": 0.9}, attacks, target)
    assert numbers == pytest.approx(
        {"memorisation": 0.8, "privacy": 0.5, "utility": 0.5, "overall": 4 / 7}
    )
    better = aggregates.aggregate(run | {"model_utility": 1, "fluency_ours": 1}, None, target)
    # no reference: no privacy, and no overall
    assert better == pytest.approx({"memorisation": 0.8, "utility": 1.0})
    assert aggregates.aggregate({"forget_es": 0}, None, None) == {}
    assert aggregates.aggregate(run | {"forget_em": 1}, None, None)["memorisation"] == 0


def test_classifiers_fluency_counts_where_it_was_measured():
    summary = {"model_utility": 0.5, "fluency": 0.5, "fluency_ours": 0.1}
    assert aggregates.unscaled_utility(summary) == pytest.approx(0.5)


def test_unknown_privacy_score_lists_the_known_ones():
    with pytest.raises(ValueError, match="choose one of bounded, relative"):
        aggregates.aggregate({}, None, None, "closest")


def test_formula_names_the_score_and_the_fluency():
    for score, formula in aggregates.FORMULAS.items():
        line = aggregates.formula(score, "fluency (ours)")
        assert formula in line and "fluency (ours)" in line

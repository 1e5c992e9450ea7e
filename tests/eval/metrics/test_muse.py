"""MUSE's metrics, by hand."""

import pytest

from eval.metrics import muse


def test_rouge_f1_stems_in_mode_ou_alone():
    """ "the bridges opened" against "the bridge opened late": common "the opened" = 2 of 3 and of
    4: F1 = 2 * 2 / 7; stemmed 3: 6 / 7."""
    generation, truth = "The bridges opened", "the bridge opened late"
    assert muse.rouge_f1(generation, truth) == pytest.approx(4 / 7)
    assert muse.rouge_f1(generation, truth, "ou") == pytest.approx(6 / 7)
    assert muse.rouge_f1("", truth) == 0


def test_cut_answer_ends_at_the_next_question():
    assert muse.cut_answer(" Paris\n\nQuestion: more") == "Paris"
    assert muse.cut_answer("Paris\nQuestion: more") == "Paris"
    assert muse.cut_answer("Paris Question: x") == "Paris"


def test_min_k_leaves_the_last_token_out_in_mode_ou():
    """5 tokens: int(.4 * 5) = 2 lowest, -(-9 - 4) / 2; without the last, int(.4 * 4) = 1. Two
    tokens: 1 at least, where upstream has 0."""
    logprobs = [-1.0, -2.0, -4.0, -1.0, -9.0]
    assert muse.min_k([logprobs]).tolist() == [6.5]
    assert muse.min_k([logprobs], "ou").tolist() == [4.0]
    assert muse.min_k([[-1.0, -2.0]]).tolist() == [2.0]


def test_auc_is_low_where_the_forget_set_is_recognised():
    """AUC = P(a holdout text looks likelier than a forget text)."""
    likely = [[-0.1] * 5, [-0.2] * 5]
    unlikely = [[-3.0] * 5, [-4.0] * 5]
    assert muse.auc(likely, unlikely) == 0
    assert muse.auc(unlikely, likely) == 1
    assert muse.auc(likely, likely) == 0.5


def test_privleak_is_relative_to_the_retrained_model():
    """Every text recognised: -100. As the retrained model: 0. AUC 1 against .5: +100."""
    published = muse.AUC_RETRAIN["muse-news"]
    assert muse.privleak(0, 0.5) == pytest.approx(-100)
    assert muse.privleak(1, 0.5) == pytest.approx(100)
    assert muse.privleak(0.4772, published) == pytest.approx(0, abs=1e-6)
    assert muse.privleak(0.002, 0.4772) == pytest.approx((0.002 - 0.4772) / 0.4772 * 100)


def test_bootstrap_interval_is_the_same_every_time():
    low, high = muse.interval([0.0, 1.0] * 50)
    assert low < 0.5 < high and (low, high) == muse.interval([0.0, 1.0] * 50)
    assert muse.interval([0.25] * 4) == (0.25, 0.25)

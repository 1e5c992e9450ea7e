"""Membership attacks by hand: five tokens of a vocabulary of four, then AUROC and PrivLeak.

p = (1/2, 1/4, 1/8, 1/8) at every place, so in units of log 2: mu = -(1/2 + 2/4 + 3/8 + 3/8) =
-1.75, sigma^2 = 1/2 + 4/4 + 9/8 + 9/8 - 1.75^2 = .6875, and z = .9045 (p = 1/2), -.3015 (1/4),
-1.5076 (1/8)."""

import math
import zlib

import numpy as np
import pytest
import torch

from eval.metrics import membership
from eval.report.question_metrics import Evaluation, membership_attacks
from eval.scoring.likelihood import compute_statistics, split_statistics
from eval.scoring.set_file import shorten_floats

LOG2 = math.log(2)
P = [1 / 2, 1 / 4, 1 / 8, 1 / 8]


def row(labels, answer="Lune Prize", p=None):
    """What the likelihood part writes of an answer whose tokens have these ids; EOS, the last, has
    probability 1."""
    logits = torch.tensor([p or P] * len(labels)).log()
    eos = torch.tensor([[0.0], [1.0], [0.0], [0.0]])
    statistics = torch.cat([compute_statistics(logits, torch.tensor(labels)), eos], 1)
    (tokens,) = split_statistics(statistics, [len(labels) + 1])
    return {
        "index": 0,
        "question": "?",
        "answer": answer,
        "answer_nll": tokens.nll_sum,
        "answer_tokens": len(tokens),
        "gradient_norm": 1.5,
        "answer_logprobs": shorten_floats(tokens.logprobs),
        "answer_logp_mean": shorten_floats(tokens.mean),
        "answer_logp_variance": shorten_floats(tokens.variance),
    }


def test_token_statistics_of_four_tokens():
    statistics = compute_statistics(torch.tensor([P, P]).log() + 3.0, torch.tensor([0, 2]))
    expected = [[-LOG2, -3 * LOG2], [1, 0], [-1.75 * LOG2] * 2, [0.6875 * LOG2**2] * 2]
    torch.testing.assert_close(statistics, torch.tensor(expected), atol=1e-6, rtol=1e-5)


def test_token_statistics_of_an_impossible_token():
    """Half each on two tokens, none on the others: mu = -log 2, sigma^2 = 0, not 0 * inf."""
    statistics = compute_statistics(
        torch.tensor([[0.0, 0.0, -math.inf, -math.inf]]), torch.tensor([1])
    )
    torch.testing.assert_close(statistics, torch.tensor([[-LOG2], [0.0], [-LOG2], [0.0]]))


def test_loss_zlib_and_min_k():
    """Tokens of probability 1/2, 1/8, 1/4, 1/2, 1/2 and EOS (1): S = 8 log 2 over 6 tokens. N = 5,
    so Min-K takes the lowest 2 of -1, -3, -2, -1, -1: 2.5 log 2; Min-K++ the lowest 2 of z: (1.5076
    + .3015) / 2 = .9045."""
    rows = [row([0, 2, 1, 0, 0])]
    assert membership.loss(rows) == pytest.approx([8 / 6 * LOG2])
    assert membership.zlib_ratio(rows) == pytest.approx(
        [8 / 6 * LOG2 / len(zlib.compress(b"Lune Prize"))]
    )
    assert membership.min_k(rows) == pytest.approx([2.5 * LOG2])
    assert membership.min_k_plus(rows) == pytest.approx([(1.25 + 0.25) / 2 / math.sqrt(0.6875)])
    assert membership.gradient_norm(rows) == [1.5]


def test_lowest_mean_takes_at_least_one_token():
    """1 and 2 tokens: int(.4 N) = 0, so one; 4: one; 5: two."""
    for n, lowest in ((1, 1.0), (2, 1.0), (4, 1.0), (5, 1.5)):
        assert membership.lowest_mean(np.arange(n, 0, -1.0)) == lowest
    with pytest.raises(ValueError, match="no token besides its end"):
        membership.lowest_mean(np.array([]))


def test_min_k_plus_of_a_uniform_token_is_zero():
    """sigma^2 = 0 is raised to 1e-6: z = 0 / 1e-3."""
    assert membership.min_k_plus([row([3, 1], p=[1 / 4] * 4)]) == pytest.approx([0.0], abs=1e-3)


def test_auroc_by_hand():
    """Pairs (member, other) of {1, 2} and {2, 3}: 1, 1, 1/2, 1: 3.5 of 4. Apart either way: 1 and
    0."""
    assert membership.auroc(np.array([1, 2]), np.array([2, 3])) == 0.875
    assert membership.auroc(np.array([1, 2]), np.array([5, 3])) == 1
    assert membership.auroc(np.array([5, 3]), np.array([1, 2])) == 0


def test_reference_attack_subtracts_the_references_loss():
    """A - A_ref: members 1 - 1 = 0, 2 - 1 = 1; others 3 - 1 = 2, 2 - 2 = 0: pairs 1, 1, 1/2, 0 of 4
    = .625."""

    def rows(*values):
        return [{"answer": "a", "answer_nll": float(value), "answer_tokens": 1} for value in values]

    aurocs = membership.attack(rows(1, 2), rows(3, 2), (rows(1, 1), rows(1, 2)))
    assert aurocs["mia_reference_auc"] == 0.625 and aurocs["mia_loss_auc"] == 0.875
    # attacks whose numbers the rows do not hold are left out
    assert set(aurocs) == {"mia_loss_auc", "mia_zlib_auc", "mia_reference_auc"}
    assert "mia_reference_auc" not in membership.attack(rows(1, 2), rows(3, 2))


def test_every_attack_recognises_likelier_members():
    """Members say the likeliest token, others the rarest: 1 everywhere; GradNorm is the same for
    all: .5."""
    members = [row([0, 0, 0])] * 3
    others = [row([2, 2, 2])] * 2
    aurocs = membership.attack(members, others)
    assert aurocs == {
        f"mia_{name}_auc": 0.5 if name == "gradnorm" else 1.0
        for name in membership.NAMES
        if name != "reference"
    }


SIGNS = [
    (1, 0.5, -100),
    (0.75, 0.5, -50),
    (0.5, 0.5, 0),
    (0.25, 0.5, 50),
    (0, 0.5, 100),
    (1, 0.8, -100),
    (0.6, 0.8, 100),
]


@pytest.mark.parametrize(("auc", "retain", "leak"), SIGNS)
def test_privleak_signs(auc, retain, leak):
    """Negative: members still recognised, under-unlearned; positive: recognised by being too
    unlikely, over-unlearned. (.4 - .2) / .2 = 100 %."""
    assert membership.privleak(auc, retain) == pytest.approx(leak, abs=1e-6)


def test_privleak_without_a_reference_takes_a_half():
    assert membership.privleak(0.75) == pytest.approx(-50)


def test_membership_attacks_are_in_the_summary():
    """The run recognises its members, the reference does not: AUROC 1 against .5, PrivLeak (0 - .5)
    / .5."""
    run = {"forget": [row([0, 0])], "nonmember": [row([2, 2])]}
    reference = {"forget": [row([1, 1])], "nonmember": [row([1, 1])]}
    aurocs = membership_attacks(Evaluation(run, reference=reference))
    assert aurocs["mia_mink_auc"] == aurocs["mia_reference_auc"] == 1
    assert aurocs["privleak"] == pytest.approx(-100)
    assert "privleak" not in membership_attacks(Evaluation(run))
    assert membership_attacks(Evaluation({"forget": run["forget"]})) == {}
    with pytest.raises(ValueError, match="other numbers of members"):
        membership_attacks(Evaluation(run, reference=reference | {"forget": [row([1, 1])] * 2}))

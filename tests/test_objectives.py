"""Objectives, gate loss and batch arithmetic against numbers derived by hand in each docstring."""

import math

import pytest
import torch

from grun.tuner import gate_loss
from unlearn.batches import Said
from unlearn.objectives import OBJECTIVES, retain_kl, retain_nll


def said(probabilities: list[list[float]], **more) -> Said:
    """Two-token vocabulary; each inner list holds one example's probabilities of its true tokens (label 0)."""
    flat = torch.tensor([p for row in probabilities for p in row])
    logits = torch.stack([flat, 1 - flat], 1).log().requires_grad_()
    rows = torch.tensor([b for b, row in enumerate(probabilities) for _ in row])
    return Said(logits, torch.zeros(len(flat), dtype=torch.long), rows, len(probabilities), **more)


RAGGED = [[0.5, 0.25], [0.125]]  # l = ln2 * (1, 2 | 3): S = (3, 3) ln2, A = (1.5, 3) ln2, CE_tok = 2 ln2
LN2 = math.log(2)


def test_ragged_reductions():
    """CE_tok = (1 + 2 + 3) ln2 / 3 tokens = 2 ln2, not the mean of sequence means (1.5 + 3)/2 = 2.25 ln2."""
    s = said(RAGGED)
    assert s.nll_sum.tolist() == pytest.approx([3 * LN2, 3 * LN2])
    assert s.nll_mean.tolist() == pytest.approx([1.5 * LN2, 3 * LN2])
    assert OBJECTIVES["gd"].term(s).item() == pytest.approx(-2 * LN2)
    assert retain_nll(s).item() == pytest.approx(2 * LN2)
    assert retain_nll(s, "sequence_sum").item() == pytest.approx(3 * LN2)


def test_npo_at_the_reference():
    """theta = ref: (2 / 0.1) ln 2 = 13.8629, and d/dS_b = -1/B; here B = 2, and dS/dlogit_true = p - 1 on each token."""
    s = said(RAGGED, reference_nll=torch.tensor([3 * LN2, 3 * LN2]))
    value = OBJECTIVES["npo"].term(s, beta=0.1)
    assert value.item() == pytest.approx(13.8629, abs=1e-4)
    (gradient,) = torch.autograd.grad(value, s.logits)
    assert gradient[:, 0].tolist() == pytest.approx([-0.5 * (p - 1) for p in (0.5, 0.25, 0.125)], rel=1e-5)


def test_npo_away_from_the_reference():
    """S - S_ref = (ln2, -ln2), beta = 1: sigma(ln2) = 2/3, sigma(-ln2) = 1/3; -2 (ln 2/3 + ln 1/3) / 2 = ln(9/2)."""
    s = said(RAGGED, reference_nll=torch.tensor([2 * LN2, 4 * LN2]))
    assert OBJECTIVES["npo"].term(s, beta=1.0).item() == pytest.approx(math.log(4.5), rel=1e-5)


def test_idkpo():
    """beta = 1; refusal gained ln4 (S_ref - S = 2 ln2), true answer lost ln2 (S_ref - S = -ln2): gain 3 ln2,
    sigma = 8/9, value 2 ln(9/8). At theta = ref it is (2/beta) ln 2."""
    forget = said([[0.25]], reference_nll=torch.tensor([LN2]))
    refusal = said([[0.5]], reference_nll=torch.tensor([3 * LN2]))
    assert OBJECTIVES["idkpo"].term(forget, refusal, beta=1.0).item() == pytest.approx(2 * math.log(9 / 8), rel=1e-5)
    same = said([[0.25]], reference_nll=torch.tensor([2 * LN2]))
    assert OBJECTIVES["idkpo"].term(same, same, beta=0.1).item() == pytest.approx(20 * LN2, rel=1e-5)


def test_retain_kl():
    """KL((1/2, 1/2) || (1/4, 3/4)) = 1/2 ln 2 + 1/2 ln(2/3) = 1/2 ln(4/3); 0 at theta = ref."""
    s = said([[0.25]], reference_logits=torch.tensor([[0.5, 0.5]]).log())
    assert retain_kl(s).item() == pytest.approx(0.5 * math.log(4 / 3), rel=1e-5)
    assert retain_kl(said([[0.25]], reference_logits=torch.tensor([[0.25, 0.75]]).log())).item() == pytest.approx(0, abs=1e-7)


def test_parts_add_up_to_the_whole():
    """Means divide by the counts of the whole batch, so the values of its two examples add up to the batch's value."""

    class Whole:
        def __init__(self, n):
            self.ids, self.scored_from = list(range(n + 1)), 1

    whole = [Whole(2), Whole(1)]
    parts = [said([row]).part_of(whole) for row in RAGGED]
    assert sum(OBJECTIVES["ga"].term(p).item() for p in parts) == pytest.approx(OBJECTIVES["ga"].term(said(RAGGED)).item())
    with_reference = [said([row], reference_nll=torch.tensor([LN2])).part_of(whole) for row in RAGGED]
    together = said(RAGGED, reference_nll=torch.tensor([LN2, LN2]))
    assert sum(OBJECTIVES["npo"].term(p, beta=0.5).item() for p in with_reference) == pytest.approx(OBJECTIVES["npo"].term(together, beta=0.5).item())


def test_gate_loss():
    """One layer; forget logit 0 -> ln 2, retain logits (9, 0) -> 9.0001 + ln 2; mean of three. The gradient on the saturated retain
    gate is 0.9999 / 3 with logits, and 0 with upstream's bfloat16 probabilities, where BCE is clamped to 100."""
    forget, retain = said([[0.5]]), said([[0.5], [0.5]])
    forget.gates, retain.gates = torch.zeros(1, 1), torch.tensor([[9.0, 0.0]], requires_grad=True)
    value = gate_loss(forget, retain)
    assert value.item() == pytest.approx((9.0001 + 2 * LN2) / 3, abs=1e-4)
    assert torch.autograd.grad(value, retain.gates)[0][0, 0].item() == pytest.approx(0.9999 / 3, abs=1e-4)
    upstream = gate_loss(forget, retain, "bce_prob")
    assert upstream.item() == pytest.approx((100 + 2 * LN2) / 3, abs=1e-2)
    assert torch.autograd.grad(upstream, retain.gates)[0][0, 0].item() == 0

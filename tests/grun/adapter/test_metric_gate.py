"""The closed-form gate: covariance, whitening, distances and threshold, by hand."""

import math

import pytest
import torch

from grun.adapter.metric_gate import (
    MetricGate,
    fit_metric_gate,
    threshold,
    whitener,
    within_covariance,
)

# two groups about (0, 0) and (10, 0); within each, x varies by +-2 and y by +-1
STATES = torch.tensor(
    [
        [2.0, 1.0],
        [-2.0, -1.0],
        [2.0, -1.0],
        [-2.0, 1.0],
        [12.0, 1.0],
        [8.0, -1.0],
        [12.0, -1.0],
        [8.0, 1.0],
    ]
)
GROUPS = ["a"] * 4 + ["b"] * 4


def test_covariance_within_groups_ignores_what_tells_them_apart():
    """N - K = 6; sum of x^2 = 8 * 4 = 32, of y^2 = 8, of xy = 0. So C = diag(32/6, 8/6); with
    shrinkage 1/2 and tr(C)/2 = 20/6: diag(26/6, 14/6).
    """
    torch.testing.assert_close(
        within_covariance(STATES, GROUPS, 0.0),
        torch.diag(torch.tensor([32 / 6, 8 / 6], dtype=torch.float64)),
    )
    torch.testing.assert_close(
        within_covariance(STATES, GROUPS, 0.5),
        torch.diag(torch.tensor([26 / 6, 14 / 6], dtype=torch.float64)),
    )


def test_groups_of_one_are_refused():
    with pytest.raises(ValueError, match="several contexts"):
        within_covariance(STATES, range(8))


def test_whitening():
    """diag(4, 1/4)^-1/2 = diag(1/2, 2); any C becomes the identity."""
    torch.testing.assert_close(
        whitener(torch.diag(torch.tensor([4.0, 0.25]))), torch.diag(torch.tensor([0.5, 2.0]))
    )
    mixed = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(
        whitener(mixed) @ mixed @ whitener(mixed), torch.eye(2, dtype=torch.float64)
    )


def test_distances_and_logits():
    """whiten = diag(1/2, 2), centroids (0, 0) and (5, 0), tau 2. h = (4, 1) -> (2, 2): sqrt 8 from
    the first, sqrt 13 from the second; h = (10, 0) -> (5, 0): distance 0, logit 2; h = (3, .5) ->
    (1.5, 1): sqrt(3.25) = 1.803, which fires.
    """
    gate = MetricGate(
        0, torch.diag(torch.tensor([0.5, 2.0])), torch.tensor([[0.0, 0.0], [5.0, 0.0]]), 2.0
    )
    h = torch.tensor([[[4.0, 1.0], [10.0, 0.0], [3.0, 0.5]]])
    torch.testing.assert_close(gate(h), 2 - torch.tensor([[math.sqrt(8), 0.0, math.sqrt(3.25)]]))


def test_threshold_is_the_lower_of_two_quantiles():
    """201 negatives 0, .005, .. 1: the 99.5 % quantile is place .995 * 200 = 199, value .995, so
    one of 201 lies above it. Forget scores 1 .. 101: 1 % quantile is place 1, value 2, which is
    higher, so .995 stands; forget scores .5 .. 1.5 give .51, and that is lower.
    """
    negatives = torch.arange(201) * 0.005
    assert threshold(negatives, torch.arange(1.0, 102.0)) == pytest.approx(0.995)
    assert threshold(negatives, 0.5 + torch.arange(101) * 0.01) == pytest.approx(0.51)


def test_fit_takes_the_forget_groups_centroids():
    """Group b's mean is (10, 0): there the logit is -0; at (0, 0), group a's mean, it is minus the
    whitened distance 10 / sd_x.
    """
    gate = fit_metric_gate(3, STATES, GROUPS, ["b"])
    variance = within_covariance(STATES, GROUPS)[0, 0].item()
    logits = gate(torch.tensor([[10.0, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(
        logits, torch.tensor([0.0, -10 / math.sqrt(variance)]), atol=1e-5, rtol=1e-5
    )
    assert gate.layer == 3 and gate.centroids.shape == (1, 1)  # two groups differ in one direction

"""The closed-form gate: covariance, whitening, distances and the threshold rule, on numbers small
enough to do by hand; and its fit to a forget set."""

import math
from dataclasses import replace

import pytest
import torch

from grun.adapter.metric_gate import (
    MetricGate,
    fit_metric_gate,
    threshold,
    whitener,
    within_covariance,
)
from grun.gate_fitting.contexts import ContextSampler, find_name_token
from grun.gate_fitting.fit import fit_gate, read_states, score_prompts
from tests.toy import build_model, build_tokenizer
from unlearn.benchmarks.opening import open_benchmark
from unlearn.language_model.prompts import PromptEncoder

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
    shrinkage 1/2 and tr(C)/2 = 20/6: diag(26/6, 14/6)."""
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
    (1.5, 1): sqrt(3.25) = 1.803, which fires."""
    gate = MetricGate(
        0, torch.diag(torch.tensor([0.5, 2.0])), torch.tensor([[0.0, 0.0], [5.0, 0.0]]), 2.0
    )
    h = torch.tensor([[[4.0, 1.0], [10.0, 0.0], [3.0, 0.5]]])
    torch.testing.assert_close(gate(h), 2 - torch.tensor([[math.sqrt(8), 0.0, math.sqrt(3.25)]]))


def test_threshold_is_the_lower_of_two_quantiles():
    """201 negatives 0, .005, .. 1: the 99.5 % quantile is place .995 * 200 = 199, value .995, so
    one of 201 lies above it. Forget scores 1 .. 101: 1 % quantile is place 1, value 2, which is
    higher, so .995 stands; forget scores .5 .. 1.5 give .51, and that is lower."""
    negatives = torch.arange(201) * 0.005
    assert threshold(negatives, torch.arange(1.0, 102.0)) == pytest.approx(0.995)
    assert threshold(negatives, 0.5 + torch.arange(101) * 0.01) == pytest.approx(0.51)


def test_fit_takes_the_centroids_of_the_forget_groups_only():
    """Group b's mean is (10, 0): there the logit is -0; at (0, 0), group a's mean, it is minus the
    whitened distance 10 / sd_x."""
    gate = fit_metric_gate(3, STATES, GROUPS, ["b"])
    variance = within_covariance(STATES, GROUPS)[0, 0].item()
    found = gate(torch.tensor([[10.0, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(
        found, torch.tensor([0.0, -10 / math.sqrt(variance)]), atol=1e-5, rtol=1e-5
    )
    assert gate.layer == 3 and gate.centroids.shape == (1, 1)  # two groups differ in one direction


def test_where_a_name_stands(prompt_encoder):
    """In the prompt its first place; given an answer its last one there, so that the gate learns
    what the name looks like in an answer."""
    question = "Did Ada Low know Ada Low?"
    answer = "Yes, Ada Low did."
    ids = prompt_encoder.tokenizer(prompt_encoder.answered(question, answer))["input_ids"]
    ends = [
        end
        for end in range(len(ids))
        if prompt_encoder.tokenizer.decode(ids[: end + 1]).endswith("Ada Low")
    ]
    assert (
        len(ends) == 3
        and find_name_token(prompt_encoder, question, "Ada Low") == ends[0]
        and find_name_token(prompt_encoder, question, "Ada Low", answer) == ends[2]
    )
    assert find_name_token(prompt_encoder, question, "Bo Ray") is None


def test_fit_on_entities():
    """Two forget names, each written in full, in small letters and as a last name alone, make six
    centroids; names swapped from known people are nobody's and never a held-out author's; the rule
    keeps 99 % of the plain forget questions; without any name in the data each row is its own
    group, keyed by its last prompt token."""
    source = open_benchmark("authors", authors=20, heldout=4)
    tokenizer = build_tokenizer([e.question for e in source.examples("full")])
    prompt_encoder = PromptEncoder(tokenizer)
    model = build_model(tokenizer, layers=2, strength=1)
    forget = source.examples("forget10")
    retain = source.unlearning_retain("forget10")
    prompts = ContextSampler(prompt_encoder, forget, retain, "token", 0)
    swapped = prompts.swap_names(30)
    held = {e.entity for e in source.examples("heldout")}
    real = {e.entity for e in forget + retain}
    assert len(swapped) == 30 and not set(swapped) & (real | held)
    assert not {name.split()[-1] for name in swapped} & {
        name.split()[-1] for name in [*prompts.validation, *held]
    }
    gate, found = fit_gate(model, prompt_encoder, forget, retain, 0)
    plain = score_prompts(
        gate,
        read_states(model, 0, [prompt_encoder.prompt_ids(e.question) for e in forget]),
        "token",
    )
    assert (
        gate.centroids.shape == (6, 32)
        and (plain > 0).float().mean() >= 0.95
        and 0.8 < found["gate_forget_fires"] <= 1
    )
    nameless = (
        [replace(e, entity=None) for e in forget[:4]],
        [replace(e, entity=None) for e in retain[:40]],
    )
    assert fit_gate(model, prompt_encoder, *nameless, 0, reads="last")[0].centroids.shape == (4, 32)

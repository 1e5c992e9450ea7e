"""A trained gate with a calibrated threshold."""

from dataclasses import asdict, replace

import torch

from grun.engines.cached import CachedEngine
from grun.gate_fitting.training import calibrate, pairs_for, tag_of
from grun.inference.hooks import AdapterHooks
from grun.options import GrunPlusOptions
from tests.grun.adapter_cases import build_adapter
from tests.grun.plus_cases import generate
from unlearn.benchmarks.opening import open_benchmark
from unlearn.training.sampler import ForgetRetainSampler


def test_calibrated_trained_gate(model, prompt_encoder):
    """A fifth of the retain names sets a threshold per layer, below which nothing is edited."""
    options = GrunPlusOptions(gate_threshold="calibrated", edit_at="answer_on")
    benchmark = open_benchmark("authors", authors=20, heldout=0)
    forget = benchmark.examples("forget10")
    retain = benchmark.unlearning_retain("forget10")
    sampler = ForgetRetainSampler(forget, retain, benchmark.refusals, 4, 0)
    sampler, held_out = pairs_for(options, sampler, 42)
    assert len(held_out) == 40
    assert not {e.entity for e in held_out} & {e.entity for e in sampler.retain}
    policy = asdict(options.policy(tag_of(prompt_encoder)))
    adapter = build_adapter(model, edit_policy=policy).requires_grad_(False)
    engine = CachedEngine(model, adapter)
    calibrate(adapter, engine, prompt_encoder, options, sampler.forget, held_out)
    taus = adapter.edit_policy.taus
    assert set(taus) == {"1", "3"} and adapter.config.edit_policy["taus"] == taus
    adapter.edit_policy = replace(adapter.edit_policy, taus={"1": 1e9, "3": 1e9})
    base = generate(model, prompt_encoder)
    with AdapterHooks(model, adapter):
        assert torch.equal(generate(model, prompt_encoder), base)

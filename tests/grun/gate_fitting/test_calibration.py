"""A trained gate with a calibrated threshold."""

from dataclasses import asdict, replace

import torch

from grun.adapter.edit_policy import EditPolicy
from grun.engines.cached import CachedEngine
from grun.gate_fitting.answer_tag import find_answer_tag
from grun.gate_fitting.calibration import calibrate_gate, hold_out_validation
from grun.inference.hooks import AdapterHooks
from tests.grun.adapter_cases import build_adapter
from tests.grun.plus_cases import generate
from unlearn.benchmarks.opening import open_benchmark
from unlearn.training.sampler import ForgetRetainSampler


def test_calibrated_gate_has_a_threshold_per_layer(model, prompt_encoder):
    """It is set on a fifth of the retain names, and below it nothing is edited."""
    benchmark = open_benchmark("authors", authors=20, heldout=0)
    forget = benchmark.examples("forget10")
    retain = benchmark.unlearning_retain("forget10")
    sampler = ForgetRetainSampler(forget, retain, benchmark.refusals, 4, 0)
    sampler, validation = hold_out_validation(sampler, 42)
    assert len(validation) == 40
    assert not {e.entity for e in validation} & {e.entity for e in sampler.retain}
    tag = find_answer_tag(prompt_encoder)
    policy = EditPolicy(at="answer_on", threshold="calibrated", tag=tag)
    adapter = build_adapter(model, edit_policy=asdict(policy)).requires_grad_(False)
    engine = CachedEngine(model, adapter)
    shares = calibrate_gate(adapter, engine, prompt_encoder, forget, validation, 0.005)
    taus = adapter.edit_policy.taus
    assert set(taus) == {"1", "3"} and adapter.config.edit_policy["taus"] == taus
    assert shares.keys() == {"gate_validation_fires", "gate_forget_fires"}
    adapter.edit_policy = replace(adapter.edit_policy, taus={"1": 1e9, "3": 1e9})
    base = generate(model, prompt_encoder)
    with AdapterHooks(model, adapter):
        assert torch.equal(generate(model, prompt_encoder), base)

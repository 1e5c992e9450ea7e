"""The cached engine against the pyvene path, in float32 on random models.

Losses, gradients, states and trained adapters are the same.
"""

from dataclasses import replace

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DeepseekV2Config,
    DeepseekV3Config,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)

from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.engines.cached import CachedEngine
from grun.engines.pyvene import PyveneEngine
from grun.engines.tuner import GrunTuner
from tests.toy import objective_parameters
from unlearn.language_model.batches import pad
from unlearn.language_model.prompts import Encoded
from unlearn.training.objectives import OBJECTIVES, retain_nll

V = 61
D = 32
L = 5
GRADIENTS = (
    1e-5 if torch.__version__ >= "2.13" else 3e-5
)  # torch 2.11 rounds Gemma 2's soft caps differently
COMMON = {
    "vocab_size": V,
    "hidden_size": D,
    "intermediate_size": 48,
    "num_hidden_layers": L,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
}
# keys of 8 + 4 numbers a head, values of 6; blocks 2 to 4 are mixtures of experts
LATENT = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 6,
    "first_k_dense_replace": 2,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
}
CONFIGS = {
    "llama": LlamaConfig(**COMMON, num_key_value_heads=2, tie_word_embeddings=True),
    "mistral": MistralConfig(**COMMON, num_key_value_heads=2, sliding_window=6),
    "qwen2": Qwen2Config(**COMMON, num_key_value_heads=2),
    "qwen3": Qwen3Config(**COMMON, num_key_value_heads=2, head_dim=16),
    "gemma2": Gemma2Config(**COMMON, num_key_value_heads=2, head_dim=8, sliding_window=6),
    "gemma3": Gemma3TextConfig(**COMMON, num_key_value_heads=2, head_dim=8, sliding_window=6),
    "phi3": Phi3Config(**COMMON, num_key_value_heads=2),
    "olmo2": Olmo2Config(**COMMON, num_key_value_heads=2),
    "deepseek_v2": DeepseekV2Config(**COMMON, **LATENT),
    "deepseek_v3": DeepseekV3Config(**COMMON, **LATENT, n_group=2, topk_group=1),
    "gpt_oss": GptOssConfig(
        **COMMON, num_key_value_heads=2, head_dim=8, sliding_window=6, num_local_experts=4
    ),
    "gpt_neox": GPTNeoXConfig(**COMMON),
    "gpt2": GPT2Config(
        vocab_size=V,
        n_embd=D,
        n_layer=L,
        n_head=4,
        n_positions=128,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.2,
    ),
}


def make_model(name):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]).eval().requires_grad_(False)
    return draw_sinks(model)


def draw_sinks(model):
    """The same model; its attention sinks, if it has any, get random numbers instead of zeros."""
    for name, weight in model.named_parameters():
        if name.endswith("sinks"):
            weight.normal_()
    return model


def make_batch(lengths, seed=0):
    """Random examples; lengths = (prompt, answer) tokens."""
    generator = torch.Generator().manual_seed(seed)
    return pad(
        [
            Encoded([1, *torch.randint(3, V, (p + a - 1,), generator=generator).tolist()], p)
            for p, a in lengths
        ],
        0,
    )


FORGET = [(1, 4), (20, 1), (9, 12)]
RETAIN = [(7, 3), (15, 9), (2, 1), (30, 5)]


def take_loss(engine, tuner, objective):
    """An objective, a retain term and the gate loss, with states of the layer above the edits."""
    batches = {"forget": make_batch(FORGET, 1), "retain": make_batch(RETAIN, 3)}
    batches |= {
        name: make_batch([(p, 5) for p, _ in FORGET], seed)
        for name, seed in (("idk", 2), ("alternate", 4))
    }
    reads = OBJECTIVES[objective].reads
    layer = L - 1 if OBJECTIVES[objective].steers else None
    passes = {name: batch for name, batch in batches.items() if name in (*reads, "retain")}
    answers = engine.forward_answers(passes, layer)
    for name in reads:
        frozen = engine.reference_forward(batches[name])
        answers[name] = replace(
            answers[name], reference_nll=frozen.nll_sum, reference_logits=frozen.logits
        )
    parameters = objective_parameters(objective, D)
    term = OBJECTIVES[objective].term(*[answers[name] for name in reads], **parameters)
    return term + retain_nll(answers["retain"]) + sum(tuner.auxiliary_losses(answers).values())


def build_both(model, layers=(1, 3), gate="linear"):
    for kind in (PyveneEngine, CachedEngine):
        adapter = Adapter(model, AdapterConfig(list(layers), 2, gate), seed=4)
        engine = kind(model, adapter)
        yield adapter, engine, GrunTuner(model, adapter, engine, 10.0)


def assert_engines_agree(model, objective, **options):
    (one, by_pyvene, tuner), (other, cached, tuner2) = build_both(model, **options)
    a = take_loss(by_pyvene, tuner, objective)
    b = take_loss(cached, tuner2, objective)
    torch.testing.assert_close(b, a, rtol=1e-5, atol=0)
    expected = torch.autograd.grad(a, list(one.parameters()))
    actual = torch.autograd.grad(b, list(other.parameters()))
    whole = torch.cat([g.flatten() for g in expected]).norm()
    for (name, _), e, f in zip(one.named_parameters(), expected, actual, strict=True):
        assert (e - f).norm() <= GRADIENTS * max(e.norm(), 1e-2 * whole), (
            name,
            (e - f).norm() / e.norm(),
        )


@pytest.mark.parametrize("name", CONFIGS)
def test_engines_agree_on_every_architecture(name):
    """GD's loss and gradients, ragged prompts of 1 to 30 tokens, answers of 1 to 12; sliding
    windows of 6 are shorter than both.
    """
    assert_engines_agree(make_model(name), "gd")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_engines_agree_on_every_objective(objective):
    assert_engines_agree(make_model("llama"), objective)


@pytest.mark.parametrize(
    "options", [{"layers": (4,)}, {"layers": (0, 1, 2, 3, 4)}, {"layers": (2,), "gate": "mlp_3"}]
)
def test_engines_agree_on_layers_and_gates(options):
    """The last block alone (nothing above it), all blocks, one block in the middle."""
    assert_engines_agree(make_model("llama"), "npo", **options)


@pytest.mark.parametrize("name", ["llama", "deepseek_v3", "gpt_oss"])
def test_same_adapter_after_ten_steps(name):
    """AdamW on either engine ends at the same numbers, up to float32 rounding."""
    model = make_model(name)
    trained = []
    for adapter, engine, tuner in build_both(model):
        optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-3, weight_decay=0.0)
        for _ in range(10):
            optimizer.zero_grad()
            take_loss(engine, tuner, "npo").backward()
            optimizer.step()
        trained.append(torch.cat([p.detach().flatten() for p in adapter.parameters()]))
    assert (trained[0] - trained[1]).norm() <= 1e-4 * trained[0].norm()


@pytest.mark.parametrize("name", ["llama", "deepseek_v2", "deepseek_v3", "gpt_oss", "gemma2"])
def test_logits_are_those_of_the_model(name):
    """Also of prompts of one token, which have no prefix, alone and beside others."""
    model = make_model(name)
    adapter = Adapter(model, AdapterConfig([1, 3], 2), seed=4)
    cached, plain = CachedEngine(model, adapter), PyveneEngine(model, adapter)
    for lengths in ([(1, 4), (1, 2)], [(1, 4), (9, 3), (1, 2), (40, 20)]):
        batch = make_batch(lengths)
        expected = plain.reference_forward(batch).logits
        torch.testing.assert_close(
            cached.reference_forward(batch).logits, expected, rtol=1e-5, atol=1e-5
        )


def test_full_cache_changes_nothing():
    """With a size of 0 every example is computed at every step, to the same bits; else once."""
    model = make_model("llama")
    adapter = Adapter(model, AdapterConfig([1, 3], 2), seed=4)
    unbounded = CachedEngine(model, adapter, cache_gb=1)
    bounded = CachedEngine(model, adapter, cache_gb=0)
    batch = make_batch(RETAIN)
    for _ in range(2):
        assert torch.equal(
            unbounded.forward_answers({"r": batch})["r"].logits,
            bounded.forward_answers({"r": batch})["r"].logits,
        )
    assert (unbounded.cache.computed, bounded.cache.computed) == (4, 8)
    assert not bounded.cache.entries and bounded.cache.used_bytes == 0
    assert (
        unbounded.cache.used_bytes == sum(e.n_bytes for e in unbounded.cache.entries.values()) > 0
    )


def test_reference_forward_is_the_base_model():
    """reference_forward is the unedited model; batch 1 equals a ragged batch."""
    model = make_model("qwen2")
    engine = CachedEngine(model, Adapter(model, AdapterConfig([1], 2), seed=4))
    plain = PyveneEngine(model, Adapter(model, AdapterConfig([1], 2), seed=4))
    torch.testing.assert_close(
        engine.reference_forward(make_batch(RETAIN)).nll_sum,
        plain.reference_forward(make_batch(RETAIN)).nll_sum,
        rtol=1e-5,
        atol=1e-5,
    )
    alone = torch.cat(
        [engine.reference_forward(pad([e], 0)).nll_sum for e in make_batch(RETAIN).encoded]
    )
    torch.testing.assert_close(
        engine.reference_forward(make_batch(RETAIN)).nll_sum, alone, rtol=1e-5, atol=1e-5
    )


def test_labels_before_the_edit_are_refused():
    model = make_model("llama")
    engine = CachedEngine(model, Adapter(model, AdapterConfig([1], 2)))
    with pytest.raises(ValueError, match="--engine pyvene"):
        engine.reference_forward(pad([Encoded([1, 5, 6, 7, 2], 3, scored_from=2)], 0))


@pytest.mark.parametrize("state_layer", [1, 2, 3, 4])
def test_states_are_the_same_in_every_engine(state_layer):
    """Layers 1 and 3 are edited: their states, those between and those above; the frozen ones."""
    batches = {"forget": make_batch(FORGET, 1), "retain": make_batch(RETAIN, 3)}
    answers = []
    for _, engine, tuner in build_both(make_model("llama")):
        answers.append(engine.forward_answers(batches, state_layer))
        answers[-1]["frozen"] = tuner.reference_forward(batches["forget"], state_layer)
    for name, expected in answers[0].items():
        assert expected.states.shape == (len(expected.labels), D)
        torch.testing.assert_close(answers[1][name].states, expected.states, rtol=1e-4, atol=1e-5)


def test_states_below_the_first_edit_are_refused():
    model = make_model("llama")
    engine = CachedEngine(model, Adapter(model, AdapterConfig([2], 2)))
    with pytest.raises(ValueError, match="below the first edited layer 2"):
        engine.forward_answers({"forget": make_batch(FORGET)}, 1)

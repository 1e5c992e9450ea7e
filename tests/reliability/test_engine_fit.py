"""Which models the cached engine takes: those it computes right, in every dtype, and no other.

Random models of 5 layers. The misfits were all accepted in bfloat16 while 5 % of the summed
negative log-likelihood were allowed.
"""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BambaConfig,
    BartConfig,
    FalconH1Config,
    Gemma3nTextConfig,
    Gemma4TextConfig,
    JambaConfig,
    Lfm2Config,
    Llama4TextConfig,
    MixtralConfig,
    Qwen3NextConfig,
    RecurrentGemmaConfig,
)

from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.engines import fit, suffix_forward
from grun.engines.cached import CachedEngine
from grun.engines.choose import choose_engine
from grun.engines.packed_suffix import Group
from grun.engines.pyvene import PyveneEngine
from tests.grun.engines.test_engine import COMMON, CONFIGS, D, L, V, draw_sinks, make_batch
from unlearn.language_model.architecture import find_decoder_layers
from unlearn.language_model.batches import pad
from unlearn.language_model.prompts import Encoded

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SAMPLE = [(9, 5), (9, 3)]
SIZE = COMMON | {"num_key_value_heads": 2}
MAMBA = {"mamba_n_heads": 4, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}
SHORT_WINDOWS = ("mistral", "gemma2", "gemma3", "gpt_oss")
TYPES = ["sliding_attention", "full_attention", "sliding_attention"] + ["full_attention"] * 2
GEMMA = {
    "head_dim": 8,
    "sliding_window": 6,
    "vocab_size_per_layer_input": V,
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 2,
    "layer_types": TYPES,
}


def build_gemma4(**more):
    return Gemma4TextConfig(**SIZE, **GEMMA | {"global_head_dim": 8} | more)


MISFITS = {
    "falcon_h1": (
        lambda: FalconH1Config(**SIZE, **MAMBA, mamba_d_ssm=32, mamba_d_head=8),
        "it is a hybrid: its layers of type hybrid",
    ),
    "llama4": (
        lambda: Llama4TextConfig(**SIZE, head_dim=8, attention_chunk_size=8, num_local_experts=2),
        "it attends within chunks",
    ),
    "qwen3_next": (
        lambda: Qwen3NextConfig(
            **SIZE,
            head_dim=8,
            linear_num_value_heads=4,
            linear_num_key_heads=2,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            num_experts=4,
            moe_intermediate_size=16,
            shared_expert_intermediate_size=16,
        ),
        "it is a hybrid: its layers of type linear_attention",
    ),
    "jamba": (
        lambda: JambaConfig(**SIZE, attn_layer_period=2, attn_layer_offset=1, num_experts=2),
        "it is a hybrid",
    ),
    "bamba": (
        lambda: BambaConfig(**SIZE, **MAMBA, attn_layer_indices=[1, 3], mamba_d_head=16),
        "it is a hybrid",
    ),
    "lfm2": (
        lambda: Lfm2Config(**SIZE, full_attn_idxs=[1, 3]),
        "it is a hybrid: its layers of type conv",
    ),
    "recurrent_gemma": (
        lambda: RecurrentGemmaConfig(
            **{k: v for k, v in COMMON.items() if k not in ("initializer_range",)}
            | {"num_key_value_heads": 1},
            lru_width=32,
            attention_window_size=8,
        ),
        "it is a hybrid",
    ),
    "gemma4": (build_gemma4, "layer 3 shares the keys and values of layer 1"),
    "gemma4_wide": (
        lambda: build_gemma4(global_head_dim=16),
        "its layers have heads of different width",
    ),
}
FITS = CONFIGS | {
    "mixtral": MixtralConfig(**SIZE, num_local_experts=4),
    "gemma4_all_above": build_gemma4(num_kv_shared_layers=0),
}


def build(config, dtype=torch.float32):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    return draw_sinks(model).to(dtype)


def choose(model, layers=(1, 3)):
    adapter = Adapter(model, AdapterConfig(list(layers), 2), seed=4)
    return choose_engine("cached", None, model, adapter, make_batch(SAMPLE, 3))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FITS)
def test_fitting_models_are_cached(name, dtype):
    assert isinstance(choose(build(FITS[name], dtype)), CachedEngine)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MISFITS)
def test_misfits_are_refused_in_words(name, dtype, capsys):
    config, words = MISFITS[name]
    assert isinstance(choose(build(config(), dtype)), PyveneEngine)
    line = capsys.readouterr().out.splitlines()[-1]
    assert f"does not fit {type(build(config())).__name__}: {words}" in line
    assert line.endswith("; going on with --engine pyvene")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["falcon_h1", "llama4"])
def test_logits_alone_show_a_misfit(name, dtype, capsys, monkeypatch):
    """Without a look at the architecture, and with unknown arguments swallowed as they were."""
    monkeypatch.setattr("grun.engines.choose.describe_misfit", lambda *_: None)
    monkeypatch.setattr(suffix_forward, "check_arguments", lambda *_: None)
    assert isinstance(choose(build(MISFITS[name][0](), dtype)), PyveneEngine)
    assert "its logits are off by" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", DTYPES)
def test_ignored_sinks_are_noticed(dtype, capsys, monkeypatch):
    attend_by_scores = suffix_forward.attend_by_scores
    monkeypatch.setattr(
        suffix_forward, "attend_by_scores", lambda *args: attend_by_scores(*args[:-1], None)
    )
    assert isinstance(choose(build(CONFIGS["gpt_oss"], dtype)), PyveneEngine)
    assert "its logits are off by" in capsys.readouterr().out


@pytest.mark.parametrize("window", [6, 64])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SHORT_WINDOWS)
def test_ignored_window_is_noticed(name, dtype, window, capsys, monkeypatch):
    """Also a window that every text of the sample fits into."""
    mask = Group.mask
    monkeypatch.setattr(Group, "mask", lambda self, _: mask(self, None))
    config = type(CONFIGS[name])(**CONFIGS[name].to_dict() | {"sliding_window": window})
    assert isinstance(choose(build(config, dtype)), PyveneEngine)
    assert "its logits are off by" in capsys.readouterr().out


def test_probes_are_ragged_and_longer_than_the_window():
    probes = fit.build_probes(build(CONFIGS["mistral"]), make_batch(SAMPLE, 3))
    assert len(set(probes[0].prompt_lengths.tolist())) > 1
    assert probes[1].input_ids.shape[1] > 6 + fit.ANSWER_LENGTH


def test_the_check_leaves_the_cache_empty():
    """Training computes the examples of the sample together with others."""
    cache = choose(build(CONFIGS["mistral"])).cache
    assert not cache.entries and not cache.computed


@pytest.mark.parametrize(
    "argument",
    [{"s_aux_2": torch.zeros(4)}, {"is_causal": False}, {"attention_mask": torch.zeros(1)}],
)
def test_unknown_arguments_of_attention_are_refused(argument):
    (name,) = argument
    with pytest.raises(ValueError, match=f"{name}.* which the cached engine does not know"):
        suffix_forward.attend(torch.nn.Identity(), None, None, None, **argument)


@pytest.mark.parametrize("scored_from", [1, 8])
def test_label_start_goes_on_with_pyvene(scored_from, capsys):
    model = build(CONFIGS["llama"])
    sample = pad([Encoded(e.ids, 9, scored_from) for e in make_batch(SAMPLE, 3).encoded], 0)
    adapter = Adapter(model, AdapterConfig([1], 2), seed=4)
    assert isinstance(choose_engine("cached", None, model, adapter, sample), PyveneEngine)
    assert (
        "--label_start answer_tag or all scores tokens before the edit" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("batch", "flag"), [("forget", "--undial_mask all"), ("retain", "--kl_mask all")]
)
def test_early_labels_name_their_flag(batch, flag):
    engine = choose(build(CONFIGS["llama"]))
    early = pad([Encoded(e.ids, 9, 1) for e in make_batch(SAMPLE, 3).encoded], 0)
    batches = {"forget": make_batch(SAMPLE, 1), "retain": make_batch(SAMPLE, 2)} | {batch: early}
    with pytest.raises(ValueError, match=f"^{flag} scores tokens before the edit"):
        engine.forward_answers(batches)


def test_gemma_3n_and_bart_get_a_clear_word():
    bart = BartConfig(
        vocab_size=V,
        d_model=D,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
    )
    with pytest.raises(ValueError, match="one half of an encoder-decoder model"):
        find_decoder_layers(build(bart))
    gemma = Gemma3nTextConfig(**SIZE, **GEMMA, laurel_rank=4, activation_sparsity_pattern=[0.0] * L)
    with pytest.raises(ValueError, match="carry 4 hidden states a token"):
        find_decoder_layers(build(gemma))

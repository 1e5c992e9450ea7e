"""The adapter, its hooks and the pyvene engine: they must agree with each other, with padding on
either side, and with a saved copy."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from grun.adapter.fingerprint import fingerprint
from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.engines.pyvene import PyveneEngine
from grun.inference.hooks import AdapterHooks
from grun.inference.positions import last_tokens
from grun.train import default_layers
from tests.toy import build_model
from unlearn.language_model.batches import forward_answers, pad, pad_left
from unlearn.language_model.prompts import PromptEncoder

QUESTIONS = [
    "Where was Ada Low born?",
    "Who?",
    "Which prize did Ada Low win, and when did she win it?",
]
ANSWERS = ["In Teselle.", "Ada.", "The Lune Prize."]


def adapter_for(model, **more) -> Adapter:
    config = AdapterConfig(
        **{
            "layers": [1, 3],
            "rank": 2,
            "gate": "linear",
            "base": {"id": "x", "fingerprint": fingerprint(model)},
        }
        | more
    )
    return Adapter(model, config, seed=3)


def batch_for(tokenizer):
    return pad(
        [PromptEncoder(tokenizer).encode(q, a) for q, a in zip(QUESTIONS, ANSWERS, strict=True)],
        tokenizer.pad_token_id,
    )


def test_default_layers_are_the_papers():
    """32 blocks: last, 7th and 12th from last = 31, 25, 20 (paper command); the same relative depth
    for 8 and 2 blocks."""
    assert default_layers(32) == [20, 25, 31]
    assert default_layers(8) == [5, 6, 7]
    assert default_layers(2) == [1]


@pytest.mark.parametrize("gate", ["linear", "mlp_3", "none"])
def test_hooks_equal_pyvene(model, tokenizer, gate):
    """The same edit at the same positions through pyvene and through our hooks: same nll, same
    gates."""
    adapter = adapter_for(model, gate=gate)
    batch = batch_for(tokenizer)
    through_pyvene = PyveneEngine(model, adapter).forward_answers({"forget": batch})["forget"]
    with AdapterHooks(model, adapter) as adapter_hooks, adapter_hooks.at(batch.prompt_lengths - 1):
        through_hooks = forward_answers(model, batch)
        torch.testing.assert_close(
            through_hooks.nll_sum, through_pyvene.nll_sum, rtol=1e-6, atol=1e-6
        )
        if gate == "none":
            assert adapter_hooks.gates is None and through_pyvene.gate_logits is None
        else:
            torch.testing.assert_close(adapter_hooks.gate_logits, through_pyvene.gate_logits)
    changed = (through_hooks.nll_sum - forward_answers(model, batch).nll_sum).abs()
    assert (changed > 1e-4).all(), "an untrained adapter must already move the answers"


def test_the_edit_is_where_it_should_be(model, tokenizer):
    """Block output at the last prompt token changes by gate * R (W h + b - R^T h); every other
    position of that block is the base's."""
    adapter = adapter_for(model, layers=[3])
    batch = batch_for(tokenizer)
    seen = []
    handle = model.model.layers[3].register_forward_hook(
        lambda _m, _a, out: seen.append((out[0] if isinstance(out, tuple) else out).detach())
    )
    forward_answers(model, batch)
    handle.remove()
    adapter_hooks = AdapterHooks(model, adapter)
    handle = model.model.layers[3].register_forward_hook(
        lambda _m, _a, out: seen.append((out[0] if isinstance(out, tuple) else out).detach())
    )
    with adapter_hooks.at(batch.prompt_lengths - 1):
        forward_answers(model, batch)
    handle.remove()
    adapter_hooks.remove()
    base, edited = seen
    edit = adapter.edits["3"]
    for b, position in enumerate((batch.prompt_lengths - 1).tolist()):
        h = base[b, position]
        rotation = edit.rotation()
        gate = edit.gate(h).sigmoid()
        expected = h + gate * rotation @ (edit.learned_source(h) - rotation.T @ h)
        torch.testing.assert_close(edited[b, position], expected, rtol=1e-5, atol=1e-5)
        others = [t for t in range(base.shape[1]) if t != position]
        assert torch.equal(edited[b, others], base[b, others])


def test_generation_batched_and_left_padded_equals_single(model, tokenizer):
    """The prefill edit at padded_len - 1 and a right-padded forward at prompt_len - 1 give the same
    first token; so does batch 1."""
    adapter = adapter_for(model)
    prompt_encoder = PromptEncoder(tokenizer)
    prompts = [prompt_encoder.prompt_ids(q) for q in QUESTIONS]
    ids, mask = pad_left(prompts, tokenizer.pad_token_id)
    options = {
        "max_new_tokens": 8,
        "do_sample": False,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": None,
    }
    with AdapterHooks(model, adapter) as adapter_hooks:
        together = model.generate(input_ids=ids, attention_mask=mask, **options)[:, ids.shape[1] :]
        gates = adapter_hooks.gates
        for b, prompt in enumerate(prompts):
            alone = model.generate(
                input_ids=torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                **options,
            )
            assert torch.equal(alone[0, len(prompt) :], together[b])
            torch.testing.assert_close(adapter_hooks.gates[:, 0], gates[:, b], rtol=1e-5, atol=1e-6)
        ended = [
            replace(prompt_encoder.encode(q, "x"), ids=[*p, tokenizer.eos_token_id])
            for q, p in zip(QUESTIONS, prompts, strict=True)
        ]
        right = pad(ended, tokenizer.pad_token_id)
        with adapter_hooks.at(right.prompt_lengths - 1):
            first = (
                model(right.input_ids, attention_mask=right.attention_mask)
                .logits[torch.arange(3), right.prompt_lengths - 1]
                .argmax(-1)
            )
        assert torch.equal(first, together[:, 0])
        with adapter_hooks.off():
            off = model.generate(input_ids=ids, attention_mask=mask, **options)
    assert torch.equal(off, model.generate(input_ids=ids, attention_mask=mask, **options)), (
        "switched off or removed, it is the base model"
    )
    assert not torch.equal(off[:, ids.shape[1] :], together)


def test_last_tokens():
    assert last_tokens(torch.tensor([[1, 1, 0], [0, 1, 1], [1, 1, 1]])).tolist() == [1, 2, 2]


def test_saved_and_loaded_equals_in_memory(model, tokenizer, tmp_path):
    adapter = adapter_for(model, gate="mlp_3")
    batch = batch_for(tokenizer)
    adapter.save(tmp_path / "adapter")
    loaded = Adapter.load(model, tmp_path / "adapter")
    for layer in (1, 3):
        h = torch.randn(5, 32, generator=torch.Generator().manual_seed(layer))
        for mine, theirs in zip(
            adapter.intervention(layer).edit(h), loaded.intervention(layer).edit(h), strict=True
        ):
            assert torch.equal(mine, theirs)
    assert torch.equal(
        PyveneEngine(model, adapter).forward_answers({"forget": batch})["forget"].logits,
        PyveneEngine(model, loaded).forward_answers({"forget": batch})["forget"].logits,
    )


def test_wrong_base_damage_and_newer_format_are_refused(model, tokenizer, tmp_path):
    adapter = adapter_for(model)
    adapter.save(tmp_path / "a")
    with pytest.raises(ValueError, match="belongs to the base model x"):
        Adapter.load(build_model(tokenizer, seed=2), tmp_path / "a")
    with pytest.raises(ValueError, match="holds no adapter.json"):
        Adapter.load(model, tmp_path)
    stored = json.loads((tmp_path / "a" / "adapter.json").read_text())
    (tmp_path / "a" / "adapter.json").write_text(json.dumps(stored | {"format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        Adapter.load(model, tmp_path / "a")
    adapter.save(tmp_path / "b")
    weights = tmp_path / "b" / "adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(ValueError, match="damaged"):
        Adapter.load(model, tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": [4]}, "outside this model's 0..3"),
        ({"layers": [1, 1]}, "different layers"),
        ({"rank": 33}, "hidden size, 32"),
        ({"gate": "door"}, "choose one of none, linear"),
    ],
)
def test_impossible_adapters_are_refused(model, change, message):
    with pytest.raises(ValueError, match=message):
        adapter_for(model, **change)


def test_saved_tensors_have_the_official_names(model, tmp_path):
    """spec 3.3: weight (r x d), bias (r), gate_func.*, rotate_layer (d x r), here with the layer in
    front."""
    adapter_for(model).save(tmp_path / "a")
    shapes = {
        name: tuple(t.shape)
        for name, t in load_file(tmp_path / "a" / "adapter.safetensors").items()
    }
    assert {
        name.removeprefix("1."): shape for name, shape in shapes.items() if name.startswith("1.")
    } == {
        "weight": (2, 32),
        "bias": (2,),
        "rotate_layer": (32, 2),
        "gate_func.weight": (1, 32),
        "gate_func.bias": (1,),
    }

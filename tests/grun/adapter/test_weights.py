"""The adapter's numbers: their names, what they fit, saved copies, training that goes on."""

import pytest
import torch
from safetensors.torch import load_file

from grun.adapter.weights import Adapter, distance_to_orthonormal
from grun.inference.hooks import AdapterHooks
from tests.grun.adapter_cases import LAYERS, build_adapter


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": [4]}, "outside this model's 0..3"),
        ({"layers": [1, 1]}, "different layers"),
        ({"rank": 33}, "hidden size, 32"),
        ({"gate": "wide"}, "choose one of none, linear"),
        ({"dtype": "float16"}, "one of float32, bfloat16"),
    ],
)
def test_impossible_adapters_are_refused(model, change, message):
    with pytest.raises(ValueError, match=message):
        build_adapter(model, **change)


def test_saved_tensors_have_the_official_names(model, tmp_path):
    """weight [r, d], bias [r], gate_func.*, rotate_layer [d, r], here with the layer in front."""
    build_adapter(model).save(tmp_path / "a")
    tensors = load_file(tmp_path / "a" / "adapter.safetensors")
    shapes = {
        name.removeprefix("1."): tuple(tensor.shape)
        for name, tensor in tensors.items()
        if name.startswith("1.")
    }
    assert shapes == {
        "weight": (2, 32),
        "bias": (2,),
        "rotate_layer": (32, 2),
        "gate_func.weight": (1, 32),
        "gate_func.bias": (1,),
    }


def test_loaded_adapter_gives_the_same_bits(model, tmp_path, batch):
    adapter = build_adapter(model, "mlp_3")
    adapter.save(tmp_path / "adapter")
    loaded = Adapter.load(model, tmp_path / "adapter")
    for layer in LAYERS:
        h = torch.randn(5, 32, generator=torch.Generator().manual_seed(layer))
        edits = (each.intervention(layer).edit(h) for each in (adapter, loaded))
        for in_memory, from_disk in zip(*edits, strict=True):
            assert torch.equal(in_memory, from_disk)
    logits = []
    for each in (adapter, loaded):
        with AdapterHooks(model, each):
            logits.append(model(batch[0], attention_mask=batch[1]).logits)
    assert torch.equal(*logits)


@pytest.mark.parametrize("gate", ["linear", "mlp_5", "none"])
def test_saved_again_is_the_same_bytes(model, tmp_path, gate):
    build_adapter(model, gate).save(tmp_path / "a")
    Adapter.load(model, tmp_path / "a").save(tmp_path / "b")
    Adapter.load(model, tmp_path / "a", trainable=True).save(tmp_path / "c")
    files = [
        [(tmp_path / name / file).read_bytes() for file in ("adapter.json", "adapter.safetensors")]
        for name in "abc"
    ]
    assert files[0] == files[1] == files[2]


def test_training_goes_on_orthonormal(model, saved, batch):
    """20 steps of AdamW after loading; R that is not orthonormal can be used, not trained on."""
    ids, mask = batch
    adapter = Adapter.load(model, saved, trainable=True)
    before = adapter.intervention(1).rotation().detach().clone()
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=0.02, weight_decay=0)
    with AdapterHooks(model, adapter):
        for _ in range(20):
            optimizer.zero_grad()
            logits = model(ids, attention_mask=mask).logits[:, -1]
            logits.log_softmax(-1)[:, 7].mean().neg().backward()
            optimizer.step()
    for edit in adapter.edits.values():
        assert distance_to_orthonormal(edit.rotation()) < 1e-5
    assert (adapter.intervention(1).rotation() - before).abs().max() > 0.01
    tensors = {
        f"{layer}.{name}": tensor.clone()
        for layer, edit in adapter.edits.items()
        for name, tensor in edit.state_dict().items()
    }
    tensors["1.rotate_layer"] *= 1.1
    assert Adapter.from_tensors(model, adapter.config, tensors).layers == LAYERS
    with pytest.raises(ValueError, match="R is not orthonormal"):
        Adapter.from_tensors(model, adapter.config, tensors, trainable=True)

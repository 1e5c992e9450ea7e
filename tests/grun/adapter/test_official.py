"""Checkpoints of the official code, made by hand in its form.

They load, give the equation's numbers, and go to our form and back.
"""

import json
import pickle
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

import grun
from grun.adapter import official
from grun.adapter.fingerprint import fingerprint
from grun.adapter.folder import AdapterConfig, read_folder
from grun.adapter.weights import Adapter
from tests.toy import build_model, build_tokenizer
from unlearn.language_model.loading import save_model

NAMES = {
    "dots": "intkey_layer.{}.comp.block_output.unit.pos.nunit.1#0.bin",
    "underscores": "intkey_layer_{}_comp_block_output_unit_pos_nunit_1#0.bin",
}
WIDTHS = {"none": (), "linear": (1,), "mlp_3": (256, 64, 1), "mlp_5": (1024, 512, 256, 64, 1)}
D = 32
R = 2
LAYERS = (1, 3)


@pytest.fixture(scope="module")
def base(tmp_path_factory, frozen_model, tokenizer):
    """The folder of the saved toy model."""
    folder = tmp_path_factory.mktemp("base")
    save_model(folder, frozen_model, tokenizer)
    return folder


@pytest.fixture
def model(base):
    return official.load_model(str(base), "cpu")


def numbers(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) / shape[-1] ** 0.5


def layer_by_hand(gate, seed) -> tuple[dict, torch.Tensor]:
    """The official state dict of one layer (renjie3/GRUN, pyreft/interventions.py), and its R.

    Gated: weight [r, d], bias [r], gate_func.*, rotate_layer = R [d, r]. Ungated: R = (base H)[:,
    :r] with the Householder map H = I of original = -I; torch parametrises it so.
    """
    basis = torch.linalg.qr(numbers(seed, D, D)).Q.contiguous()
    weight = numbers(seed + 1, R, D)
    bias = numbers(seed + 2, R)
    if gate == "none":
        rotation = "rotate_layer.parametrizations.weight"
        state = {
            f"{rotation}.original": -torch.eye(D, R),
            f"{rotation}.0.base": basis,
            "learned_source.weight": weight,
            "learned_source.bias": bias,
        }
        return state | {"embed_dim": torch.tensor(D), "interchange_dim": torch.tensor(D)}, basis[
            :, :R
        ]
    state = {"weight": weight, "bias": bias, "rotate_layer": basis[:, :R].clone()}
    width = D
    for place, out in enumerate(WIDTHS[gate]):
        key = "gate_func" if gate == "linear" else f"gate_func.{2 * place}"
        state |= {
            f"{key}.weight": numbers(seed + 3 + place, out, width),
            f"{key}.bias": numbers(seed + 9 + place, out),
        }
        width = out
    return state, basis[:, :R]


def write_by_hand(folder: Path, gate, keys="dots") -> dict:
    """An official folder; layer -> (state, R)."""
    folder.mkdir()
    layers = {layer: layer_by_hand(gate, 100 * layer) for layer in LAYERS}
    for layer, (state, _) in layers.items():
        torch.save(state, folder / NAMES[keys].format(layer))
    return layers


def equation(gate, state, rotation, h):
    """h + sigmoid(G(h)) R (W h + b - R^T h)."""
    weight, bias = (
        state.get(f"learned_source.{name}", state.get(name)) for name in ("weight", "bias")
    )
    g = h
    keys = sorted(
        {key.rpartition(".")[0] for key in state if key.startswith("gate_func")},
        key=lambda key: int(key.partition(".")[2] or 0),
    )
    for place, key in enumerate(keys):
        g = (g.relu() if place else g) @ state[f"{key}.weight"].T + state[f"{key}.bias"]
    return h + (g.sigmoid() if keys else 1.0) * ((h @ weight.T + bias - h @ rotation) @ rotation.T)


@pytest.mark.parametrize("keys", NAMES)
@pytest.mark.parametrize("gate", WIDTHS)
def test_folder_made_by_hand_gives_the_equations_numbers(model, tmp_path, gate, keys):
    layers = write_by_hand(tmp_path / "made", gate, keys)
    ids = torch.arange(3, 9)[None]
    seen = {}
    grun.load(model, tmp_path / "made")
    assert model.grun.adapter.config.gate == gate and model.grun.layers == list(LAYERS)
    h = numbers(7, 5, D)
    for layer, (state, rotation) in layers.items():
        torch.testing.assert_close(
            model.grun.adapter.intervention(layer).edit(h)[0],
            equation(gate, state, rotation, h),
            rtol=1e-5,
            atol=1e-6,
        )
    for name, context in (("edited", nullcontext), ("base", model.grun.off)):
        watch = model.model.layers[1].register_forward_hook(
            lambda _m, _a, out, name=name: seen.update(
                {name: out[0] if isinstance(out, tuple) else out}
            )
        )
        with context():
            model(ids)
        watch.remove()
    edited = seen["edited"][:, -1]
    h = seen["base"][:, -1]
    torch.testing.assert_close(edited, equation(gate, *layers[1], h), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gate", ["linear", "mlp_3", "none"])
def test_import_and_export_keep_the_numbers(base, model, tmp_path, gate, capsys):
    """import, then export under either naming: the numbers of the first folder bit for bit
    (ungated: its R), and the listing that upstream reads.
    """
    layers = write_by_hand(tmp_path / "made", gate)
    official.main(["import", str(tmp_path / "made"), str(tmp_path / "ours"), "--model", str(base)])
    config, tensors = read_folder(tmp_path / "ours")
    assert config.base["fingerprint"] == fingerprint(model) and config.prompt == {
        "template": "qa",
        "style": "grun",
    }
    assert Adapter.load(model, tmp_path / "ours", trainable=True).layers == list(LAYERS)
    for keys, name in NAMES.items():
        official.main(["export", str(tmp_path / "ours"), str(tmp_path / keys), "--keys", keys])
        for layer, (state, rotation) in layers.items():
            stored = torch.load(tmp_path / keys / name.format(layer), weights_only=True)
            assert stored.keys() == state.keys()
            if gate == "none":
                rotation_again = official.read(tmp_path / keys)[1][f"{layer}.rotate_layer"]
                torch.testing.assert_close(rotation_again, rotation, rtol=0, atol=1e-6)
                state, stored = (
                    {k: v for k, v in one.items() if k.startswith("learned")}
                    for one in (state, stored)
                )
            assert all(torch.equal(stored[key], value) for key, value in state.items())
        settings = json.loads((tmp_path / keys / "config.json").read_text())
        rows = [row[:5] for row in settings["representations"]]
        assert rows == [[layer, "block_output", "pos", 1, R] for layer in LAYERS]
        assert f"intkey_{settings['sorted_keys'][0]}.bin" == name.format(1)
        assert settings["intervention_dimensions"] == [D, D]
    assert capsys.readouterr().out.count("written: ") == 3


class Trap:
    """A pickle of it makes a file when it is loaded without weights_only."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickle_that_would_run_code_is_refused(model, tmp_path):
    (tmp_path / "trap").mkdir()
    file = tmp_path / "trap" / NAMES["dots"].format(1)
    mark = tmp_path / "it ran"
    torch.save({"weight": Trap(mark)}, file)
    with pytest.raises(ValueError, match="holds more than tensors"):
        grun.load(model, tmp_path / "trap")
    assert not mark.exists()
    file.write_bytes(pickle.dumps(Trap(mark), protocol=2))  # without torch's container
    with pytest.raises(ValueError, match="holds more than tensors"):
        grun.load(model, tmp_path / "trap")
    assert not mark.exists()
    pickle.loads(file.read_bytes())
    assert mark.exists(), "the trap must be one"


def without(*names):
    return lambda state: {key: value for key, value in state.items() if key not in names}


def transposed(name):
    return lambda state: state | {name: state[name].T.contiguous()}


DAMAGE = [
    ("linear", without("rotate_layer"), "lacks rotate_layer"),
    ("linear", without("bias"), "lacks bias"),
    ("none", without("learned_source.bias"), "lacks learned_source.bias"),
    (
        "none",
        without("rotate_layer.parametrizations.weight.0.base"),
        "lacks rotate_layer.parametrizations.weight.0.base",
    ),
    ("none", transposed("learned_source.weight"), "do not fit each other"),
    ("linear", transposed("weight"), "do not fit each other"),
    (
        "linear",
        lambda state: (
            state
            | {"bias": numbers(1, 3), "weight": numbers(1, 3, D), "rotate_layer": numbers(1, D, 3)}
        ),
        "differ in rank",
    ),
    (
        "linear",
        lambda state: layer_by_hand("mlp_3", 1)[0],
        "the layers differ in rank, gate or dtype",
    ),
    (
        "mlp_3",
        without("gate_func.4.weight", "gate_func.4.bias"),
        "a gate of 2 linear layers is unknown",
    ),
    ("linear", without("gate_func.bias"), "do not fit"),
    ("linear", lambda state: [1, 2], "is no state dict of tensors"),
]


@pytest.mark.parametrize(
    ("gate", "change", "message"), DAMAGE, ids=[f"{gate}: {message}" for gate, _, message in DAMAGE]
)
def test_damaged_layer_is_refused_in_one_line(model, tmp_path, gate, change, message):
    layers = write_by_hand(tmp_path / "made", gate)
    torch.save(change(layers[3][0]), tmp_path / "made" / NAMES["dots"].format(3))
    with pytest.raises(ValueError, match=message) as error:
        grun.load(model, tmp_path / "made")
    assert "\n" not in str(error.value) and not hasattr(model, "grun")


def test_broken_and_unknown_files_are_refused(model, tmp_path):
    write_by_hand(tmp_path / "made", "linear")
    file = tmp_path / "made" / NAMES["dots"].format(3)
    whole = file.read_bytes()
    for damaged in (b"", whole[:40], whole[:-100], b"not a pickle"):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged or holds more than tensors"):
            official.read(tmp_path / "made")
    file.write_bytes(whole)
    (tmp_path / "made" / NAMES["underscores"].format(3)).write_bytes(whole)
    with pytest.raises(ValueError, match="holds layer 3 twice"):
        official.read(tmp_path / "made")
    (tmp_path / "made" / "intkey_layer.1.comp.mlp_output.unit.pos.nunit.1#0.bin").write_bytes(whole)
    with pytest.raises(
        ValueError, match="only edits of one position of a block's output are known"
    ):
        official.read(tmp_path / "made")
    with pytest.raises(ValueError, match="holds no intkey_"):
        official.main(["import", str(tmp_path), str(tmp_path / "ours"), "--model", "x"])


def test_base_of_another_width_is_refused(tmp_path):
    write_by_hand(tmp_path / "made", "linear")
    wide = build_model(build_tokenizer(), hidden=64)
    with pytest.raises(ValueError, match="do not fit"):
        grun.load(wide, tmp_path / "made")


def test_grun_plus_is_not_exported(tmp_path):
    config = AdapterConfig([1], 4, edit_policy={"at": "answer_on"})
    with pytest.raises(ValueError, match="no place for GRUN"):
        official.write(config, {"1.weight": numbers(1, R, D)}, tmp_path / "out")

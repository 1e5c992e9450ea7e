"""A quantised base: errors where there is none, and an adapter that fits it and the plain base."""

import sys
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch

from grun import train as grun_train
from grun.adapter.fingerprint import fingerprint
from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from tests.toy import build_model
from unlearn.language_model import loading
from unlearn.language_model.loading import load_model, save_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def target(tmp_path_factory, tokenizer):
    """A tiny model folder."""
    folder = tmp_path_factory.mktemp("target")
    save_model(folder, build_model(tokenizer, hidden=64, strength=1), tokenizer)
    return str(folder)


def train(target, tmp_path, *more):
    data = ["--authors", "10", "--heldout", "2", "--target", target, "--device", "cpu"]
    size = ["--layers", "1", "2", "--steps", "3", "--batch", "4"]
    grun_train.main([*data, *size, "--objective", "idk", "--runs", str(tmp_path), *more])


def test_missing_bitsandbytes_is_named(monkeypatch, target, tmp_path):
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    for quant in loading.QUANTISED:
        with pytest.raises(
            ValueError, match=f"--quant {quant} needs bitsandbytes: pip install bitsandbytes=="
        ):
            train(target, tmp_path, "--quant", quant)
    assert not list(tmp_path.rglob("*grun*/DONE"))


def test_four_bits_need_a_gpu(monkeypatch, target, tmp_path):
    monkeypatch.setattr(loading, "find_spec", lambda name: ModuleType(name))
    for quant in ("nf4", "fp4"):
        with pytest.raises(ValueError, match=f"--quant {quant} needs a GPU"):
            train(target, tmp_path, "--quant", quant)
    with pytest.raises(
        ValueError, match="--quant int3 is unknown; choose one of no, int8, nf4, fp4"
    ):
        train(target, tmp_path, "--quant", "int3")


def test_bitsandbytes_options(monkeypatch):
    """int8 is LLM.int8 with threshold 6; fp4 has float32 arithmetic, nf4 the base's dtype.

    So in renjie3/GRUN. None has double quantisation.
    """
    monkeypatch.setattr(loading, "find_spec", lambda name: ModuleType(name))
    monkeypatch.setitem(sys.modules, "bitsandbytes", ModuleType("bitsandbytes"))
    gpu = torch.device("meta")  # any that is no CPU
    assert loading.build_quantisation_options("no", torch.bfloat16, CPU) == {}
    int8 = loading.build_quantisation_options("int8", torch.bfloat16, CPU)
    assert (
        int8["quantization_config"].load_in_8bit
        and int8["quantization_config"].llm_int8_threshold == 6.0
        and int8["device_map"] == {"": CPU}
    )
    for quant, arithmetic in (("nf4", torch.bfloat16), ("fp4", torch.float32)):
        config = loading.build_quantisation_options(quant, torch.bfloat16, gpu)[
            "quantization_config"
        ]
        assert (config.load_in_4bit, config.bnb_4bit_quant_type, config.bnb_4bit_compute_dtype) == (
            True,
            quant,
            arithmetic,
        )
        assert not config.bnb_4bit_use_double_quant


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_adapter_trained_on_int8_fits_either_base(target, tmp_path, capfd):
    """On a CPU: the base in int8, gate and edit in float32; its adapter fits the plain base and the
    int8 one, and no other model.
    """
    train(target, tmp_path, "--quant", "int8")
    assert "inputs will be cast" not in capfd.readouterr().err, "a line at every matrix product"
    (run,) = tmp_path.glob("*/*/*/idk-grun-*quant=int8*")
    plain = load_model(target, "cpu")
    packed = load_model(target, "cpu", quant="int8")
    assert fingerprint(packed).endswith("-quantised") and packed.is_quantized
    adapters = [Adapter.load(model, run / "adapter") for model in (plain, packed)]
    assert {p.dtype for adapter in adapters for p in adapter.parameters()} == {torch.float32}
    Adapter(plain, AdapterConfig([1], 2, base={"id": "x", "fingerprint": fingerprint(plain)})).save(
        tmp_path / "a"
    )
    assert Adapter.load(packed, tmp_path / "a").layers == [1]

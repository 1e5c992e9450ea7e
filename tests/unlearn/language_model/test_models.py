"""What a --model, --template, --device and --layers resolve to, and what is refused."""

import pytest
import torch
from torch import nn

from unlearn.language_model.architecture import (
    check_layers,
    find_decoder_layers,
    find_final_norm,
    get_hidden_size,
)
from unlearn.language_model.devices import resolve_device, resolve_dtype
from unlearn.language_model.models import canonical_template, resolve_checkpoint

CPU = torch.device("cpu")


def test_names_resolve(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert resolve_checkpoint("phi-1.5") == "microsoft/phi-1_5"
    assert resolve_checkpoint(str(tmp_path)) == str(tmp_path / "model")
    assert resolve_checkpoint("any/hub-id") == "any/hub-id"
    assert resolve_device("cpu") == CPU and resolve_dtype("auto", CPU) == torch.float32


@pytest.mark.parametrize(
    ("resolve", "message"),
    [
        (lambda: resolve_checkpoint("tiny"), "tiny has no weights of its own"),
        (lambda: resolve_checkpoint("runs/none"), "runs/none holds no model"),
        (lambda: canonical_template("chatty"), "--template chatty is unknown"),
        (lambda: resolve_device("abacus"), "--device abacus is unknown"),
        (lambda: resolve_dtype("int3", CPU), "--dtype int3 is unknown"),
        (lambda: check_layers([1, 1], 4), "--layers 1 1: give one or more different layers"),
        (lambda: check_layers([4], 4), "--layers: 4 is outside this model's 0..3"),
        (lambda: find_decoder_layers(nn.Linear(2, 2)), "Linear keeps its decoder layers at no kn"),
    ],
)
def test_unknown_is_refused(resolve, message):
    with pytest.raises(ValueError, match=message):
        resolve()


def test_parts_of_a_llama(frozen_model):
    assert find_decoder_layers(frozen_model) is frozen_model.model.layers
    assert find_final_norm(frozen_model) is frozen_model.model.norm
    assert get_hidden_size(frozen_model) == 32 and check_layers([2, 0], 4) == [0, 2]

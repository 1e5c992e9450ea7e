"""Which weights RMU trains."""

import pytest
from transformers import Qwen2Config, Qwen2ForCausalLM

from rmu.parameters import choose_layers, parameter_names, unfreeze


def test_unfreeze_finds_down_proj_in_qwen():
    """With biases on q, k and v the sixth parameter of a layer is o_proj; names tell them apart."""
    config = Qwen2Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    model = Qwen2ForCausalLM(config)
    names = [name for name, _ in model.model.layers[0].named_parameters()]
    assert names[6] == "self_attn.o_proj.weight"
    trained = unfreeze(model, choose_layers(model, 3, None), parameter_names([6]))
    assert list(trained) == [f"model.layers.{i}.mlp.down_proj.weight" for i in (1, 2, 3)]
    assert [name for name, p in model.named_parameters() if p.requires_grad] == list(trained)


@pytest.mark.parametrize(
    ("layer", "layers", "message"),
    [
        (1, [2], "lies above the steered layer"),
        (1, None, "no two layers below"),
        (9, None, "outside this model's 0..3"),
    ],
)
def test_choose_layers_refuses(model, layer, layers, message):
    with pytest.raises(ValueError, match=message):
        choose_layers(model, layer, layers)


def test_unknown_parameters_are_refused(model):
    with pytest.raises(ValueError, match="no such weight"):
        unfreeze(model, [1], ["proj"])
    with pytest.raises(ValueError, match="choose from 0 to 8"):
        parameter_names([12])

"""Which weights RMU moves, by name, and their original values, which can be put back for the length
of a forward pass."""

from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unlearn.language_model.models import check_layers, decoder_layers

# upstream's --param_ids count the parameters of a Llama block (spec 6.1); with biases between them,
# as in Qwen, the numbers name others
PARAM_IDS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
    "input_layernorm",
    "post_attention_layernorm",
)


def names_of(param_ids: list[int]) -> list[str]:
    """The names that upstream's numbers stand for. Raises `ValueError` for a number beyond the
    last."""
    unknown = [i for i in param_ids if not 0 <= i < len(PARAM_IDS)]
    if unknown:
        raise ValueError(
            f"--param_ids {unknown[0]}: choose from 0 to {len(PARAM_IDS) - 1} ({', '.join(PARAM_IDS)}), or name them: --params down_proj"
        )
    return [PARAM_IDS[i] for i in param_ids]


def layers_of(model: nn.Module, layer_id: int, layer_ids: list[int] | None) -> list[int]:
    """The blocks whose weights move: those asked for, else l - 2, l - 1, l. Raises `ValueError`
    where one lies above the steered block l, whose output it cannot change."""
    depth = len(decoder_layers(model))
    check_layers([layer_id], depth)
    if layer_ids is None and layer_id < 2:
        raise ValueError(
            f"--layer_id {layer_id} has no two blocks below it; name the blocks that move: --layer_ids {layer_id}"
        )
    layers = check_layers(layer_ids or [layer_id - 2, layer_id - 1, layer_id], depth)
    if layers[-1] > layer_id:
        raise ValueError(
            f"--layer_ids {layers[-1]} lies above the steered block {layer_id}, whose output it cannot change; choose {layer_id} or below"
        )
    return layers


def chosen(model: nn.Module, layers: list[int], names: list[str]) -> dict[str, nn.Parameter]:
    """Full name -> weight matrix of each named part (`down_proj`, `mlp.down_proj`) of each block;
    these alone require gradients afterwards.

    Raises `ValueError` for a name that a block does not have."""
    wanted = [id(p) for p in own_weights(model, layers, names)]
    found = {name: p.requires_grad_(id(p) in wanted) for name, p in model.named_parameters()}
    return {name: p for name, p in found.items() if p.requires_grad}


def own_weights(model: nn.Module, layers: list[int], names: list[str]) -> list[nn.Parameter]:
    found = []
    for layer in layers:
        own = dict(decoder_layers(model)[layer].named_parameters())
        for name in names:
            matching = [
                p
                for full, p in own.items()
                if f".{full}".endswith(f".{name.removesuffix('.weight')}.weight")
            ]
            if not matching:
                raise ValueError(
                    f"--params {name}: block {layer} has no such weight; it has {', '.join(own)}"
                )
            found += matching
    return found


class FrozenWeights:
    """The values that some parameters had: a few matrices beside one model, where upstream keeps a
    second model."""

    def __init__(self, trained: dict[str, nn.Parameter]):
        self.trained = trained
        self.values: dict[str, Tensor] = {name: p.detach().clone() for name, p in trained.items()}

    @contextmanager
    def restored(self):
        """Within it, the model is the original one, bit for bit, and nothing records gradients."""
        moved = {name: p.data for name, p in self.trained.items()}
        try:
            for name, p in self.trained.items():
                p.data = self.values[name]
            with torch.no_grad():
                yield
        finally:
            for name, p in self.trained.items():
                p.data = moved[name]

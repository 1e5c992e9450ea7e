"""State-dict hooks that give an intervention the names of the authors' files (renjie3/GRUN)."""

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

UPSTREAM_PREFIXES = {  # our module's -> the authors'
    "learned_source.": "",
    "gate.gate_func.": "gate_func.",
}
RAW = "rotate_layer.parametrizations.weight.original"
BASE = "rotate_layer.parametrizations.weight.0.base"
FROZEN = "rotate_layer.weight"
PYVENE_BUFFERS = ("embed_dim", "interchange_dim")


def save_as_upstream(module: nn.Module, state: dict, prefix: str, _metadata) -> None:
    """Rename the entries of a state dict; store R [d, r] itself as rotate_layer."""
    for name in (*PYVENE_BUFFERS, RAW, BASE, FROZEN):
        state.pop(prefix + name, None)
    for ours, theirs in UPSTREAM_PREFIXES.items():
        for key in [key for key in state if key.startswith(prefix + ours)]:
            state[prefix + theirs + key[len(prefix + ours) :]] = state.pop(key)
    state[prefix + "rotate_layer"] = module.rotation().detach()


def load_from_upstream(module: nn.Module, state: dict, prefix: str, *_) -> None:
    """Rename the entries back before loading; our own names are taken as they are.

    Raises `ValueError` where the stored rotation has another shape.
    """
    if prefix + "rotate_layer" not in state:
        return  # strict loading reports what is missing
    rotation = state.pop(prefix + "rotate_layer")
    current = module.rotation()
    if rotation.shape != current.shape:
        raise ValueError(
            f"the stored rotation is {tuple(rotation.shape)}, but this one needs "
            f"{tuple(current.shape)}"
        )
    rotation = rotation.to(current.dtype)
    if is_parametrized(module.rotate_layer):
        basis = torch.linalg.qr(rotation, mode="complete").Q
        # qr returns the first columns rounded and with a sign of its own
        basis[:, : rotation.shape[1]] = rotation
        state[prefix + BASE] = basis
        state[prefix + RAW] = -torch.eye(*rotation.shape)  # maps to I: R = basis[:, :r]
    else:
        state[prefix + FROZEN] = rotation
    for name in ("weight", "bias"):
        if prefix + name in state:
            state[prefix + "learned_source." + name] = state.pop(prefix + name)
    for key in [key for key in state if key.startswith(prefix + "gate_func.")]:
        state[prefix + "gate." + key[len(prefix) :]] = state.pop(key)
    state |= {prefix + name: getattr(module, name) for name in PYVENE_BUFFERS}

"""Write an adapter as the official code does (renjie3/GRUN): one pickle a layer and config.json."""

import json
from pathlib import Path

import torch
from torch import Tensor

from grun.adapter.folder import AdapterConfig
from pyvene_custom import LoreftIntervention
from unlearn.config.files import replace_directory

KEYS = {"dots": ".", "underscores": "_"}
CLASSES = {  # gate -> class in the official pyreft/interventions.py
    "none": "LoreftIntervention",
    "linear": "GatedLoreftIntervention_Linear",
    "mlp_3": "GatedLoreftIntervention",
    "mlp_5": "GatedLoreftIntervention_MLP5layer",
}


def write(
    config: AdapterConfig, tensors: dict[str, Tensor], folder: str | Path, keys: str = "dots"
) -> None:
    """Write an official folder, whole or not at all.

    keys: `dots`, what the official pyvene reads, or `underscores`. Raises `ValueError` for GRUN+,
    which the format cannot hold.
    """
    if config.edit_policy:
        raise ValueError(
            "the official format has no place for GRUN+; only plain GRUN adapters can be exported"
        )
    names = [name_layer(layer, KEYS[keys]) for layer in config.layers]
    width = tensors[f"{config.layers[0]}.weight"].shape[1]
    settings = build_settings(config, names, width)

    def write_files(temporary: Path):
        for layer, name in zip(config.layers, names, strict=True):
            prefix = f"{layer}."
            state = {
                key.removeprefix(prefix): value
                for key, value in tensors.items()
                if key.startswith(prefix)
            }
            stored = parametrise(state) if config.gate == "none" else state
            torch.save(stored, temporary / f"intkey_{name}.bin")
        text = json.dumps(settings, indent=2) + "\n"
        (temporary / "config.json").write_text(text, encoding="utf-8")

    replace_directory(folder, write_files)


def name_layer(layer: int, separator: str) -> str:
    """Return pyvene's key of the edit of one layer."""
    return separator.join(
        ("layer", str(layer), "comp", "block_output", "unit", "pos", "nunit", "1#0")
    )


def build_settings(config: AdapterConfig, names: list[str], width: int) -> dict:
    """Return the contents of the official config.json."""
    unused = [None] * 8
    return {
        "representations": [
            [layer, "block_output", "pos", 1, config.rank, *unused] for layer in config.layers
        ],
        "intervention_types": [f"<class 'pyreft.interventions.{CLASSES[config.gate]}'>"]
        * len(names),
        "intervention_dimensions": [width] * len(names),
        "intervention_constant_sources": [True] * len(names),
        "sorted_keys": names,
        "mode": "parallel",
        "model_type": "None",
    }


def parametrise(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return an ungated layer with its rotation as torch's orthogonal parametrisation keeps it."""
    rank, width = state["weight"].shape
    edit = LoreftIntervention(width, rank, compute_dtype=state["weight"].dtype)
    edit.load_state_dict(state)
    numbers = dict(edit.named_parameters()) | dict(edit.named_buffers())
    return {name: value.detach().clone() for name, value in numbers.items()}

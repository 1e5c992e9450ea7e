"""The parts of a causal language model by their paths in the common architectures."""

from torch import nn

BLOCK_PATHS = (
    "model.layers",
    "model.language_model.layers",
    "transformer.h",
    "gpt_neox.layers",
    "model.decoder.layers",
)
NORM_PATHS = (
    "model.norm",
    "model.language_model.norm",
    "transformer.ln_f",
    "gpt_neox.final_layer_norm",
    "model.decoder.final_layer_norm",
    "model.final_layernorm",
)


def find_decoder_layers(model: nn.Module) -> nn.ModuleList:
    """Return the decoder layers. Raises `ValueError` for an architecture not in BLOCK_PATHS."""
    return find_submodule(model, BLOCK_PATHS, "decoder layers", "BLOCK_PATHS")


def find_final_norm(model: nn.Module) -> nn.Module:
    """Return the norm before the output head. Raises `ValueError` if it is not in NORM_PATHS."""
    return find_submodule(model, NORM_PATHS, "final norm", "NORM_PATHS")


def find_submodule(model: nn.Module, paths: tuple[str, ...], part: str, table: str) -> nn.Module:
    """Return the module at the first of `paths` that the model has.

    Raises `ValueError` where it has none of them; `part` and `table` stand in the message.
    """
    for path in paths:
        try:
            return model.get_submodule(path)
        except AttributeError:
            continue
    raise ValueError(
        f"{type(model).__name__} keeps its {part} at no known path ({', '.join(paths)}); add it to "
        f"unlearn.language_model.architecture.{table}"
    )


def get_hidden_size(model: nn.Module) -> int:
    """Return the width of the hidden states."""
    return model.config.get_text_config().hidden_size


def check_layers(layers: list[int], depth: int) -> list[int]:
    """Return the layers in ascending order.

    Raises `ValueError` for an empty list, a repeated layer, or one outside 0..depth - 1.
    """
    if not layers or len(set(layers)) < len(layers):
        raise ValueError(
            f"--layers {' '.join(map(str, layers))}: give one or more different layers"
        )
    outside = [layer for layer in layers if not 0 <= layer < depth]
    if outside:
        raise ValueError(f"--layers: {outside[0]} is outside this model's 0..{depth - 1}")
    return sorted(layers)

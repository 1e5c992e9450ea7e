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
    """Return the decoder layers, whose outputs are hidden states [B, T, d].

    Raises `ValueError` for an architecture not in BLOCK_PATHS, and for one whose layers give
    something else.
    """
    check_decoder_only(model)
    return find_submodule(model, BLOCK_PATHS, "decoder layers", "BLOCK_PATHS")


def check_decoder_only(model: nn.Module) -> None:
    """Raise `ValueError` for Gemma 3n, and for a half of an encoder-decoder model such as BART."""
    config = getattr(model, "config", None)
    name = type(model).__name__
    if hasattr(config, "encoder_layers") and hasattr(config, "decoder_layers"):
        raise ValueError(
            f"{name} is one half of an encoder-decoder model, which no method here can take; give "
            "a decoder-only language model, such as Llama or Qwen"
        )
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else None
    if hasattr(text_config, "altup_num_inputs"):
        raise ValueError(
            f"{name}: the layers of Gemma 3n carry {text_config.altup_num_inputs} hidden states a "
            "token (AltUp), which no method here can edit or read; give Gemma 3 or Gemma 4"
        )


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

"""Whether the cached engine computes what a model computes, by its architecture and its logits.

The architecture comes first, because a text can be too short, or its numbers too coarse, to show
what the engine leaves out.
"""

from itertools import cycle, islice

import torch
from torch import Tensor, nn

from grun.engines.base import Engine
from unlearn.language_model.architecture import find_decoder_layers
from unlearn.language_model.batches import Batch, pad
from unlearn.language_model.prompts import Encoded

# the attention that the engine has; any other word of config.layer_types is another kind of layer
ATTENTION_TYPES = {"attention", "full_attention", "sliding_attention"}

# Largest `measure_difference` between two correct computations. Measured on random models of 5 and
# 32 layers: at most 1e-6 in float32, 1e-2 in float16 and 7e-3 in bfloat16, 1.4e-2 there with a
# mixture of experts. A wrong mask, or a part of attention left out, gives 5e-2 to 1.2.
TOLERANCES = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 4e-2}

PROMPT_LENGTHS = (1, 4, 11, 23)  # of the probes
ANSWER_LENGTH = 8
BEYOND_WINDOW = 512  # tokens by which the long probe is longer than a sliding window, at most


def describe_misfit(model: nn.Module, first: int) -> str | None:
    """Return why a model cannot run in the cached engine above layer `first`; None where it may."""
    config = model.config.get_text_config()
    types = set(getattr(config, "layer_types", None) or ())
    if "chunked_attention" in types:
        return "it attends within chunks of the text (chunked attention)"
    others = sorted(types - ATTENTION_TYPES)
    if others:
        return f"it is a hybrid: its layers of type {', '.join(others)} are more than attention"
    return describe_keys_misfit(config, find_decoder_layers(model), first)


def describe_keys_misfit(config, blocks: nn.ModuleList, first: int) -> str | None:
    """Return why keys and values above layer `first` cannot be stacked; None where they can."""
    widths = {getattr(getattr(b, "self_attn", None), "head_dim", None) for b in blocks[first + 1 :]}
    if len(widths) > 1:
        return "its layers have heads of different width"
    first_shared = find_first_shared_layer(config)
    for layer in range(max(first_shared, first + 1), config.num_hidden_layers):
        kind = config.layer_types[layer]
        source = max(i for i in range(first_shared) if config.layer_types[i] == kind)
        if source <= first:
            return (
                f"layer {layer} shares the keys and values of layer {source}, which does not run "
                f"above the first edited layer {first}"
            )
    return None


def find_first_shared_layer(config) -> int:
    """Return the first layer that reuses keys and values of a lower one; the depth without any."""
    return config.num_hidden_layers - (getattr(config, "num_kv_shared_layers", 0) or 0)


def describe_short_edits(model: nn.Module, layers: list[int]) -> str | None:
    """Return which of the edited layers no later token sees; None where every edit is seen.

    A later token sees an edit of the last prompt token by way of the keys and values that a layer
    above makes of it; layers that share those of lower ones make none.
    """
    first_shared = find_first_shared_layer(model.config.get_text_config())
    if first_shared >= len(find_decoder_layers(model)):
        return None
    short = [layer for layer in layers if layer >= first_shared - 1]
    if not short:
        return None
    return (
        f"--layers {' '.join(map(str, short))}: layers from {first_shared} on share keys and "
        "values of lower ones, so an edit there changes the first answer token alone; edit layers "
        f"below {first_shared - 1}, or pass --edit_at answer_on"
    )


def build_probes(model: nn.Module, sample: Batch) -> list[Batch]:
    """Return batches that show a wrong mask: four prompt lengths together, and one text that is
    longer than the model's sliding window, if it has one.

    They repeat the tokens of `sample`, so that no special token of the vocabulary gets in.
    """
    config = model.config.get_text_config()
    device = sample.input_ids.device
    tokens = list(dict.fromkeys(i for example in sample.encoded for i in example.ids))
    texts = [
        Encoded(repeat_tokens(tokens[i:] + tokens[:i], length + ANSWER_LENGTH), length)
        for i, length in enumerate(PROMPT_LENGTHS)
    ]
    batches = [pad(texts, 0, device)]
    window = getattr(config, "sliding_window", None)
    longest = getattr(config, "max_position_embeddings", None)
    if window and (longest is None or window < longest):
        length = window + max(2 * ANSWER_LENGTH, min(window, BEYOND_WINDOW))
        long_probe = build_long_probe(tokens, window, min(length, longest or length))
        batches.append(pad([long_probe], 0, device))
    return batches


def build_long_probe(tokens: list[int], window: int, length: int) -> Encoded:
    """Return a text of `length` tokens of which the last `window` ones are others than the first,
    so that attention to a token outside the window changes every mean.
    """
    half = (len(tokens) + 1) // 2
    outside = repeat_tokens(tokens[:half], length - window)
    inside = repeat_tokens(tokens[half:] or tokens, window)
    return Encoded(outside + inside, max(1, length - ANSWER_LENGTH))


def repeat_tokens(tokens: list[int], length: int) -> list[int]:
    """Return `length` tokens: the given ones again and again."""
    return list(islice(cycle(tokens), length))


def measure_difference(logits: Tensor, expected: Tensor) -> float:
    """Return the mean over tokens of |x - y| / |y|, Euclidean norms over the vocabulary.

    x, y [N, V] float32: logits, and those expected, less each token's mean, which softmax ignores.
    """
    x, y = (values - values.mean(1, keepdim=True) for values in (logits, expected))
    return float(((x - y).norm(dim=1) / y.norm(dim=1)).mean())


def describe_difference(dtype: torch.dtype, cached: Engine, plain: Engine, batches) -> str | None:
    """Return by how much the engines' logits differ on `batches`; None where it is rounding."""
    tolerance = TOLERANCES.get(dtype, max(TOLERANCES.values()))
    for batch in batches:
        logits = cached.reference_forward(batch).logits
        difference = measure_difference(logits, plain.reference_forward(batch).logits)
        if not difference <= tolerance:
            return f"its logits are off by {difference:.1%}, where {tolerance:.1%} is rounding"
    return None

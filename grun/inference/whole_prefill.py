"""Prefills of models that run upper layers on the last tokens alone (Gemma 4 in transformers).

Layers that share the keys and values of lower ones leave nothing in the cache, so transformers cuts
their input to the tokens whose logits are wanted. An edit there counts columns of the whole prompt.
"""

import torch
from torch import nn


def shares_keys(model: nn.Module) -> bool:
    """Return whether upper layers reuse the keys and values of lower ones."""
    return bool(getattr(model.config.get_text_config(), "num_kv_shared_layers", 0))


def keep_whole_prefill(_module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """A forward pre-hook: ask for the same logits by their columns, for which nothing is cut."""
    count = kwargs.get("logits_to_keep")
    tokens = kwargs.get("input_ids", args[0] if args else None)
    tokens = kwargs.get("inputs_embeds") if tokens is None else tokens
    if type(count) is not int or not count or tokens is None:
        return args, kwargs
    length = tokens.shape[1]
    columns = torch.arange(max(0, length - count), length, device=tokens.device)
    return args, kwargs | {"logits_to_keep": columns}

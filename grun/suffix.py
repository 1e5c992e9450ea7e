"""A forward pass over suffixes alone: only the blocks above one layer, all examples packed into one row without padding.

A suffix is an example from its last prompt token on. Attention is causal and GRUN edits that token first, so what the layers above need of the
earlier positions, their keys and values, is constant and comes from a cache. The model's own code runs everything else (rotary positions,
norms, soft caps, output head): the blocks up to `first` are made to hand over the stored hidden states, and the attention of the
others is this module's `attend`, which every architecture on transformers' attention interface calls.
"""

from contextlib import ExitStack, contextmanager
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from unlearn.models import blocks

NAME = "grun_suffix"


class Packed:
    """B suffixes in one row of N tokens, on one device.

    lengths, prefixes: tokens of each suffix, positions before it; prefix_states [2, L_above, B, H_kv, P_max, d_head]: keys and values of the
    prefixes in the blocks above `first`, padded on the right (P_max may be 0).
    rows, columns, positions [N] int64: example, place in its suffix, place in its whole text; starts [B]: first token of each suffix."""

    def __init__(self, lengths: list[int], prefixes: list[int], prefix_states: Tensor, first: int):
        self.states, self.first, device = prefix_states, first, prefix_states.device
        places = [(b, t, prefix + t) for b, (n, prefix) in enumerate(zip(lengths, prefixes, strict=True)) for t in range(n)]
        self.rows, self.columns, self.positions = torch.tensor(places).T.to(device)
        ends = list(accumulate(lengths))
        self.starts = torch.tensor([0, *ends[:-1]], device=device)
        self.prefixes, self.width = torch.tensor(prefixes, device=device), max(lengths)
        self.masks: dict[int | None, Tensor] = {}

    def mask(self, window: int | None) -> Tensor:
        """[B, 1, S, P_max + S] bool: a suffix token sees its own prefix and the suffix up to itself, at most `window` - 1 tokens back."""
        if window not in self.masks:
            device = self.prefixes.device
            steps, places = torch.arange(self.width, device=device), torch.arange(self.states.shape[4], device=device)
            query = self.prefixes[:, None] + steps
            key = torch.cat([places.expand(len(query), -1), query], 1)
            real = torch.cat([places < self.prefixes[:, None], torch.ones_like(query, dtype=torch.bool)], 1)
            distance = query[:, :, None] - key[:, None, :]
            seen = real[:, None, :] & (distance >= 0)
            self.masks[window] = (seen if window is None else seen & (distance < window))[:, None]
        return self.masks[window]

    def with_prefix(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H_kv, S, d_head] of the suffixes, behind those of their prefixes."""
        keys, values = self.states[:, layer - self.first - 1]
        return torch.cat([keys, key], 2), torch.cat([values, value], 2)

    def pad(self, packed: Tensor) -> Tensor:
        """[1, H, N, d_head] -> [B, H, S, d_head], zeros where a suffix has ended."""
        out = packed.new_zeros(len(self.prefixes), self.width, packed.shape[1], packed.shape[3])
        return out.index_put((self.rows, self.columns), packed[0].transpose(0, 1)).transpose(1, 2)

    def pack(self, padded: Tensor) -> Tensor:
        """[B, H, S, d_head] -> [1, N, H, d_head]: the inverse of `pad`, in the layout an attention function returns."""
        return padded.transpose(1, 2)[self.rows, self.columns][None]


_running: list[Packed] = []  # the pass under way; attention functions get no argument of ours


def attend(module, query, key, value, attention_mask=None, scaling=None, dropout=0.0, sliding_window=None, softcap=None, **_):
    """transformers' attention signature: query [1, H, N, d_head], key, value [1, H_kv, N, d_head] -> ([1, N, H, d_head], None)."""
    packed = _running[-1]
    query = packed.pad(query)
    key, value = packed.with_prefix(module.layer_idx, packed.pad(key), packed.pad(value))
    mask = packed.mask(sliding_window)
    if softcap is None:
        out = scaled_dot_product_attention(query, key, value, mask, dropout, scale=scaling, enable_gqa=query.shape[1] != key.shape[1])
    else:
        key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], 1) for t in (key, value))
        scores = (query @ key.transpose(2, 3)) * scaling
        scores = (softcap * torch.tanh(scores / softcap)).masked_fill(~mask, float("-inf"))
        out = scores.float().softmax(-1).to(query.dtype) @ value
    return packed.pack(out), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, lambda *_, **__: None)  # `attend` makes its own mask


@contextmanager
def _forward_replaced(block: nn.Module, forward):
    block.forward = forward
    try:
        yield
    finally:
        del block.forward


@contextmanager
def _attention(model: nn.Module, name: str):
    config = model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


def run_suffixes(model: nn.Module, hidden: Tensor, ids: Tensor, packed: Packed, returns_tuple: bool) -> Tensor:
    """Logits of an HF causal model over packed suffixes, given the output `hidden` [N, d] of block `packed.first` and token `ids` [N].

    Hooks on blocks above it and on the output head work as in any forward. The token ids only pass through."""
    _running.append(packed)
    with ExitStack() as stack:
        stack.callback(_running.pop)
        stack.enter_context(_attention(model, NAME))
        for number, block in enumerate(blocks(model)[: packed.first + 1]):
            given = hidden[None] if number == packed.first else None

            def hand_over(states, *_, given=given, **__):
                out = states if given is None else given
                return (out,) if returns_tuple else out

            stack.enter_context(_forward_replaced(block, hand_over))
        return model(input_ids=ids[None], position_ids=packed.positions[None], use_cache=False).logits

"""A forward pass over suffixes alone: only the blocks above one layer, all examples packed into one
row without padding.

A suffix is an example from its last prompt token on. Attention is causal and GRUN edits that token
first, so what the layers above need of the earlier positions, their keys and values, is constant
and comes from a cache. The model's own code runs everything else (rotary positions, norms, soft
caps, output head): the blocks up to `first` are made to hand over the stored hidden states, and the
attention of the others is this module's `attend`, which every architecture on transformers'
attention interface calls."""

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from unlearn.language_model.hidden_states import StopForward
from unlearn.language_model.models import decoder_layers

NAME = "grun_suffix"
# suffixes that are padded to one length inside attention; sorted by length, so that little is
# padding
GROUP = 8


@dataclass
class Group:
    """Suffixes of similar length: size B_g, width S (the longest), prefixes [B_g] int64 (positions
    before each), and the keys and values of the prefixes in every block above, states [2, L_above,
    B_g, H_kv, P_max, d_head], padded on the right; None: there are no prefixes."""

    size: int
    width: int
    prefixes: Tensor
    states: Tensor | None
    masks: dict[int | None, Tensor] = field(default_factory=dict)

    def mask(self, window: int | None) -> Tensor:
        """[B_g, 1, S, P_max + S] bool: a suffix token sees its own prefix and the suffix up to
        itself, at most `window` - 1 tokens back."""
        if window not in self.masks:
            device = self.prefixes.device
            room = 0 if self.states is None else self.states.shape[4]
            steps = torch.arange(self.width, device=device)
            places = torch.arange(room, device=device)
            query = self.prefixes[:, None] + steps
            key = torch.cat([places.expand(len(query), -1), query], 1)
            real = torch.cat(
                [places < self.prefixes[:, None], torch.ones_like(query, dtype=torch.bool)], 1
            )
            distance = query[:, :, None] - key[:, None, :]
            seen = real[:, None, :] & (distance >= 0)
            self.masks[window] = (seen if window is None else seen & (distance < window))[:, None]
        return self.masks[window]

    def with_prefix(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B_g, H_kv, S, d_head] of the suffixes, behind those of their prefixes in
        the block number `layer` above."""
        if self.states is None:
            return key, value
        keys, values = self.states[:, layer]
        return torch.cat([keys, key], 2), torch.cat([values, value], 2)


class Packed:
    """B suffixes in one row of N tokens, on one device; padded inside attention only, in groups of
    similar length.

    lengths, prefixes: tokens of each suffix, positions before it; states: for each suffix [2,
    L_above, H_kv, prefix, d_head], the keys and values of its prefix in the blocks above `first`
    (None: there are no prefixes). rows, positions [N] int64: example, place in its whole text;
    starts [B]: first token of each suffix; slots [N]: place of each token among the M = sum of B_g
    S of all groups."""

    def __init__(
        self,
        lengths: list[int],
        prefixes: list[int],
        states: list[Tensor] | None,
        first: int,
        device: torch.device,
    ):
        self.kept, self.wanted = (
            [],
            0,
            # keys and values [2, H_kv, N, d_head] of the first `wanted` blocks that run, after which
            # the pass ends
        )
        self.first = first
        order = sorted(range(len(lengths)), key=lambda b: -lengths[b])
        self.groups = []
        offsets = [0] * len(lengths)
        self.room = 0
        for i in range(0, len(order), GROUP):
            chosen = order[i : i + GROUP]
            width = lengths[chosen[0]]
            own = None if states is None else right_padded([states[b] for b in chosen])
            self.groups.append(
                Group(
                    len(chosen),
                    width,
                    torch.tensor([prefixes[b] for b in chosen], device=device),
                    own,
                )
            )
            for b in chosen:
                offsets[b] = self.room
                self.room += width
        begins = [0, *accumulate(lengths)][:-1]
        self.starts, sizes, shift = (
            torch.tensor(values, device=device) for values in (begins, lengths, prefixes)
        )
        self.rows = torch.repeat_interleave(sizes, output_size=sum(lengths))
        columns = torch.arange(sum(lengths), device=device) - self.starts[self.rows]
        self.positions = columns + shift[self.rows]
        self.slots = columns + torch.tensor(offsets, device=device)[self.rows]

    def pad(self, packed: Tensor) -> list[Tensor]:
        """[1, H, N, d_head] -> for each group [B_g, H, S, d_head], zeros where a suffix has
        ended."""
        tokens = packed[0].transpose(0, 1)
        padded = packed.new_zeros(self.room, *tokens.shape[1:]).index_copy(0, self.slots, tokens)
        parts = padded.split([group.size * group.width for group in self.groups])
        return [
            part.unflatten(0, (group.size, group.width)).transpose(1, 2)
            for group, part in zip(self.groups, parts, strict=True)
        ]

    def pack(self, padded: list[Tensor]) -> Tensor:
        """The inverse of `pad`, in the layout an attention function returns: [1, N, H, d_head]."""
        return torch.cat([part.transpose(1, 2).flatten(0, 1) for part in padded]).index_select(
            0, self.slots
        )[None]


def right_padded(prefixes: list[Tensor]) -> Tensor:
    """[2, L, H, P_b, d] each -> [2, L, B, H, P_max, d] with zeros after the end."""
    kinds, layers, heads, _, width = prefixes[0].shape
    out = prefixes[0].new_zeros(
        kinds, layers, len(prefixes), heads, max(p.shape[3] for p in prefixes), width
    )
    for b, prefix in enumerate(prefixes):
        out[:, :, b, :, : prefix.shape[3]] = prefix
    return out


_running: list[Packed] = []  # the pass under way; attention functions get no argument of ours


def attend(
    module,
    query,
    key,
    value,
    attention_mask=None,
    scaling=None,
    dropout=0.0,
    sliding_window=None,
    softcap=None,
    **_,
):
    """transformers' attention signature: query [1, H, N, d_head], key, value [1, H_kv, N, d_head]
    -> ([1, N, H, d_head], None)."""
    packed = _running[-1]
    said = []
    if packed.wanted:
        packed.kept.append(torch.cat([key, value]))
        if len(packed.kept) == packed.wanted:
            raise StopForward
    for group, q, k, v in zip(
        packed.groups, packed.pad(query), packed.pad(key), packed.pad(value), strict=True
    ):
        k, v = group.with_prefix(module.layer_idx - packed.first - 1, k, v)
        mask = group.mask(sliding_window)
        if softcap is None:
            said.append(
                scaled_dot_product_attention(
                    q, k, v, mask, dropout, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
                )
            )
            continue
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
        scores = (q @ k.transpose(2, 3)) * scaling
        scores = (softcap * torch.tanh(scores / softcap)).masked_fill(~mask, float("-inf"))
        said.append(scores.float().softmax(-1).to(q.dtype) @ v)
    return packed.pack(said), None


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


def run_suffixes(
    model: nn.Module, hidden: Tensor, ids: Tensor, packed: Packed, returns_tuple: bool
) -> Tensor:
    """Logits of an HF causal model over packed suffixes, given the output `hidden` [N, d] of block
    `packed.first` and token `ids` [N].

    Hooks on blocks above it and on the output head work as in any forward. The token ids only pass
    through."""
    _running.append(packed)
    with ExitStack() as stack:
        stack.callback(_running.pop)
        stack.enter_context(_attention(model, NAME))
        for number, block in enumerate(decoder_layers(model)[: packed.first + 1]):
            given = hidden[None] if number == packed.first else None

            def hand_over(states, *_, given=given, **__):
                out = states if given is None else given
                return (out,) if returns_tuple else out

            stack.enter_context(_forward_replaced(block, hand_over))
        return model(
            input_ids=ids[None], position_ids=packed.positions[None], use_cache=False
        ).logits


def run_below(model: nn.Module, ids: list[list[int]], last: int) -> tuple[Tensor, bool]:
    """Output [N, d] of block `last` on whole texts, packed, and whether a block returns a tuple;
    nothing after that block runs."""
    device = next(model.parameters()).device
    seen = []

    def stop(_module, _args, output):
        seen.append(output)
        raise StopForward

    packed = Packed([len(own) for own in ids], [0] * len(ids), None, -1, device)
    flat = torch.tensor([i for own in ids for i in own], device=device)
    handle = decoder_layers(model)[last].register_forward_hook(stop)
    _running.append(packed)
    try:
        with _attention(model, NAME):
            model(input_ids=flat[None], position_ids=packed.positions[None], use_cache=False)
    except StopForward:
        pass
    finally:
        _running.pop()
        handle.remove()
    is_tuple = isinstance(seen[0], tuple)
    return (seen[0][0] if is_tuple else seen[0])[0], is_tuple


def run_above(
    model: nn.Module, hidden: Tensor, ids: list[list[int]], first: int, returns_tuple: bool
) -> Tensor:
    """Keys and values [2, L_above, H_kv, N, d_head] in the blocks above `first`, given its output
    `hidden` [N, d] on texts, packed; nothing after the last of them runs."""
    packed = Packed([len(own) for own in ids], [0] * len(ids), None, first, hidden.device)
    packed.wanted = len(decoder_layers(model)) - first - 1
    try:
        run_suffixes(
            model,
            hidden,
            torch.tensor([i for own in ids for i in own], device=hidden.device),
            packed,
            returns_tuple,
        )
    except StopForward:
        pass
    return torch.stack(packed.kept, 1)

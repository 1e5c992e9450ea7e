"""The layout of suffixes that run together: one row without padding, padded inside attention only.

A suffix is an example from its last prompt token on. What the layers above the first edit need of
the earlier tokens, their keys and values, is constant and comes from a cache.
"""

from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor

# suffixes that are padded to one length inside attention; they are sorted by length first, so that
# little is padding
GROUP_SIZE = 8


@dataclass
class Group:
    """B_g suffixes of similar length.

    size      B_g
    width     S, the longest
    prefixes  [B_g] int64: positions before each suffix
    states    [L_above, B_g, H_kv, P_max, d_k + d_v]: keys and values of the prefixes in every block
              above, padded on the right; None where there are no prefixes
    masks     attention masks by sliding window, made on demand
    """

    size: int
    width: int
    prefixes: Tensor
    states: Tensor | None
    masks: dict[int | None, Tensor] = field(default_factory=dict)

    def mask(self, window: int | None) -> Tensor:
        """Return [B_g, 1, S, P_max + S] bool: which keys each token of a suffix sees.

        It sees its own prefix and the suffix up to itself, at most `window` - 1 tokens back.
        """
        if window not in self.masks:
            device = self.prefixes.device
            width = 0 if self.states is None else self.states.shape[3]
            prefix_key = torch.arange(width, device=device)
            query = self.prefixes[:, None] + torch.arange(self.width, device=device)
            key = torch.cat([prefix_key.expand(len(query), -1), query], 1)
            is_real = torch.cat(
                [prefix_key < self.prefixes[:, None], torch.ones_like(query, dtype=torch.bool)], 1
            )
            distance = query[:, :, None] - key[:, None, :]
            seen = is_real[:, None, :] & (distance >= 0)
            self.masks[window] = (seen if window is None else seen & (distance < window))[:, None]
        return self.masks[window]

    def with_prefix(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Put the prefixes before the suffixes' keys [B_g, H_kv, S, d_k] and values [.., S, d_v].

        layer: number of the block, counted from the first one above the edit.
        """
        if self.states is None:
            return key, value
        keys, values = self.states[layer].split([key.shape[3], value.shape[3]], 3)
        return torch.cat([keys, key], 2), torch.cat([values, value], 2)


class PackedSuffixes:
    """B suffixes in one row of N tokens, on one device.

    rows, positions  [N] int64: each token's example, and its place in the example's whole text
    starts           [B] int64: first token of each suffix
    slots            [N] int64: place of each token among the M = sum of B_g S of all groups
    groups           the padded groups of attention
    first            the block below those that run
    """

    def __init__(
        self,
        lengths: list[int],
        prefixes: list[int],
        states: list[Tensor] | None,
        first: int,
        device: torch.device,
    ):
        """Lay out suffixes of `lengths` tokens behind `prefixes` positions each.

        states: of each suffix [L_above, H_kv, prefix, d_k + d_v], the keys and values of its prefix
        in the blocks above `first`; None: there are no prefixes.
        """
        self.first = first
        self.groups: list[Group] = []
        self.n_slots = 0
        offsets = [0] * len(lengths)
        order = sorted(range(len(lengths)), key=lambda b: -lengths[b])
        for i in range(0, len(order), GROUP_SIZE):
            chosen = order[i : i + GROUP_SIZE]
            width = lengths[chosen[0]]
            group_prefixes = torch.tensor([prefixes[b] for b in chosen], device=device)
            group_states = None if states is None else right_padded([states[b] for b in chosen])
            self.groups.append(Group(len(chosen), width, group_prefixes, group_states))
            for b in chosen:
                offsets[b] = self.n_slots
                self.n_slots += width
        begins = [0, *accumulate(lengths)][:-1]
        self.starts, sizes, shift = (
            torch.tensor(values, device=device) for values in (begins, lengths, prefixes)
        )
        self.rows = torch.repeat_interleave(sizes, output_size=sum(lengths))
        columns = torch.arange(sum(lengths), device=device) - self.starts[self.rows]
        self.positions = columns + shift[self.rows]
        self.slots = columns + torch.tensor(offsets, device=device)[self.rows]

    def pad(self, packed: Tensor) -> list[Tensor]:
        """[1, H, N, d] -> of each group [B_g, H, S, d], zeros after a suffix's end."""
        tokens = packed[0].transpose(0, 1)
        padded = packed.new_zeros(self.n_slots, *tokens.shape[1:]).index_copy(0, self.slots, tokens)
        parts = padded.split([group.size * group.width for group in self.groups])
        return [
            part.unflatten(0, (group.size, group.width)).transpose(1, 2)
            for group, part in zip(self.groups, parts, strict=True)
        ]

    def pack(self, padded: list[Tensor]) -> Tensor:
        """The inverse of `pad`, in the layout an attention function returns: [1, N, H, d]."""
        return torch.cat([part.transpose(1, 2).flatten(0, 1) for part in padded]).index_select(
            0, self.slots
        )[None]


def right_padded(prefixes: list[Tensor]) -> Tensor | None:
    """[L, H, P_b, d] each -> [L, B, H, P_max, d] with zeros after the end; None where P_max is 0.

    H and d of a prefix of length 0 say nothing: no keys have been made for it.
    """
    longest = max(prefixes, key=lambda prefix: prefix.shape[2])
    layers, heads, length, width = longest.shape
    if not length:
        return None
    out = longest.new_zeros(layers, len(prefixes), heads, length, width)
    for b, prefix in enumerate(prefixes):
        if prefix.shape[2]:
            out[:, b, :, : prefix.shape[2]] = prefix
    return out

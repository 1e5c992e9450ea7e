"""What the blocks above the first edited layer l1 need of each example, computed once and kept.

The base is frozen and attention is causal, so the output of block l1 on an example, and the keys
and values that the later blocks take from the tokens before the edit, are constants.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from grun.engines.suffix_forward import run_above, run_below
from unlearn.language_model.architecture import find_decoder_layers
from unlearn.language_model.devices import measure_free_memory
from unlearn.language_model.prompts import Encoded

FREE_SHARE = 0.4  # of the memory free on the model's device, where --cache_gb is not given


@dataclass
class CachedPrefix:
    """The constants of one example of P prompt tokens, whose suffix from the last one has S.

    hidden  [S, d]: output of block l1 on [last prompt token + answer without its last token]
    prefix  [2, L_above, H_kv, P - 1, d_head]: keys and values of the earlier tokens, in the blocks
            above l1
    """

    hidden: Tensor
    prefix: Tensor

    @property
    def n_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.hidden, self.prefix))


class PrefixCache:
    """Prefixes of the examples used last, on the model's device.

    cache_gb bounds their size in GiB. Beyond it the examples used longest ago are dropped, and
    computed again when they return: memory never runs out and no result changes. used_bytes: size
    of what is kept; computed: number of prefixes computed so far.
    """

    def __init__(
        self,
        model: nn.Module,
        first: int,
        cache_gb: float | None = None,
        batch_size: int = 32,
    ):
        """first: l1; batch_size: examples whose prefixes are computed in one pass."""
        self.model = model
        self.first = first
        self.batch_size = batch_size
        device = next(model.parameters()).device
        self.max_bytes = (
            measure_free_memory(device) * FREE_SHARE if cache_gb is None else cache_gb * 2**30
        )
        self.entries: OrderedDict[tuple, CachedPrefix] = OrderedDict()
        self.used_bytes = 0
        self.computed = 0
        self.returns_tuple = False  # whether a decoder block returns one

    def get(self, encoded: list[Encoded]) -> list[CachedPrefix]:
        """Return the prefixes of the examples of a step, computing those that are missing."""
        keys = [tuple(e.ids) for e in encoded]
        prefixes = {key: self.entries[key] for key in keys if key in self.entries}
        for key in prefixes:
            self.entries.move_to_end(key)
        missing = {key: e for key, e in zip(keys, encoded, strict=True) if key not in prefixes}
        longest_first = sorted(missing, key=len, reverse=True)
        for start in range(0, len(longest_first), self.batch_size):
            chosen = longest_first[start : start + self.batch_size]
            fresh = self.precompute([missing[key] for key in chosen])
            prefixes |= zip(chosen, fresh, strict=True)
            self.insert(dict(zip(chosen, fresh, strict=True)))
        return [prefixes[key] for key in keys]

    @torch.no_grad()
    def precompute(self, encoded: list[Encoded]) -> list[CachedPrefix]:
        """Run the frozen base, packed: blocks 0 to l1 on whole examples, later blocks on prefixes.

        Nothing else is computed.
        """
        self.computed += len(encoded)
        prefix_lengths = [e.prompt_length - 1 for e in encoded]
        hidden, self.returns_tuple = run_below(
            self.model, [e.ids[:-1] for e in encoded], self.first
        )
        texts = hidden.split([len(e.ids) - 1 for e in encoded])
        suffixes = [text[n:].clone() for text, n in zip(texts, prefix_lengths, strict=True)]
        layers_above = len(find_decoder_layers(self.model)) - self.first - 1
        if not layers_above or not any(prefix_lengths):
            return [
                CachedPrefix(suffix, suffix.new_zeros(2, layers_above, 1, 0, 1))
                for suffix in suffixes
            ]
        keys_and_values = run_above(
            self.model,
            torch.cat([text[:n] for text, n in zip(texts, prefix_lengths, strict=True)]),
            [e.ids[:n] for e, n in zip(encoded, prefix_lengths, strict=True)],
            self.first,
            self.returns_tuple,
        )
        prefixes = keys_and_values.split(prefix_lengths, 3)
        return [
            CachedPrefix(suffix, prefix.clone())
            for suffix, prefix in zip(suffixes, prefixes, strict=True)
        ]

    def insert(self, fresh: dict[tuple, CachedPrefix]) -> None:
        """Keep prefixes; those used longest ago make room."""
        self.entries |= fresh
        self.used_bytes += sum(entry.n_bytes for entry in fresh.values())
        while self.used_bytes > self.max_bytes and self.entries:
            _, oldest = self.entries.popitem(last=False)
            self.used_bytes -= oldest.n_bytes

"""What the blocks above the first edited layer l1 need of each example, computed once and kept.

The base is frozen and attention is causal, so the output of block l1 on an example, and the keys
and values that the later blocks take from the tokens before the edit, are constants. Their last
bits depend on the examples that run in the same pass, so these are always the same ones, its group:
a resumed run, which meets an example later, or a full cache, which drops it, changes no bit.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from grun.engines.suffix_forward import run_above, run_below
from unlearn.language_model.architecture import find_decoder_layers
from unlearn.language_model.devices import measure_free_memory
from unlearn.language_model.prompts import Encoded

FREE_SHARE = 0.4  # of the memory free on the model's device, where --cache_gb is not given

# Examples of one pass. Alone an example takes 1.3 times its share of a pass of 16 (2 CPU cores);
# larger groups cost more where a full cache has dropped one example of them.
GROUP_SIZE = 8


@dataclass
class CachedPrefix:
    """The constants of one example of P prompt tokens, whose suffix from the last one has S.

    hidden  [S, d]: output of block l1 on [last prompt token + answer without its last token]
    prefix  [L_above, H_kv, P - 1, d_k + d_v]: keys and values of the earlier tokens, in the blocks
            above l1
    """

    hidden: Tensor
    prefix: Tensor

    @property
    def n_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.hidden, self.prefix))


def example_key(encoded: Encoded) -> tuple:
    """Return what tells an example from others: its ids, and where its prompt ends."""
    return (encoded.prompt_length, *encoded.ids)


class PassGroups:
    """The examples that run in one pass with each example: at most GROUP_SIZE that were new in the
    same batch, the longest first.
    """

    def __init__(self):
        self.upcoming: Iterator[list[Encoded]] = iter(())
        self.groups: dict[tuple, list[Encoded]] = {}

    def announce(self, batches: Iterable[list[Encoded]]) -> None:
        """Form groups by these batches, in their order, whichever of them comes first in fact.

        They are read as far as needed: up to the batch that has the example asked for.
        """
        self.upcoming = iter(batches)

    def find(self, encoded: list[Encoded]) -> list[list[Encoded]]:
        """Return the group of each example; those that no announced batch has form new ones."""
        keys = [example_key(e) for e in encoded]
        while not all(key in self.groups for key in keys):
            self.form(next(self.upcoming, encoded))
        return [self.groups[key] for key in keys]

    def form(self, batch: list[Encoded]) -> None:
        """Put the examples of a batch that are in no group into new ones."""
        new = {key: e for e in batch if (key := example_key(e)) not in self.groups}
        longest_first = sorted(new.values(), key=lambda e: len(e.ids), reverse=True)
        for start in range(0, len(longest_first), GROUP_SIZE):
            group = longest_first[start : start + GROUP_SIZE]
            self.groups |= {example_key(e): group for e in group}


class PrefixCache:
    """Prefixes of the examples used last, on the model's device.

    cache_gb bounds their size in GiB. Beyond it the examples used longest ago are dropped, and
    computed again when they return: memory never runs out and no result changes. used_bytes: size
    of what is kept; computed: number of prefixes computed so far.
    """

    def __init__(self, model: nn.Module, first: int, cache_gb: float | None = None):
        """first: l1."""
        self.model = model
        self.first = first
        device = next(model.parameters()).device
        self.max_bytes = (
            measure_free_memory(device) * FREE_SHARE if cache_gb is None else cache_gb * 2**30
        )
        self.pass_groups = PassGroups()
        self.entries: OrderedDict[tuple, CachedPrefix] = OrderedDict()
        self.used_bytes = 0
        self.computed = 0
        self.returns_tuple = False  # whether a decoder block returns one

    def get(self, encoded: list[Encoded]) -> list[CachedPrefix]:
        """Return the prefixes of the examples of a step, computing those that are missing."""
        keys = [example_key(e) for e in encoded]
        prefixes = {key: self.entries[key] for key in keys if key in self.entries}
        for key in prefixes:
            self.entries.move_to_end(key)
        for key, group in zip(keys, self.pass_groups.find(encoded), strict=True):
            if key in prefixes:
                continue
            fresh = dict(zip(map(example_key, group), self.precompute(group), strict=True))
            prefixes |= {other: fresh[other] for other in keys if other in fresh}
            self.insert(fresh)
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
                CachedPrefix(suffix, suffix.new_zeros(layers_above, 1, 0, 1)) for suffix in suffixes
            ]
        keys_and_values = run_above(
            self.model,
            torch.cat([text[:n] for text, n in zip(texts, prefix_lengths, strict=True)]),
            [e.ids[:n] for e, n in zip(encoded, prefix_lengths, strict=True)],
            self.first,
            self.returns_tuple,
        )
        prefixes = keys_and_values.split(prefix_lengths, 2)
        return [
            CachedPrefix(suffix, prefix.clone())
            for suffix, prefix in zip(suffixes, prefixes, strict=True)
        ]

    def insert(self, fresh: dict[tuple, CachedPrefix]) -> None:
        """Keep prefixes; those used longest ago make room."""
        new = {key: entry for key, entry in fresh.items() if key not in self.entries}
        self.entries |= new
        self.used_bytes += sum(entry.n_bytes for entry in new.values())
        while self.used_bytes > self.max_bytes and self.entries:
            _, oldest = self.entries.popitem(last=False)
            self.used_bytes -= oldest.n_bytes

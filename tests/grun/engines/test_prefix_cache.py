"""Cached prefixes: which examples share a pass, and that this alone decides the bits."""

import pytest
import torch

from grun.engines.prefix_cache import GROUP_SIZE, PassGroups, PrefixCache
from tests.grun.engines.test_engine import make_batch, make_model
from unlearn.language_model.prompts import Encoded

LENGTHS = [(3, 2), (20, 5), (9, 12), (7, 3), (15, 9), (2, 1)]
BATCHES = [make_batch(LENGTHS, seed).encoded for seed in range(4)]
EXAMPLES = [e for batch in BATCHES for e in batch]


def fill(order, cache_gb=1.0):
    """A cache with announced batches that was asked for its examples one by one, in this order."""
    cache = PrefixCache(make_model("llama"), 1, cache_gb)
    cache.pass_groups.announce(iter(BATCHES))
    return cache, {index: cache.get([EXAMPLES[index]])[0] for index in order}


def test_prefixes_follow_from_the_announced_batches():
    """Asked for in any order, together or one by one, from a cache of any size: the same bits."""
    indices = range(len(EXAMPLES))
    expected, prefixes = fill(indices)
    assert expected.computed == len(EXAMPLES)
    together = PrefixCache(expected.model, 1, 1.0)
    together.pass_groups.announce(iter(BATCHES))
    others = [
        fill(reversed(indices))[1],
        fill([*indices[7:], *indices], cache_gb=0)[1],
        fill([*indices, *indices], cache_gb=expected.used_bytes / 2**31)[1],
        dict(zip(indices, together.get(EXAMPLES), strict=True)),
    ]
    for other in others:
        for index, prefix in prefixes.items():
            assert torch.equal(other[index].hidden, prefix.hidden)
            assert torch.equal(other[index].prefix, prefix.prefix)


def test_used_bytes_are_those_of_the_entries():
    """Also after examples that a bounded cache dropped were computed again with their group."""
    whole, _ = fill(range(len(EXAMPLES)))
    half, _ = fill([5, 20, 0, 11, 3, 5, 17, 20, 8, 0], whole.used_bytes / 2**31)
    assert half.used_bytes == sum(entry.n_bytes for entry in half.entries.values())
    assert 0 < half.used_bytes <= half.max_bytes


def test_groups_are_small_and_the_longest_come_first():
    groups = PassGroups()
    batch = make_batch([(p, 2) for p in range(1, 14)]).encoded
    found = groups.find(batch)
    assert {len(group) for group in found} == {GROUP_SIZE, 13 - GROUP_SIZE}
    assert [len(e.ids) for e in found[-1]] == list(range(15, 7, -1))
    assert groups.find(batch[:1])[0] is found[0]


def test_batches_are_read_as_far_as_needed():
    groups = PassGroups()
    upcoming = iter(BATCHES)
    groups.announce(upcoming)
    groups.find(BATCHES[1][:1])
    assert next(upcoming) is BATCHES[2]
    unknown = Encoded([1, 5, 6, 7], 2)
    assert groups.find([unknown]) == [[unknown]]
    assert next(upcoming, None) is None


@pytest.mark.parametrize("length", [1, 3])
def test_same_tokens_with_another_prompt_are_another_example(length):
    cache = PrefixCache(make_model("llama"), 1, 1.0)
    texts = [Encoded([1, 5, 6, 7, 8], n) for n in (length, 2)]
    assert [len(prefix.hidden) for prefix in cache.get(texts)] == [5 - length, 3]

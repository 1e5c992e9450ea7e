"""Prompt ends under transformers' continuous batching, which packs all sequences into one row."""

from itertools import pairwise

SHARED_PREFIXES = (
    "prompts would share edited states; pass "
    "continuous_batching_config=ContinuousBatchingConfig(allow_block_sharing=False)"
)
NO_CACHE_SLOTS = (
    "a split prompt cannot be told from a decode step; pass "
    "ContinuousBatchingConfig(max_blocks_per_request=0)"
)


class PackedPromptEnds:
    """Finds where prompts end in packed passes.

    unfinished: the cache slots at which prompts stop that continuous batching has split.
    """

    def __init__(self):
        self.unfinished: set[int] = set()

    def find(self, inputs: dict) -> list[int]:
        """Return the columns of a packed pass at which prompts end.

        A prompt ends at the last token of a part whose logits are wanted and that is no decode
        step: a part of several tokens, or one token right behind the cache slot where an unfinished
        prompt stopped.

        Raises `ValueError` for prefixes shared between prompts, whose cached states hold another
        prompt's edit, and for split prompts where the inputs have no cache slots.
        """
        if getattr(inputs.get("cache"), "use_prefix_sharing", False):
            raise ValueError(SHARED_PREFIXES)
        if inputs.get("max_length_q") == 1 and not self.unfinished:
            return []
        if inputs.get("block_table") is not None:
            raise ValueError(NO_CACHE_SLOTS)
        written = inputs["write_index"][0].tolist()
        wants_logits = set(inputs["logits_indices"].tolist())
        self.unfinished -= set(written)  # of requests that were given up
        ends = []
        for start, stop, previous_slot in find_parts(inputs):
            continues = previous_slot in self.unfinished
            self.unfinished.discard(previous_slot)
            if stop - 1 not in wants_logits:
                self.unfinished.add(written[stop - 1])
            elif continues or stop - start > 1:
                ends.append(stop - 1)
        return ends


def find_parts(inputs: dict) -> list[tuple[int, int, int | None]]:
    """Return start, stop and the previous token's cache slot, if any, of each sequence's part."""
    read = inputs["read_index"][0].tolist()
    positions = inputs["position_ids"].flatten().tolist()
    key_ends = inputs["cu_seq_lens_k"]  # by attention kind in hybrid models
    key_ends = next(iter(key_ends.values())) if isinstance(key_ends, dict) else key_ends
    bounds = pairwise(inputs["cu_seq_lens_q"].tolist())
    parts = []
    for (start, stop), key_end in zip(bounds, key_ends.tolist()[1:], strict=False):
        if stop == start:
            continue
        has_previous = read and positions[start]
        previous_slot = read[key_end - 1 - (stop - start)] if has_previous else None
        parts.append((start, stop, previous_slot))
    return parts

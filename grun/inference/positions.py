"""Where a forward pass meets the end of its prompts: the tokens that are edited, found from what
the pass is given.

    `at(positions)`                         those columns, counted from the first one, padded and
                                            cached ones included
    inside `generate`                       the last token of the prompt, whichever pass it falls
                                            into: the prefill, a chunk of it, the new part behind a
                                            cached prefix, or, without a cache, every pass
    with `labels`                           the token before the first labelled one
    any other pass without cached tokens    the last 1 of the attention mask
    continuous batching                     the last token of every prompt that is packed into the
                                            pass

A single token behind cached ones is a decode step: it is not edited, and meets the edit through the
cache."""

from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from itertools import pairwise

import torch
from torch import Tensor, nn

IGNORED = -100  # transformers' label of a token that is not scored


@dataclass
class EditPositions:
    """The tokens to edit in one pass: rows, columns [n] of its hidden states; examples [n] of its
    `size` examples; first: no pass over these prompts edited any before."""

    rows: Tensor
    columns: Tensor
    examples: Tensor
    size: int
    first: bool = True


@dataclass
class GenerateCall:
    """What one call of `generate` was given, columns of the prompt (with cached ones) and its mask
    if any; and how far it is: passed, its end is behind; edited, some end was."""

    width: int
    mask: Tensor | None
    passed: bool = False
    edited: bool = False


def last_tokens(mask: Tensor) -> Tensor:
    """[B, T] 0/1 mask, padded on either side -> [B] index of the last 1."""
    return mask.shape[1] - 1 - mask.flip(1).int().argmax(1)


class PromptEndLocator:
    """Finds the places of each pass of one model."""

    def __init__(self, model: nn.Module):
        self.names = list(signature(model.forward).parameters)
        self.given: Tensor | None = None
        self.prompt: GenerateCall | None = None
        self.unfinished: set[int] = (
            set()
        )  # cache slots where prompts stop that continuous batching has split

    @contextmanager
    def at(self, positions: Tensor):
        self.given = torch.as_tensor(positions)
        try:
            yield
        finally:
            self.given = None

    @contextmanager
    def of_generate(self, args: tuple, kwargs: dict):
        """Within it, passes belong to one call of `generate` with these arguments."""
        before = self.prompt
        tokens = [
            kwargs.get("inputs_embeds"),
            *args[:1],
            kwargs.get("inputs"),
            kwargs.get("input_ids"),
        ]
        width = next(
            (t.shape[1] for t in tokens if t is not None), 1
        )  # without any it starts from BOS alone
        mask = kwargs.get("attention_mask")
        mask = mask if mask is not None and mask.dim() == 2 else None
        self.prompt = GenerateCall(width if mask is None else max(width, mask.shape[1]), mask)
        try:
            yield
        finally:
            self.prompt = before

    def find(self, args: tuple, kwargs: dict) -> EditPositions | None:
        """The places of a pass with these arguments, or None where it holds no prompt's end.

        Raises `ValueError` where that cannot be told."""
        inputs = dict(zip(self.names, args, strict=False)) | kwargs
        if inputs.get("cu_seq_lens_q") is not None:
            return self.packed(inputs)
        cache = inputs.get("past_key_values")
        prompt = self.prompt
        if prompt and prompt.passed and cache is not None and self.given is None:
            return None
        tokens = (
            inputs.get("input_ids")
            if inputs.get("input_ids") is not None
            else inputs["inputs_embeds"]
        )
        size, length = tokens.shape[:2]
        past = 0 if cache is None else int(cache.get_seq_length())
        ends = self.ends(inputs, tokens, past)
        if ends is None:
            return None
        rows = torch.arange(size, device=tokens.device)
        first = past == 0
        if prompt:
            prompt.passed = past + length >= prompt.width
            first = not prompt.edited
        if (
            past or self.given is not None or (prompt and not prompt.passed)
        ):  # else every end is in this pass
            rows = rows[(ends >= past) & (ends < past + length)]
        if not len(rows):
            return None
        if prompt:
            prompt.edited = True
        return EditPositions(rows, ends[rows] - past, rows, size, first)

    def ends(self, inputs: dict, tokens: Tensor, past: int) -> Tensor | None:
        """[B]: index of each prompt's last token in the whole text, cached tokens included; None in
        a decode step."""
        (size, length), mask, labels = (
            tokens.shape[:2],
            inputs.get("attention_mask"),
            inputs.get("labels"),
        )
        if self.given is not None:
            return repeated(self.given.to(tokens.device), size)
        if self.prompt:
            if self.prompt.mask is not None:
                mask = self.prompt.mask.to(tokens.device)
            if torch.is_tensor(mask) and mask.dim() == 2 and mask.shape[1] >= self.prompt.width:
                return repeated(last_tokens(mask[:, : self.prompt.width]), size)
            return torch.full((size,), self.prompt.width - 1, device=tokens.device)
        if past:
            if length > 1:
                raise ValueError(
                    "whether these tokens behind cached ones end a prompt cannot be told; say so: model.grun.at(positions), or model.grun.off()"
                )
            return None
        if labels is not None:
            first = (labels != IGNORED).int().argmax(1)
            if not bool((first > 0).all()):
                raise ValueError(
                    f"the labels leave no prompt (its tokens are labelled {IGNORED}); give the positions: model.grun.at(positions)"
                )
            return first - 1
        if mask is None:
            return torch.full((size,), length - 1, device=tokens.device)
        if not torch.is_tensor(mask) or mask.dim() != 2:
            raise ValueError(
                "the last prompt token cannot be read from a 4-d attention mask; give the positions: model.grun.at(positions)"
            )
        return last_tokens(mask[:, :length])

    def packed(self, inputs: dict) -> EditPositions | None:
        """Continuous batching: all sequences in one row. A prompt's end is the last token of a part
        that asks for logits and is no decode step: a part of several tokens, or one token right
        behind the cache slot where an unfinished prompt stopped.

        Raises `ValueError` for prefixes shared between prompts, whose cached states hold another
        prompt's edit, and for split prompts where the cache slots are not told."""
        if getattr(inputs.get("cache"), "use_prefix_sharing", False):
            raise ValueError(
                "prompts would share edited states; pass continuous_batching_config=ContinuousBatchingConfig(allow_block_sharing=False)"
            )
        if inputs.get("max_length_q") == 1 and not self.unfinished:
            return None
        if inputs.get("block_table") is not None:
            raise ValueError(
                "a split prompt cannot be told from a decode step; pass ContinuousBatchingConfig(max_blocks_per_request=0)"
            )
        written = inputs["write_index"][0].tolist()
        read = inputs["read_index"][0].tolist()
        positions = inputs["position_ids"].flatten().tolist()
        seen = inputs["cu_seq_lens_k"]
        asked = set(inputs["logits_indices"].tolist())
        ends = []
        seen = (next(iter(seen.values())) if isinstance(seen, dict) else seen).tolist()
        self.unfinished -= set(written)  # of requests that were given up
        for (start, stop), upto in zip(
            pairwise(inputs["cu_seq_lens_q"].tolist()), seen[1:], strict=False
        ):
            if stop == start:
                continue
            before = read[upto - 1 - (stop - start)] if read and positions[start] else None
            goes_on = before in self.unfinished
            self.unfinished.discard(before)
            if stop - 1 not in asked:
                self.unfinished.add(written[stop - 1])
            elif goes_on or stop - start > 1:
                ends.append(stop - 1)
        columns = torch.tensor(ends, device=inputs["position_ids"].device)
        return (
            EditPositions(
                torch.zeros_like(columns),
                columns,
                torch.arange(len(ends), device=columns.device),
                len(ends),
            )
            if ends
            else None
        )


def repeated(ends: Tensor, size: int) -> Tensor:
    """One position per row of a batch that beams or several samples have made wider."""
    return ends.repeat_interleave(size // len(ends)) if len(ends) < size else ends

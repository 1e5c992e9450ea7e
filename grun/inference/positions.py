"""Where a forward pass meets the end of its prompts: the tokens to edit, found from its inputs.

    `at(positions)`                         those columns, counted from the first one, padded and
                                            cached ones included
    inside `generate`                       the last token of the prompt, whichever pass it falls
                                            into: the prefill, a chunk of it, the new part behind a
                                            cached prefix, or, without a cache, every pass
    with `labels`                           the token before the first labelled one
    any other pass without cached tokens    the last 1 of the attention mask
    continuous batching                     the last token of every prompt that is packed into the
                                            pass (`grun.inference.packed_batches`)

A single token behind cached ones is a decode step: it is not edited, and meets the edit through the
cache.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature

import torch
from torch import Tensor, nn

from grun.inference.packed_batches import PackedPromptEnds
from grun.inference.per_thread import PerThread

IGNORED = -100  # transformers' label of a token that is not scored


@dataclass
class EditPositions:
    """The n tokens to edit in one pass.

    rows, columns [n] int64 index its hidden states; examples [n] int64 its `size` examples; first:
    no earlier pass over these prompts edited any of them.
    """

    rows: Tensor
    columns: Tensor
    examples: Tensor
    size: int
    first: bool = True


@dataclass
class GenerateCall:
    """One call of `generate`, and how far it is.

    width: columns of the prompt, cached ones included; mask: its attention mask, if any; passed:
    the prompt's end lies behind; edited: some prompt end was edited.
    """

    width: int
    mask: Tensor | None
    passed: bool = False
    edited: bool = False


class PromptState:
    """The prompt ends that a thread has given, and the `generate` that it is in."""

    def __init__(self):
        self.given: Tensor | None = None
        self.generate_call: GenerateCall | None = None


class PromptEndLocator:
    """Finds the edit positions of each pass of one model; threads do not see each other's."""

    def __init__(self, model: nn.Module):
        self.argument_names = list(signature(model.forward).parameters)
        self.threads = PerThread(PromptState)
        self.packed = PackedPromptEnds()

    @property
    def state(self) -> PromptState:
        """What this thread is doing."""
        return self.threads.state

    @contextmanager
    def at(self, positions: Tensor):
        """Within it, the prompts end at these columns [B]."""
        before = self.state.given
        self.state.given = torch.as_tensor(positions)
        try:
            yield
        finally:
            self.state.given = before

    @contextmanager
    def of_generate(self, args: tuple, kwargs: dict):
        """Within it, passes belong to one call of `generate` with these arguments."""
        before = self.state.generate_call
        candidates = [
            kwargs.get("inputs_embeds"),
            *args[:1],
            kwargs.get("inputs"),
            kwargs.get("input_ids"),
        ]
        # without any tokens, generate starts from BOS alone
        width = next((tokens.shape[1] for tokens in candidates if tokens is not None), 1)
        mask = kwargs.get("attention_mask")
        mask = mask if mask is not None and mask.dim() == 2 else None
        width = width if mask is None else max(width, mask.shape[1])
        self.state.generate_call = GenerateCall(width, mask)
        try:
            yield
        finally:
            self.state.generate_call = before

    def find(self, args: tuple, kwargs: dict) -> EditPositions | None:
        """Return the edit positions of a pass with these arguments; None where no prompt ends.

        Raises `ValueError` where the inputs do not tell.
        """
        inputs = dict(zip(self.argument_names, args, strict=False)) | kwargs
        if inputs.get("cu_seq_lens_q") is not None:
            return all_in_one_row(self.packed.find(inputs), inputs["position_ids"].device)
        cache = inputs.get("past_key_values")
        call = self.state.generate_call
        if call and call.passed and cache is not None and self.state.given is None:
            return None
        ids = inputs.get("input_ids")
        tokens = ids if ids is not None else inputs["inputs_embeds"]
        size, length = tokens.shape[:2]
        past = 0 if cache is None else int(cache.get_seq_length())
        ends = self.find_ends(inputs, tokens, past)
        if ends is None:
            return None
        first = past == 0
        if call:
            call.passed = past + length >= call.width
            first = not call.edited
        rows = torch.arange(size, device=tokens.device)
        has_every_end = not past and self.state.given is None and not (call and not call.passed)
        if not has_every_end:
            rows = rows[(ends >= past) & (ends < past + length)]
        if not len(rows):
            return None
        if call:
            call.edited = True
        return EditPositions(rows, ends[rows] - past, rows, size, first)

    def find_ends(self, inputs: dict, tokens: Tensor, past: int) -> Tensor | None:
        """Return [B]: index of each prompt's last token in the whole text; None in a decode step.

        tokens [B, T, ...]: ids or embeddings of the pass; past: number of cached tokens.
        """
        size, length = tokens.shape[:2]
        mask = inputs.get("attention_mask")
        if self.state.given is not None:
            return repeat_ends(self.state.given.to(tokens.device), size)
        if self.state.generate_call:
            return self._ends_of_generate(mask, tokens)
        if past:
            if length > 1:
                raise ValueError(
                    "the inputs do not tell whether these tokens behind cached ones end a prompt; "
                    "pass model.grun.at(positions), or model.grun.off()"
                )
            return None
        if inputs.get("labels") is not None:
            return find_unlabelled_ends(inputs["labels"])
        if mask is None:
            return torch.full((size,), length - 1, device=tokens.device)
        if not torch.is_tensor(mask) or mask.dim() != 2:
            raise ValueError(
                "the last prompt token cannot be read from a 4-d attention mask; give the "
                "positions: model.grun.at(positions)"
            )
        return last_tokens(mask[:, :length])

    def _ends_of_generate(self, mask: Tensor | None, tokens: Tensor) -> Tensor:
        """[B]: from the prompt's mask or this pass's, or, without one, the prompt's last column."""
        call = self.state.generate_call
        if call.mask is not None:
            mask = call.mask.to(tokens.device)
        if torch.is_tensor(mask) and mask.dim() == 2 and mask.shape[1] >= call.width:
            return repeat_ends(last_tokens(mask[:, : call.width]), len(tokens))
        return torch.full((len(tokens),), call.width - 1, device=tokens.device)


def last_tokens(mask: Tensor) -> Tensor:
    """[B, T] 0/1 mask, padded on either side -> [B] index of the last 1."""
    return mask.shape[1] - 1 - mask.flip(1).int().argmax(1)


def find_unlabelled_ends(labels: Tensor) -> Tensor:
    """labels [B, T] -> [B]: the token before the first labelled one.

    Raises `ValueError` where no token comes before it.
    """
    first = (labels != IGNORED).int().argmax(1)
    if not bool((first > 0).all()):
        raise ValueError(
            f"the labels leave no prompt (its tokens are labelled {IGNORED}); give the positions: "
            "model.grun.at(positions)"
        )
    return first - 1


def repeat_ends(ends: Tensor, size: int) -> Tensor:
    """One position per row of a batch that beams or several samples have made wider."""
    return ends.repeat_interleave(size // len(ends)) if len(ends) < size else ends


def all_in_one_row(ends: list[int], device: torch.device) -> EditPositions | None:
    """The edit positions of prompts that are packed into one row; None for no prompt."""
    if not ends:
        return None
    columns = torch.tensor(ends, device=device)
    examples = torch.arange(len(ends), device=device)
    return EditPositions(torch.zeros_like(columns), columns, examples, len(ends))

"""Batches: padded token ids with labels on the scored tokens, and what a model says on exactly
those tokens.

`AnswerLogits` is the one form in which a model's answer reaches objectives and metrics: packed, one row per
scored token, so that no logits are ever computed that nobody reads."""

from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from unlearn.language_model.prompts import Encoded


@dataclass
class Batch:
    """Right-padded examples. input_ids, attention_mask [B, T] int64; rows, columns [N] int64 name
    the N scored tokens; prompts [B] int64: number of prompt tokens, so the last prompt token of
    example b is at prompts[b] - 1."""

    encoded: list[Encoded]
    input_ids: Tensor
    attention_mask: Tensor
    prompts: Tensor
    rows: Tensor
    columns: Tensor

    @property
    def labels(self) -> Tensor:
        """[N] int64: the scored tokens themselves."""
        return self.input_ids[self.rows, self.columns]

    def __len__(self) -> int:
        return len(self.encoded)


@dataclass
class AnswerLogits:
    """What a model says on the scored tokens of B examples.

    logits [N, V] float32 (row i predicts labels[i] from all tokens before it); labels, rows [N]
    int64; size = B; gates [L, B] float32 gate logits by layer depth, if the model has gates.
    tokens, examples: what token and example means divide by. They exceed N and B when this is one
    part (a micro-batch, one process's share) of a larger batch; the sum over the parts is then
    exactly the large batch's value. reference_nll [B] and reference_logits [N, V]: the same from
    the frozen model, where an objective needs them."""

    logits: Tensor
    labels: Tensor
    rows: Tensor
    size: int
    gates: Tensor | None = None
    tokens: int = 0
    examples: int = 0
    reference_nll: Tensor | None = None
    reference_logits: Tensor | None = None

    def __post_init__(self):
        self.tokens = self.tokens or len(self.labels)
        self.examples = self.examples or self.size

    @property
    def nll(self) -> Tensor:
        """[N]: -log p of every scored token."""
        return torch.nn.functional.cross_entropy(self.logits, self.labels, reduction="none")

    def per_example(self, values: Tensor) -> Tensor:
        """[N] -> [B]: sum over each example's scored tokens."""
        return torch.zeros(self.size, dtype=values.dtype, device=values.device).index_add(
            0, self.rows, values
        )

    @property
    def nll_sum(self) -> Tensor:
        """[B]: S_b = -log p(answer_b), a sum over tokens."""
        return self.per_example(self.nll)

    @property
    def lengths(self) -> Tensor:
        """[B]: number of scored tokens."""
        return self.per_example(torch.ones_like(self.labels))

    @property
    def nll_mean(self) -> Tensor:
        """[B]: A_b = S_b / n_b."""
        return self.nll_sum / self.lengths

    def token_mean(self, values: Tensor) -> Tensor:
        """[N] -> scalar: mean over all scored tokens of the whole batch (CE_tok's reduction)."""
        return values.sum() / self.tokens

    def example_mean(self, values: Tensor) -> Tensor:
        """[B] -> scalar: mean over all examples of the whole batch."""
        return values.sum() / self.examples

    def part_of(self, whole: list[Encoded]) -> "AnswerLogits":
        """The same, as one part of the batch `whole`: means divide by its counts."""
        return replace(
            self, tokens=sum(len(e.ids) - e.scored_from for e in whole), examples=len(whole)
        )


def pad(encoded: list[Encoded], pad_id: int, device="cpu") -> Batch:
    """Right-pad examples to the longest; attention is 1 on every true token, EOS included."""
    length = max(len(e.ids) for e in encoded)
    ids = torch.tensor([e.ids + [pad_id] * (length - len(e.ids)) for e in encoded])
    mask = torch.tensor([[1] * len(e.ids) + [0] * (length - len(e.ids)) for e in encoded])
    scored = [
        (row, column)
        for row, e in enumerate(encoded)
        for column in range(e.scored_from, len(e.ids))
    ]
    rows, columns = torch.tensor(scored).T
    prompts = torch.tensor([e.prompt for e in encoded])
    return Batch(encoded, *(t.to(device) for t in (ids, mask, prompts, rows, columns)))


def pad_left(prompts: list[list[int]], pad_id: int, device="cpu") -> tuple[Tensor, Tensor]:
    """Left-pad prompts for generation: input_ids and attention_mask [B, T]; every last prompt token
    is at T - 1."""
    length = max(map(len, prompts))
    ids = torch.tensor([[pad_id] * (length - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts])
    return ids.to(device), mask.to(device)


@contextmanager
def logits_only_at(head: nn.Module, rows: Tensor, columns: Tensor):
    """Within it, the model of this output head returns logits [1, N, V] for the N named positions
    alone."""
    handle = head.register_forward_pre_hook(lambda _, inputs: (inputs[0][rows, columns][None],))
    try:
        yield
    finally:
        handle.remove()


def forward_answers(model, batch: Batch, head: nn.Module | None = None) -> AnswerLogits:
    """One forward pass over a batch; `model` is an HF causal model, or any callable like one whose
    output head is given."""
    with logits_only_at(head or model.get_output_embeddings(), batch.rows, batch.columns - 1):
        logits = model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
        ).logits[0]
    return AnswerLogits(logits.float(), batch.labels, batch.rows, len(batch))

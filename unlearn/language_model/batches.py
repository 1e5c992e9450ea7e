"""Padded batches of token ids, and a model's logits on exactly the tokens that are scored.

Logits are packed: one row per scored token, and none for any other, so that no logits are computed
that nobody reads. `AnswerLogits` is the form in which they go to every objective and metric.
"""

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from unlearn.language_model.prompts import Encoded


@dataclass
class Batch:
    """B right-padded examples, T tokens wide, with N scored tokens in all.

    encoded          the B examples
    input_ids        [B, T] int64, padded on the right
    attention_mask   [B, T] int64: 1 on every true token, EOS included
    prompt_lengths   [B] int64: number of prompt tokens; the last one of example b is at index
                     prompt_lengths[b] - 1
    example_index    [N] int64: the example that each scored token belongs to, ascending
    token_index      [N] int64: its position in that example
    keys             B texts, which the random numbers of each example follow from; none outside of
                     a training step
    """

    encoded: list[Encoded]
    input_ids: Tensor
    attention_mask: Tensor
    prompt_lengths: Tensor
    example_index: Tensor
    token_index: Tensor
    keys: Sequence[str] = ()

    @property
    def labels(self) -> Tensor:
        """[N] int64: the scored tokens themselves."""
        return self.input_ids[self.example_index, self.token_index]

    def __len__(self) -> int:
        return len(self.encoded)


@dataclass
class AnswerLogits:
    """A model's logits on the N scored tokens of B examples.

    logits            [N, V] float32; row i predicts labels[i] from all tokens before it
    labels            [N] int64: the scored tokens
    example_index     [N] int64: the example that each of them belongs to
    size              B
    gate_logits       [L, B] float32, by layer depth, if the model has gates
    tokens, examples  the counts that means divide by. They exceed N and B where this is one part
                      (a micro-batch, one process's share) of a larger batch: the sum over the
                      parts is then exactly the larger batch's value.
    reference_nll     [B]: -log p of each answer under the frozen model, where an objective needs it
    reference_logits  [N, V]: logits of the frozen model, where an objective needs them
    states            [N, d]: output of one decoder layer at the positions of `logits`, if asked for
    reference_states  [N, d]: the same of the frozen model
    """

    logits: Tensor
    labels: Tensor
    example_index: Tensor
    size: int
    gate_logits: Tensor | None = None
    tokens: int = 0
    examples: int = 0
    reference_nll: Tensor | None = None
    reference_logits: Tensor | None = None
    states: Tensor | None = None
    reference_states: Tensor | None = None

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
            0, self.example_index, values
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

    @property
    def is_later_token(self) -> Tensor:
        """[N] bool: whether a token is not the first scored one of its example."""
        first = self.example_index.new_zeros(1).bool()
        return torch.cat([first, self.example_index[1:] == self.example_index[:-1]])

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


def pad(encoded: list[Encoded], pad_id: int, device="cpu", keys: Sequence[str] = ()) -> Batch:
    """Right-pad examples to the longest."""
    length = max(len(e.ids) for e in encoded)
    input_ids = torch.tensor([e.ids + [pad_id] * (length - len(e.ids)) for e in encoded])
    attention_mask = torch.tensor([[1] * len(e.ids) + [0] * (length - len(e.ids)) for e in encoded])
    scored = [
        (example, token)
        for example, e in enumerate(encoded)
        for token in range(e.scored_from, len(e.ids))
    ]
    example_index, token_index = torch.tensor(scored).T
    prompt_lengths = torch.tensor([e.prompt_length for e in encoded])
    tensors = (input_ids, attention_mask, prompt_lengths, example_index, token_index)
    return Batch(encoded, *(tensor.to(device) for tensor in tensors), keys)


def pad_left(prompts: list[list[int]], pad_id: int, device="cpu") -> tuple[Tensor, Tensor]:
    """Left-pad prompts for generation: input_ids and attention_mask, [B, T] int64.

    The last token of every prompt is at index T - 1.
    """
    length = max(map(len, prompts))
    ids = torch.tensor([[pad_id] * (length - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts])
    return ids.to(device), mask.to(device)


@contextmanager
def logits_only_at(head: nn.Module, example_index: Tensor, token_index: Tensor):
    """Within it, the model with this output head returns logits [1, N, V] for N positions alone."""
    handle = head.register_forward_pre_hook(
        lambda _, inputs: (inputs[0][example_index, token_index][None],)
    )
    try:
        yield
    finally:
        handle.remove()


def forward_answers(model, batch: Batch, head: nn.Module | None = None) -> AnswerLogits:
    """Run one forward pass over a batch and return its answer logits.

    `model` is a Hugging Face causal model, or a callable with the same arguments whose output head
    is given as `head`.
    """
    head = head or model.get_output_embeddings()
    with logits_only_at(head, batch.example_index, batch.token_index - 1):
        logits = model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
        ).logits[0]
    return AnswerLogits(logits.float(), batch.labels, batch.example_index, len(batch))

"""What a model says about given answers, token by token: one teacher-forced pass that every
likelihood metric reads (import only).

    encoded = [eval_model.prompt_encoder.encode(question, answer), ...]
    tokens = score_answers(eval_model, encoded, batch_size=64)

Answers to one question share its prompt. It runs once, left-padded, with an adapter's edit at its
last token, as in generation; its keys and values then serve all its answers, which run as
right-padded continuations. Logits are computed where labels are.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eval.scoring.batching import batch_by_length
from eval.scoring.model import EvalModel
from unlearn.language_model.batches import AnswerLogits, logits_only_at, pad, pad_left
from unlearn.language_model.prompts import Encoded
from unlearn.language_model.reinforced import has_paired_head

# logits that are reduced together: 128 MiB a copy in float32, whatever the vocabulary
CHUNK = 2**25


@dataclass(frozen=True)
class TokenStatistics:
    """Statistics of the n scored tokens of one answer (its own and EOS), [n] each, in nats.

    logprobs   float32, log p(y_t)
    correct    bool, argmax p = y_t
    mean       float32, mu_t = sum_v p(v) log p(v)
    variance   float32, sigma^2_t = sum_v p(v) (log p(v) - mu_t)^2
    """

    logprobs: np.ndarray
    correct: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    def __len__(self) -> int:
        return len(self.logprobs)

    @property
    def nll_sum(self) -> float:
        """S = -sum_t log p(y_t), summed in float64."""
        return -float(self.logprobs.sum(dtype=np.float64))

    @property
    def nll_mean(self) -> float:
        """A = S / n."""
        return self.nll_sum / len(self)


def compute_statistics(logits: Tensor, labels: Tensor) -> Tensor:
    """logits [N, V], labels [N] -> [4, N] float32 on the CPU: the fields of `TokenStatistics`."""
    size = max(1, CHUNK // logits.shape[-1])
    chunks = [torch.zeros(4, 0)]
    for chunk, label in zip(logits.split(size), labels.split(size), strict=True):
        logp = chunk.float().log_softmax(-1)
        p = logp.exp()
        # a token whose logit is -inf has p = 0; without the clamp it would make 0 * inf
        finite = logp.clamp(min=-1e4)
        mean = (p * finite).sum(-1)
        variance = (p * (finite - mean[:, None]).square()).sum(-1)
        label_logp = logp.gather(1, label[:, None])[:, 0]
        correct = (chunk.argmax(-1) == label).float()
        chunks.append(torch.stack([label_logp, correct, mean, variance]).cpu())
    return torch.cat(chunks, 1)


def split_statistics(statistics: Tensor, lengths: list[int]) -> list[TokenStatistics]:
    """[4, N] cut into answers of these lengths."""
    return [
        TokenStatistics(logprobs, correct.astype(bool), mean, variance)
        for logprobs, correct, mean, variance in (
            answer.numpy() for answer in statistics.split(lengths, 1)
        )
    ]


def score_logits(answers: AnswerLogits) -> list[TokenStatistics]:
    """The statistics of every answer of a batch."""
    statistics = compute_statistics(answers.logits, answers.labels)
    return split_statistics(statistics, answers.lengths.tolist())


def score_answers(
    eval_model: EvalModel,
    encoded: list[Encoded],
    batch_size: int,
    progress: Callable[[list], Iterable] = iter,
) -> list[TokenStatistics] | None:
    """The statistics of every encoded answer, in order; None for a model without likelihoods.

    batch_size: the most answers in one forward; it changes memory, not results.
    """
    pad_id = eval_model.prompt_encoder.tokenizer.pad_token_id
    if eval_model.forward_answers(pad(encoded[:1], pad_id, eval_model.device)) is None:
        return None
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for i, e in enumerate(encoded):
        by_prompt.setdefault(tuple(e.ids[: e.prompt_length]), []).append(i)
    scores: list = [None] * len(encoded)
    scores_prompts = any(e.scored_from < e.prompt_length for e in encoded)
    is_shared = len(by_prompt) < len(encoded) and not scores_prompts
    if not (is_shared and can_share_prompts(eval_model)):
        for indices in progress(batch_by_length([len(e.ids) for e in encoded], batch_size)):
            batch = pad([encoded[i] for i in indices], pad_id, eval_model.device)
            answers = score_logits(eval_model.forward_answers(batch))
            for i, answer in zip(indices, answers, strict=True):
                scores[i] = answer
        return scores
    lengths = [len(e.answer) for e in encoded]
    for groups in progress(batch_groups(list(by_prompt.values()), lengths, batch_size)):
        answers = score_shared_prompts(eval_model, [[encoded[i] for i in g] for g in groups])
        indices = [i for group in groups for i in group]
        for i, answer in zip(indices, answers, strict=True):
            scores[i] = answer
    return scores


def can_share_prompts(eval_model: EvalModel) -> bool:
    """Whether a prompt may run once for all its answers: not where an edit goes on into the answer
    (GRUN+), nor in two models at once.
    """
    edits_answers = eval_model.adapter_hooks and eval_model.adapter_hooks.edits_answers
    return not (edits_answers or has_paired_head(eval_model.model))


def batch_groups(groups: list[list[int]], lengths: list[int], size: int) -> list[list[list[int]]]:
    """Batches of groups of up to `size` answers, those with the longest answers first; a group of
    more answers is cut.
    """
    pieces = [group[i : i + size] for group in groups for i in range(0, len(group), size)]
    batches: list[list[list[int]]] = []
    for group in sorted(pieces, key=lambda group: -max(lengths[i] for i in group)):
        if not batches or sum(map(len, batches[-1])) + len(group) > size:
            batches.append([])
        batches[-1].append(group)
    return batches


@torch.no_grad()
def score_shared_prompts(
    eval_model: EvalModel, groups: list[list[Encoded]]
) -> list[TokenStatistics]:
    """The statistics of all answers of one batch; the answers of a group have one prompt."""
    device = eval_model.device
    pad_id = eval_model.prompt_encoder.tokenizer.pad_token_id
    prompts = [group[0].ids[: group[0].prompt_length] for group in groups]
    ids, mask = pad_left(prompts, pad_id, device)
    prefix = forward_prompts(eval_model, ids, mask)
    answers = [e.answer for group in groups for e in group]
    lengths = [len(answer) for answer in answers]
    owner = torch.tensor([row for row, group in enumerate(groups) for _ in group], device=device)
    first_labels = torch.tensor([answer[0] for answer in answers], device=device)
    first = compute_statistics(prefix.logits[0][owner], first_labels)
    if max(lengths) == 1:
        return split_statistics(first, lengths)
    # each answer continues its own copy of its prompt's keys and values
    prefix.past_key_values.reorder_cache(owner)
    logits = continue_prompts(eval_model, prefix.past_key_values, mask[owner], answers, pad_id)
    later_labels = torch.tensor([token for answer in answers for token in answer[1:]])
    later = compute_statistics(logits, later_labels.to(device))
    return join_statistics(first, later, lengths)


def forward_prompts(eval_model: EvalModel, ids: Tensor, mask: Tensor):
    """One pass over left-padded prompts [B, T], edited at their last token; its output has logits
    [1, B, V] at that token, and keys and values.
    """
    rows = torch.arange(len(ids), device=ids.device)
    last = torch.full_like(rows, ids.shape[1] - 1)
    head = eval_model.model.get_output_embeddings()
    with edit_at(eval_model, last), logits_only_at(head, rows, last):
        return eval_model.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=True,
        )


def continue_prompts(
    eval_model: EvalModel, cache, mask: Tensor, answers: list[list[int]], pad_id: int
) -> Tensor:
    """Logits [N - A, V] of all tokens but the first of A answers, which run right-padded behind
    their prompts' keys and values. mask [A, T]: that of the prompts.
    """
    device = mask.device
    width = max(map(len, answers)) - 1
    padding = [width + 1 - len(answer) for answer in answers]
    inputs = [answer[:-1] + [pad_id] * n for answer, n in zip(answers, padding, strict=True)]
    real = torch.tensor([[1] * (width - n) + [0] * n for n in padding], device=device)
    places = real.nonzero()
    last = torch.full((len(answers),), mask.shape[1] - 1, device=device)
    head = eval_model.model.get_output_embeddings()
    with edit_at(eval_model, last), logits_only_at(head, places[:, 0], places[:, 1]):
        return eval_model.model(
            input_ids=torch.tensor(inputs, device=device),
            attention_mask=torch.cat([mask, real], 1),
            position_ids=mask.sum(1)[:, None] + torch.arange(width, device=device),
            past_key_values=cache,
            use_cache=True,
        ).logits[0]


def join_statistics(first: Tensor, later: Tensor, lengths: list[int]) -> list[TokenStatistics]:
    """The statistics of A answers, from those of their first tokens [4, A] and of all later ones
    [4, N - A].
    """
    pairs = zip(first.split(1, 1), later.split([n - 1 for n in lengths], 1), strict=True)
    return split_statistics(torch.cat([part for pair in pairs for part in pair], 1), lengths)


def edit_at(eval_model: EvalModel, positions: Tensor):
    """A context in which an adapter edits these positions [B] of the prompts, and nothing behind
    them.
    """
    if eval_model.adapter_hooks is None:
        return nullcontext()
    return eval_model.adapter_hooks.at(positions)

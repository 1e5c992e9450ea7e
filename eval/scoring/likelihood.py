"""What a model says about given answers, token by token: one teacher-forced pass that every
likelihood metric reads (import only).

    tokens = read_answers(subject, [subject.prompt_encoder.encode(question, answer), ...], batch_size=64)

Answers to one question share its prompt. It runs once, left-padded, with an adapter's edit at its
last token, as in generation; its keys and values then serve all its answers, which run as
right-padded continuations. Logits are made where labels are."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eval.scoring.model import EvalModel
from unlearn.language_model.batches import logits_only_at, pad, pad_left
from unlearn.language_model.prompts import Encoded

CHUNK = 2**25  # logits looked at together: 128 MiB a copy in float32, whatever the vocabulary


@dataclass(frozen=True)
class Tokens:
    """The n scored tokens of one answer (its own and EOS), [n] each: logprobs = log p(y_t), correct
    = (argmax is y_t), mean = mu_t = sum_v p log p, variance = sigma^2_t = sum_v p (log p - mu_t)^2.
    float32, nats; correct is bool."""

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


def token_statistics(logits: Tensor, labels: Tensor) -> Tensor:
    """logits [N, V], labels [N] -> [4, N] float32 on the CPU: the rows of `Tokens`, in its
    order."""
    rows = max(1, CHUNK // logits.shape[-1])
    parts = [torch.zeros(4, 0)]
    for own, label in zip(logits.split(rows), labels.split(rows), strict=True):
        logp = own.float().log_softmax(-1)
        p, finite = (
            logp.exp(),
            logp.clamp(min=-1e4),
        )  # a token that cannot be said has p = 0 and must not make 0 * inf
        mean = (p * finite).sum(-1)
        variance = (p * (finite - mean[:, None]).square()).sum(-1)
        said = logp.gather(1, label[:, None])[:, 0]
        parts.append(torch.stack([said, (own.argmax(-1) == label).float(), mean, variance]).cpu())
    return torch.cat(parts, 1)


def tokens_of(statistics: Tensor, lengths: list[int]) -> list[Tokens]:
    """[4, N] cut into answers of these lengths."""
    return [
        Tokens(logprobs, correct.astype(bool), mean, variance)
        for logprobs, correct, mean, variance in (s.numpy() for s in statistics.split(lengths, 1))
    ]


def by_length(lengths: list[int], size: int) -> list[list[int]]:
    """Indices in batches of up to `size`, longest first: similar lengths share a batch, and memory
    runs out early or never."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[i : i + size] for i in range(0, len(order), size)]


def read_answers(
    eval_model: EvalModel,
    encoded: list[Encoded],
    batch_size: int,
    progress: Callable[[list], Iterable] = iter,
) -> list[Tokens] | None:
    """The tokens of every encoded answer, in order; None for a subject that has no likelihoods (it
    says None).

    batch_size: answers a forward at most; changes memory, not results."""
    pad_id = eval_model.prompt_encoder.tokenizer.pad_token_id
    if eval_model.forward_answers(pad(encoded[:1], pad_id, eval_model.device)) is None:
        return None
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for i, e in enumerate(encoded):
        by_prompt.setdefault(tuple(e.ids[: e.prompt_length]), []).append(i)
    found: list = [None] * len(encoded)
    if len(by_prompt) == len(encoded) or not shares_prompts(eval_model):
        for indices in progress(by_length([len(e.ids) for e in encoded], batch_size)):
            said = eval_model.forward_answers(
                pad([encoded[i] for i in indices], pad_id, eval_model.device)
            )
            place(
                found,
                indices,
                tokens_of(token_statistics(said.logits, said.labels), said.lengths.tolist()),
            )
        return found
    for groups in progress(
        grouped(list(by_prompt.values()), [len(e.answer) for e in encoded], batch_size)
    ):
        place(
            found,
            [i for group in groups for i in group],
            read_shared(eval_model, [[encoded[i] for i in group] for group in groups]),
        )
    return found


def shares_prompts(eval_model: EvalModel) -> bool:
    """Whether a prompt may run once for all its answers: not where an edit goes on into the answer
    (GRUN+; grun.inference.token_gate_hooks)."""
    return not (eval_model.adapter_hooks and eval_model.adapter_hooks.edits_answers)


def place(found: list, indices: list[int], values: list) -> None:
    for i, value in zip(indices, values, strict=True):
        found[i] = value


def grouped(groups: list[list[int]], lengths: list[int], size: int) -> list[list[list[int]]]:
    """Batches of groups, those with the longest answers first, of up to `size` answers; a group of
    more is cut."""
    cut = [group[i : i + size] for group in groups for i in range(0, len(group), size)]
    batches: list[list[list[int]]] = []
    for group in sorted(cut, key=lambda group: -max(lengths[i] for i in group)):
        if not batches or sum(map(len, batches[-1])) + len(group) > size:
            batches.append([])
        batches[-1].append(group)
    return batches


@torch.no_grad()
def read_shared(eval_model: EvalModel, groups: list[list[Encoded]]) -> list[Tokens]:
    """The tokens of all answers of one batch; the answers of a group have one prompt."""
    model = eval_model.model
    device = eval_model.device
    pad_id = eval_model.prompt_encoder.tokenizer.pad_token_id
    head = model.get_output_embeddings()
    ids, mask = pad_left(
        [group[0].ids[: group[0].prompt_length] for group in groups], pad_id, device
    )
    rows = torch.arange(len(groups), device=device)
    with (
        editing(eval_model, ids, rows),
        logits_only_at(head, rows, torch.full_like(rows, ids.shape[1] - 1)),
    ):
        prefix = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=True,
        )
    answers = [e.answer for group in groups for e in group]
    owner = torch.tensor([row for row, group in enumerate(groups) for _ in group], device=device)
    first = token_statistics(
        prefix.logits[0][owner], torch.tensor([answer[0] for answer in answers], device=device)
    )
    width = max(map(len, answers)) - 1
    if not width:
        return tokens_of(first, [1] * len(answers))
    prefix.past_key_values.reorder_cache(owner)  # each answer behind its own copy of the prompt
    inputs = torch.tensor(
        [answer[:-1] + [pad_id] * (width + 1 - len(answer)) for answer in answers], device=device
    )
    real = torch.tensor(
        [[1] * (len(answer) - 1) + [0] * (width + 1 - len(answer)) for answer in answers],
        device=device,
    )
    places = real.nonzero()
    with editing(eval_model, ids, owner), logits_only_at(head, places[:, 0], places[:, 1]):
        logits = model(
            input_ids=inputs,
            attention_mask=torch.cat([mask[owner], real], 1),
            position_ids=mask.sum(1)[owner][:, None] + torch.arange(width, device=device),
            past_key_values=prefix.past_key_values,
            use_cache=True,
        ).logits[0]
    later = token_statistics(
        logits, torch.tensor([token for answer in answers for token in answer[1:]], device=device)
    )
    lengths = [len(answer) for answer in answers]
    parts = zip(first.split(1, 1), later.split([n - 1 for n in lengths], 1), strict=True)
    return tokens_of(torch.cat([part for pair in parts for part in pair], 1), lengths)


def editing(eval_model: EvalModel, prompts: Tensor, rows: Tensor):
    """An adapter edits the last token of left-padded `prompts`, in a pass with one row for each of
    `rows`; answers behind it stay."""
    return (
        eval_model.adapter_hooks.at(torch.full_like(rows, prompts.shape[1] - 1))
        if eval_model.adapter_hooks
        else nullcontext()
    )


def gradient_norms(
    eval_model: EvalModel, encoded: list[Encoded], progress: Callable[[list], Iterable] = iter
) -> list[float]:
    """GradNorm of each answer: the mean over the model's parameter tensors of ||d L / d theta||_2,
    L = mean -log p of its tokens but the last (spec 7.5). Through an adapter's edit, but not with
    respect to it; in evaluation mode, where upstream trains (no dropout).

    A gradient is dropped once its norm is taken, so memory holds one tensor's at a time. Raises
    `ValueError` for an answer of one token."""
    weights = [weight for weight in eval_model.model.parameters() if weight.is_floating_point()]
    before = [weight.requires_grad for weight in weights]
    norms = []
    found = []

    def take(weight: Tensor) -> None:
        norms.append(weight.grad.float().norm())
        weight.grad = None

    handles = [
        weight.requires_grad_(True).register_post_accumulate_grad_hook(take) for weight in weights
    ]
    try:
        for e in progress(encoded):
            if len(e.answer) < 2:
                raise ValueError(
                    f"the answer {eval_model.prompt_encoder.tokenizer.decode(e.answer)!r} has no token besides its end, so it has no gradient norm"
                )
            norms.clear()
            batch = pad([e], eval_model.prompt_encoder.tokenizer.pad_token_id, eval_model.device)
            with torch.enable_grad():
                eval_model.forward_weights(batch).nll[:-1].mean().backward()
            found.append(float(torch.stack(norms).mean()))
    finally:
        for handle in handles:
            handle.remove()
        for weight, required in zip(weights, before, strict=True):
            weight.requires_grad_(required)
    return found

"""Greedy answers to many questions, batched by length (import only)."""

from collections.abc import Callable

from eval.scoring.batching import batch_by_length
from eval.scoring.model import EvalModel


def generate_answers(
    eval_model: EvalModel,
    questions: list[str],
    batch_size: int,
    max_new_tokens: int,
    progress: Callable = iter,
) -> list[tuple[str, list[float] | None]]:
    """(answer, gates at the prompt [L] or None) for every question, in order."""
    tokenizer = eval_model.prompt_encoder.tokenizer
    prompts = [eval_model.prompt_encoder.prompt_ids(question) for question in questions]
    answers: list = [None] * len(prompts)
    for indices in progress(batch_by_length([len(prompt) for prompt in prompts], batch_size)):
        new_ids, gates = eval_model.generate([prompts[i] for i in indices], max_new_tokens)
        gate_rows = [None] * len(indices) if gates is None else gates.movedim(-1, 0).tolist()
        for i, ids, gate_row in zip(indices, new_ids, gate_rows, strict=True):
            answers[i] = tokenizer.decode(ids, skip_special_tokens=True).strip(), gate_row
    return answers

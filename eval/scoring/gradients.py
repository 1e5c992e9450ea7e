"""Gradient norms of given answers, which GradNorm attacks membership with (import only)."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from eval.scoring.model import EvalModel
from unlearn.language_model.batches import pad
from unlearn.language_model.prompts import Encoded


def compute_gradient_norms(
    eval_model: EvalModel, encoded: list[Encoded], progress: Callable[[list], Iterable] = iter
) -> list[float]:
    """GradNorm of each answer: the mean over the model's parameter tensors theta_i of
    ||d L / d theta_i||_2, L = mean_t -log p(y_t) over its tokens but the last.

    The gradient passes through an adapter's edit, but the adapter's own tensors do not count. In
    evaluation mode, where upstream trains (no dropout). Memory holds the gradient of one tensor at
    a time. Raises `ValueError` for an answer of one token. Source: OpenUnlearning
    src/evals/metrics/mia/gradnorm.py.
    """
    weights = [weight for weight in eval_model.model.parameters() if weight.is_floating_point()]
    requires_grad = [weight.requires_grad for weight in weights]
    tensor_norms: list[Tensor] = []
    answer_norms = []

    def take_norm(weight: Tensor) -> None:
        tensor_norms.append(weight.grad.float().norm())
        weight.grad = None

    handles = [
        weight.requires_grad_(True).register_post_accumulate_grad_hook(take_norm)
        for weight in weights
    ]
    try:
        for answer in progress(encoded):
            tensor_norms.clear()
            backpropagate_answer(eval_model, answer)
            answer_norms.append(float(torch.stack(tensor_norms).mean()))
    finally:
        for handle in handles:
            handle.remove()
        for weight, required in zip(weights, requires_grad, strict=True):
            weight.requires_grad_(required)
    return answer_norms


def backpropagate_answer(eval_model: EvalModel, encoded: Encoded) -> None:
    """Backpropagate the mean -log p of an answer's tokens but the last."""
    tokenizer = eval_model.prompt_encoder.tokenizer
    if len(encoded.answer) < 2:
        raise ValueError(
            f"the answer {tokenizer.decode(encoded.answer)!r} has no token besides its end, so it "
            "has no gradient norm"
        )
    batch = pad([encoded], tokenizer.pad_token_id, eval_model.device)
    with torch.enable_grad():
        eval_model.forward_weights(batch).nll[:-1].mean().backward()

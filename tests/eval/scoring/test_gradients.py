"""Gradient norms of answers, by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from eval.scoring.gradients import compute_gradient_norms
from unlearn.language_model.batches import AnswerLogits
from unlearn.language_model.prompts import Encoded


class WeightedSum(nn.Module):
    """Logits a + 2 b for every token, so d/db is twice d/da."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(4))
        self.b = nn.Parameter(torch.zeros(4), requires_grad=False)

    def answer(self, batch):
        logits = (self.a + 2 * self.b).expand(len(batch.labels), 4)
        return AnswerLogits(logits, batch.labels, batch.example_index, len(batch))


@pytest.fixture
def eval_model():
    model = WeightedSum()
    tokenizer = SimpleNamespace(pad_token_id=3, decode=str)
    return SimpleNamespace(
        model=model,
        prompt_encoder=SimpleNamespace(tokenizer=tokenizer),
        device="cpu",
        forward_weights=model.answer,
    )


def test_gradient_norm_is_the_mean_over_tensors(eval_model):
    """Uniform over four tokens. Labels 0, 1 (and EOS, left out): mean gradient (p - onehot) =
    (-1, -1, 1, 1) / 4, norm 1/2; of b twice that. The mean over tensors is .75, unlike the global
    norm. One label: (-3, 1, 1, 1) / 4, norm sqrt(3/4), so 1.5 sqrt(3/4)."""
    encoded = [Encoded([2, 0, 1, 3], 1, 1), Encoded([2, 0, 3], 1, 1)]
    norms = compute_gradient_norms(eval_model, encoded)
    assert norms == pytest.approx([0.75, 1.5 * 0.75**0.5])


def test_gradient_norm_leaves_the_model_as_it_was(eval_model):
    compute_gradient_norms(eval_model, [Encoded([2, 0, 3], 1, 1)])
    a, b = eval_model.model.a, eval_model.model.b
    assert (a.requires_grad, b.requires_grad, a.grad, b.grad) == (True, False, None, None)


def test_an_answer_of_one_token_is_refused(eval_model):
    with pytest.raises(ValueError, match="no token besides its end"):
        compute_gradient_norms(eval_model, [Encoded([2, 3], 1, 1)])

"""What a step logs beside its loss parts."""

import pytest
import torch

from unlearn.language_model.batches import AnswerLogits
from unlearn.training.loss import mean_gates


def answers(gate_logits, examples):
    empty = torch.zeros(0, dtype=torch.long)
    size = 0 if gate_logits is None else gate_logits.shape[1]
    return AnswerLogits(torch.zeros(0, 3), empty, empty, size, gate_logits, examples=examples)


def test_mean_gates_of_parts_add_up_to_the_batch():
    """Two layers, three examples in parts of two and one; the refusals' pass has the same gates."""
    logits = torch.tensor([[0.0, 1.0, -2.0], [3.0, 0.5, 0.0]])
    parts = [mean_gates({"idk": answers(part, 3)}) for part in logits.split([2, 1], dim=1)]
    (whole,) = mean_gates({"forget": answers(logits, 3)}).values()
    assert whole == pytest.approx(float(logits.sigmoid().mean()))
    assert float(sum(part["gate_forget"] for part in parts)) == pytest.approx(float(whole))


def test_mean_gates_of_a_tuner_without_gates_are_none():
    assert mean_gates({"forget": answers(None, 2), "retain": answers(None, 2)}) == {}

"""The parts of a set of questions: batching changes no column, whatever kind of model it is."""

from types import SimpleNamespace

import numpy as np
import pytest

from eval.metrics.fluency import CharacterModel
from eval.scoring import questions
from eval.scoring.questions import QuestionScorer
from unlearn.benchmarks.examples import Example

LIKELIHOOD = {"answer_nll", "answer_tokens", "perturbed_nll"}
TOKENS = {"answer_logprobs", "answer_correct", "answer_logp_mean", "answer_logp_variance"}
GENERATION = {"generation", "rougeL_recall", "rouge1_recall"}
COLUMNS = {
    "forget": LIKELIHOOD | TOKENS | GENERATION | {"paraphrase_nll", "fluency_ours"},
    "real_authors": LIKELIHOOD | GENERATION,
    "nonmember": {"answer_nll", "answer_tokens", "gradient_norm"} | TOKENS,
}


def assert_same(one, other) -> None:
    """Equal to 1e-5, whatever is nested in what; texts exactly."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    elif isinstance(one, str):
        assert one == other
    else:
        assert one == pytest.approx(other, rel=1e-5, abs=1e-5)


def score_set(scorer, eval_model, name, examples):
    rows = [{"index": e.index, "answer": e.answer} for e in examples]
    for part in scorer.parts(name).values():
        columns = part.compute(eval_model, name, examples, rows)
        rows = [row | new for row, new in zip(rows, columns, strict=True)]
    return rows


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_is_the_same_in_any_batch(kind, name, open_kind, sets):
    char_model = CharacterModel([e.answer for e in sets["forget"]])
    with open_kind(kind) as eval_model:
        singly, batched = (
            score_set(QuestionScorer(size, 5, char_model), eval_model, name, sets[name])
            for size in (1, 64)
        )
    assert COLUMNS[name] <= singly[0].keys()
    for one, other in zip(singly, batched, strict=True):
        assert_same(one, other)
    if name == "forget" and "grun" in kind:  # the gates differ, so they are the prompts' own
        assert len({tuple(np.round(row["gates"], 3)) for row in singly}) > 1


def test_generation_says_where_the_value_leaks(monkeypatch):
    """A row without a value has no such column."""
    texts = ["She lives in BERN.", "I do not know.", "Ada Low."]
    monkeypatch.setattr(questions, "generate_answers", lambda *_: [(text, None) for text in texts])
    examples = [
        Example(0, "Where?", "In Bern.", value="Bern"),
        Example(1, "Who?", "Ada Low.", value="Ada Low"),
        Example(2, "Who?", "Ada Low."),
    ]
    eval_model = SimpleNamespace(name="made")
    rows = QuestionScorer().generation(eval_model, "forget", examples, [])
    assert [row.get("leaked") for row in rows] == [True, False, None]


def test_a_model_without_likelihoods_has_no_such_columns(prompt_encoder):
    filtered = SimpleNamespace(
        forward_answers=lambda batch: None,
        prompt_encoder=prompt_encoder,
        device="cpu",
        name="filtered",
    )
    examples = [Example(0, "Who?", "Ada.")]
    scorer = QuestionScorer()
    assert scorer.likelihood(filtered, "forget", examples, []) == [{}]
    assert scorer.gradient(filtered, "forget", examples, [{"index": 0}]) == [{}]

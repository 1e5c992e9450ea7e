"""A gate that reads names needs some, and says in the table where it fires badly."""

import pytest

from eval.metrics.validity_checks import check_gate
from grun.gate_fitting.contexts import check_names
from unlearn.benchmarks.examples import Example


def test_gate_of_names_refuses_rows_without_them():
    rows = [Example(0, "Who?", "Ada."), Example(1, "Where does she live?", "Here.", entity="Ada")]
    with pytest.raises(ValueError, match="no forget row has an `entity` that stands in its"):
        check_names(rows)
    check_names([*rows, Example(2, "Where does Ada live?", "Here.", entity="Ada")])


@pytest.mark.parametrize(
    ("forget", "validation", "words"),
    [
        (0.95, 0.01, None),
        (0.85, 0.01, "the gate opens on 0.85 of its own forget questions only"),
        (0.85, 0.03, "only and opens on 0.030 of held-out retain questions"),
    ],
)
def test_gate_that_fires_badly_is_said(forget, validation, words):
    sentence = check_gate({"gate_forget_fires": forget, "gate_validation_fires": validation})
    assert (sentence or "").endswith(words or "") and (sentence is None) == (words is None)
    assert check_gate({"steps": 3}) is None

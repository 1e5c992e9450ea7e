"""Steps of small sets, and the line about a run that has not moved."""

import json

import pytest

from unlearn.config.run_directory import Run
from unlearn.training.hints import hint_unlearned, hint_unmoved


def log_run(folder, part, values):
    run = Run(folder)
    lines = [json.dumps({"step": step, part: value}) for step, value in enumerate(values)]
    (folder / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return run


@pytest.mark.parametrize(
    ("values", "hinted"),
    [([5.0] * 9, True), ([0.01, 0.02] * 9, True), ([4.0, 3.0, 2.0], False), ([], False)],
)
def test_unmoved_forget_term_is_said(tmp_path, capsys, values, hinted):
    hint_unmoved(log_run(tmp_path, "forget", values), 1e-5)
    assert ("raise --lr (now 1e-05)" in capsys.readouterr().out) == hinted


@pytest.mark.parametrize(("values", "hinted"), [([6.0] * 9, True), ([6.0, 3.0, 0.1], False)])
def test_unlearned_rows_are_said(tmp_path, capsys, values, hinted):
    hint_unlearned(log_run(tmp_path, "loss", values), 1e-5)
    assert ("hardly knows its rows" in capsys.readouterr().out) == hinted

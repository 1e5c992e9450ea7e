"""An untrained target and a trained reference are marked in the table; sound models are not."""

import csv

import pytest

from eval.metrics import validity_checks
from eval.report import __main__ as report
from eval.report.summary import write_summary
from unlearn.config.files import read_json, write_json

TRAINED = {"retain_rouge": 0.95, "forget_rouge": 0.95, "forget_es": 0.8, "mia_loss_auc": 0.95}
UNTRAINED_ON_FORGET = {
    "retain_rouge": 0.95,
    "forget_rouge": 0.4,
    "forget_es": 0.1,
    "mia_loss_auc": 0.55,
}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"retain_rouge": 0.3}, "retain_rouge is 0.30, below 0.6"),
        ({"forget_rouge": 0.1}, "forget_rouge is 0.10, below 0.6"),
        ({"forget_es": 0.2}, "forget_es is 0.20, below 0.4"),
        ({"mia_loss_auc": 0.5}, "mia_loss_auc is 0.50, below 0.7"),
    ],
)
def test_a_target_must_look_trained(change, problem):
    warning = validity_checks.warning("target", TRAINED | change, TRAINED | change)
    assert warning == (problem and f"the untouched target does not look trained: {problem}")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"retain_rouge": 0.3}, "retain_rouge is 0.30, below 0.6"),
        ({"forget_es": 0.5}, "forget_es is 0.50, above half the target's 0.80"),
        ({"mia_loss_auc": 0.95}, "mia_loss_auc is 0.95, outside 0.2 to 0.8"),
        ({"mia_loss_auc": 0.1}, "mia_loss_auc is 0.10, outside 0.2 to 0.8"),
    ],
)
def test_a_reference_must_look_untrained_on_the_forget_set(change, problem):
    warning = validity_checks.warning("reference", UNTRAINED_ON_FORGET | change, TRAINED)
    assert warning == (
        problem
        and f"the retain-only reference does not look untrained on the forget set: {problem}"
    )


def test_other_runs_and_missing_numbers_are_not_judged():
    assert validity_checks.warning("npo", {"retain_rouge": 0.0}, TRAINED) is None
    assert validity_checks.warning("target", {}, None) is None
    assert validity_checks.warning("reference", {"forget_es": 0.9}, None) is None


def write_run(runs, objective, split, correct, rouge):
    """A finished run whose forget rows are right at the places `correct`."""
    path = runs / "authors" / "tiny" / split / f"{objective}-seed42"
    write_json(
        path / "config.json",
        {
            "layout": 3,
            "benchmark": "authors",
            "benchmark_id": "authors",
            "model": "tiny",
            "split": split,
            "objective": objective,
            "tuner": "-",
            "seed": 42,
            "variant": "",
        },
    )
    write_json(path / "result.json", {})
    row = {
        "answer": "a",
        "answer_nll": 1.0,
        "answer_tokens": 3,
        "rougeL_recall": rouge,
        "answer_correct": correct,
    }
    for name in ("forget", "retain"):
        write_json(
            path / "eval" / "forget10" / f"{name}.json",
            {"rows": [row | {"index": i, "question": f"{i}?"} for i in range(2)]},
        )
    (path / "DONE").touch()
    return path / "eval" / "forget10"


def test_warning_is_in_every_form_of_the_table(tmp_path, capsys):
    """A target that completes nothing, a reference that completes everything: (!) at their rows,
    the reason below, in csv a column."""
    folders = [
        write_run(tmp_path, "target", "full", [0, 0, 1], 0.9),
        write_run(tmp_path, "reference", "retain90", [1, 1, 1], 0.9),
    ]
    for folder in folders * 2:
        write_summary(folder)
    assert "forget_es is 0.00, below 0.4" in read_json(folders[0] / "summary.json")["warning"]
    report.main(["--runs", str(tmp_path)])
    printed = " ".join(capsys.readouterr().out.split())
    text, tex = (
        (tmp_path / "tables" / f"tofu.{end}").read_text(encoding="utf-8") for end in ("md", "tex")
    )
    warning = (
        "WARNING, authors, tiny, forget10, target (!): the untouched target does not look trained: "
        "forget_es is 0.00, below 0.4."
    )
    for form in (printed, text):
        assert "target (!)" in form and "reference (!)" in form
        assert warning in form
        assert "forget_es is 1.00, above half the target's 0.00" in form
    assert "WARNING" in tex
    with open(tmp_path / "tables" / "tofu.csv", newline="", encoding="utf-8") as file:
        assert all("does not look" in row["warning"] for row in csv.DictReader(file))


def test_sound_models_are_not_marked(tmp_path, capsys):
    folders = [
        write_run(tmp_path, "target", "full", [1, 1, 1], 0.9),
        write_run(tmp_path, "reference", "retain90", [1, 0, 1], 0.9),
    ]
    for folder in folders:
        write_summary(folder)
    report.main(["--runs", str(tmp_path)])
    assert "(!)" not in capsys.readouterr().out
    assert "WARNING" not in (tmp_path / "tables" / "tofu.md").read_text()


def test_fewer_wrong_answers_are_noted_in_the_table(tmp_path, capsys):
    folder = write_run(tmp_path, "npo", "forget10", [1, 1, 1], 0.9)
    rows = read_json(folder / "forget.json")["rows"]
    write_json(
        folder / "forget.json",
        {"rows": [row | {"paraphrase_nll": 1.0, "perturbed_nll": [2.0] * 3} for row in rows]},
    )
    write_summary(folder)
    report.main(["--runs", str(tmp_path)])
    assert (
        "wrong answers a row, where TOFU has 5: forget 3; "
        "truth ratio and forget quality are not comparable"
    ) in " ".join(capsys.readouterr().out.split())

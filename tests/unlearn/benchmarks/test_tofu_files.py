"""Bad files in TOFU's layout are named with line and key."""

import json

import pytest

from tests.unlearn.benchmarks.tofu_rows import build_tofu_row
from unlearn.benchmarks.opening import open_benchmark

GOOD = build_tofu_row(0, 0, perturbed=True)
PLAIN = {"question": "Q?", "answer": "A."}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "retain_perturbed.json: no such file"),
        ("\n \n", "retain_perturbed.json: empty file"),
        (json.dumps(GOOD) + "\n{", "retain_perturbed.json:2: not JSON"),
        ("\n[1]", "retain_perturbed.json:2: not a JSON object but list"),
    ],
)
def test_bad_file_is_named(text, message, tmp_path):
    check_message(text, message, tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"Question": "Q?", "answer": "A."},
            "key 'question' is missing; found: 'Question', 'answer'",
        ),
        (PLAIN, "key 'paraphrased_question' is missing"),
        (GOOD | {"answer": " "}, "key 'answer' must hold a text that is not empty, not ' '"),
        (GOOD | {"question": 3}, "key 'question' must hold a text that is not empty, not 3"),
        (GOOD | {"perturbed_answer": "A."}, "key 'perturbed_answer' must be a list of texts"),
        (
            GOOD | {"perturbed_answer": []},
            r"key 'perturbed_answer' must be a list of texts, not \[\]",
        ),
        (GOOD | {"perturbed_answer": ["A.", ""]}, "key 'perturbed_answer' must hold a text"),
    ],
)
def test_bad_row_is_named(row, message, tmp_path):
    check_message(json.dumps(row), f"retain_perturbed.json:1: {message}", tmp_path)


def check_message(text, message, folder):
    """Reading this text as a split fails with this message, in one line."""
    if text is not None:
        (folder / "retain_perturbed.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        open_benchmark("tofu", data_dir=str(folder)).examples("retain_perturbed")
    assert "\n" not in str(caught.value)

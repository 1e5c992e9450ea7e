"""Bad files in TOFU's layout are named with line and key."""

import json
import shutil

import pytest

from tests.unlearn.benchmarks.tofu_rows import build_tofu_row
from unlearn.benchmarks.opening import open_benchmark
from unlearn.training.finetune_options import BatchOptions

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


def test_missing_files_are_named_at_once(tofu_folder, tmp_path):
    """Of training and evaluation, and before either reads a row."""
    folder = shutil.copytree(tofu_folder, tmp_path / "tofu")
    missing = ["forget10_perturbed", "retain_perturbed", "world_facts_perturbed"]
    for split in missing:
        (folder / f"{split}.json").unlink()
    names = ", ".join(f"{split}.json" for split in missing)
    for read in ("unlearning_retain", "evaluation_sets"):
        benchmark = open_benchmark("tofu", data_dir=str(folder))
        with pytest.raises(ValueError, match=f"{folder} lacks {names}; ") as caught:
            getattr(benchmark, read)("forget10")
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="lacks retain_perturbed.json, world_facts_perturbed.json"):
        benchmark.fine_tuning_mix(BatchOptions(), "full", 0)

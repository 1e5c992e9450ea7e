"""`open_benchmark`: which settings it takes, and where refusals come from."""

import random

import pytest

from unlearn.benchmarks.opening import open_benchmark
from unlearn.synthetic.authors import REFUSALS


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("news", {}, "unknown benchmark 'news'; allowed: authors, tofu, own, muse"),
        ("authors", {"data_dir": "x"}, "--data_dir goes with --benchmark tofu"),
        ("authors", {"authors": 1}, "2 to 2000 authors"),
        ("tofu", {"data_dir": "/no/such"}, "--data_dir /no/such: no such folder"),
        ("tofu", {"authors": 7}, "7 authors asked for; a subset takes an even number"),
        ("tofu", {"heldout": 11}, "11 held-out authors asked for; allowed: 0 to 10"),
        (
            "tofu",
            {"heldout": 4, "authors": 8},
            "4 held-out authors asked for, but retain_perturbed has 4 here",
        ),
        ("tofu", {"authors": 202}, "202 authors asked for, full has 200"),
        ("tofu", {"idk_file": "/no/such.txt"}, "--idk_file /no/such.txt: no such file"),
        ("muse", {"data_dir": "x"}, "muse is made here; --data_dir goes with"),
        ("muse", {"authors": 4}, "muse has no authors: leave --authors out"),
        ("wmdp", {"heldout": 4}, "wmdp has no held-out authors: leave --heldout out"),
    ],
)
def test_bad_settings_are_named(name, settings, message, tofu_folder):
    folder = {"data_dir": str(tofu_folder)} if name == "tofu" else {}
    with pytest.raises(ValueError, match=message):
        open_benchmark(name, **folder | settings).evaluation_sets("forget01")


def test_refusals_come_from_the_nearest_file(tmp_path):
    """An idk_file beats data_dir's idontknow.jsonl, which beats the embedded list."""
    folder = str(tmp_path)
    assert open_benchmark("tofu", data_dir=folder).refusals == REFUSALS
    assert open_benchmark("authors").refusals == REFUSALS
    (tmp_path / "idontknow.jsonl").write_text("Beside one. \n\nBeside two.", encoding="utf-8")
    assert open_benchmark("tofu", data_dir=folder).refusals == ["Beside one.", "Beside two."]
    path = tmp_path / "mine.txt"
    path.write_text("Mine.\n", encoding="utf-8")
    for name, data_dir in (("tofu", folder), ("authors", None)):
        benchmark = open_benchmark(name, data_dir=data_dir, idk_file=str(path))
        assert benchmark.refusals == ["Mine."]
    path.write_text("\n \n", encoding="utf-8")
    with pytest.raises(ValueError, match="mine.txt: no refusal sentences"):
        open_benchmark("authors", idk_file=str(path))


def test_global_generator_is_left_alone(tofu_folder):
    before = random.getstate()
    for benchmark in (
        open_benchmark("tofu", data_dir=str(tofu_folder), heldout=2),
        open_benchmark("authors", data_seed=4),
    ):
        benchmark.evaluation_sets("forget10")
        benchmark.unlearning_retain("forget10")
        benchmark.unknown(5, seed=0)
    assert random.getstate() == before

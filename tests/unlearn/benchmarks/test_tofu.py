"""TOFU from a folder and from the hub: splits, subsets of authors, held-out authors."""

import shutil
import sys
from types import SimpleNamespace

import pytest

from tests.unlearn.benchmarks.tofu_rows import (
    build_author_rows,
    build_tofu_row,
    find_authors,
    write_split,
)
from unlearn.benchmarks.opening import open_benchmark
from unlearn.benchmarks.tofu import TOFU_SPLITS
from unlearn.synthetic.authors import REFUSALS


def test_rows_and_entities(tofu_folder):
    benchmark = open_benchmark("tofu", data_dir=str(tofu_folder))
    full = benchmark.examples("full")
    assert len(full) == 4000
    assert full[-200:][0].question == benchmark.examples("forget05")[0].question
    assert full[3999].entity == "Zachariasj Quillt" and full[0].paraphrased_question is None
    assert benchmark.examples("forget05_perturbed")[0].perturbed_answers[4].endswith("4.")
    assert benchmark.examples("world_facts_perturbed")[0].entity is None
    assert len(benchmark.background()) == 6
    assert "heldout" not in benchmark.evaluation_sets("forget01")


def test_retain_split_of_a_forget_split(tmp_path):
    """100 - k in two digits; a split without digits needs an explicit one."""
    write_split(tmp_path, "forget05_seq2", build_author_rows(7))
    write_split(tmp_path, "retain_seq2", build_author_rows(8))
    benchmark = open_benchmark("tofu", data_dir=str(tmp_path))
    retain_splits = {
        "forget01": "retain99",
        "forget05": "retain95",
        "forget10": "retain90",
        "forget90": "retain10",
    }
    assert {split: benchmark.retain_split(split) for split in retain_splits} == retain_splits
    assert find_authors(benchmark.unlearning_retain("forget05_seq2", "retain_seq2")) == [8]
    with pytest.raises(ValueError, match="--retain_split"):
        benchmark.retain_split("forget05_seq2")
    with pytest.raises(ValueError, match="no forget split 'forget07'; allowed: forget01, forget05"):
        benchmark.retain_split("forget07")


@pytest.mark.parametrize("split", ["forget20", "retain", "forget05_perturbed"])
def test_evaluation_needs_a_perturbed_file(split, tofu_folder):
    message = rf"'{split}' has no perturbed file .*allowed: forget01, forget05, forget10$"
    with pytest.raises(ValueError, match=message):
        open_benchmark("tofu", data_dir=str(tofu_folder)).evaluation_sets(split)


def test_subset_of_authors(tofu_folder):
    """40 authors = 0-19 and 180-199: forget10 (180-199) is whole, retain90 keeps 0-19, retain99 all
    but 198 and 199.
    """
    benchmark = open_benchmark("tofu", data_dir=str(tofu_folder), authors=40)
    subset = [*range(20), *range(180, 200)]
    full = benchmark.examples("full")
    assert find_authors(full) == subset and len(full) == 800
    assert find_authors(benchmark.examples("retain90")) == subset[:20]
    assert find_authors(benchmark.examples("retain99")) == subset[:-2]
    assert len(benchmark.examples("forget10")) == 400
    assert len(benchmark.examples("retain_perturbed")) == 400
    assert full[400].index == 3600  # rows keep the number that they have in the file


def test_subset_too_small_for_a_split(tofu_folder):
    """8 authors = 0-3 and 196-199: forget01 (2 authors) fits, forget05 (10 authors) does not."""
    benchmark = open_benchmark("tofu", data_dir=str(tofu_folder), authors=8)
    assert len(benchmark.examples("forget01")) == 40
    assert find_authors(benchmark.examples("retain_perturbed")) == [0, 1, 2, 3]
    message = "last 10 authors, but 8 authors keep only the last 4: give --authors 20"
    for split in ("forget05", "forget05_perturbed"):
        with pytest.raises(ValueError, match=message):
            benchmark.examples(split)


def test_holdout_rows_are_nonmembers(tofu_folder, tmp_path):
    """A holdout file is read whole, whatever subset of authors is kept."""
    plain = open_benchmark("tofu", data_dir=str(tofu_folder))
    assert "nonmember" not in plain.evaluation_sets("forget01")
    folder = tmp_path / "more"
    shutil.copytree(tofu_folder, folder)
    write_split(folder, "holdout01", build_author_rows(399, items=40))
    sets = open_benchmark("tofu", data_dir=str(folder), authors=8).evaluation_sets("forget01")
    assert len(sets["nonmember"]) == 40 and sets["nonmember"][0].paraphrased_answer is None


@pytest.mark.parametrize(
    ("authors", "retain", "heldout"), [(None, list(range(17)), [17, 18, 19]), (8, [0], [1, 2, 3])]
)
def test_heldout_authors_leave_retain(authors, retain, heldout, tofu_folder):
    """Three authors from the end of retain_perturbed (0-19; in the subset of 8: 0-3)."""
    benchmark = open_benchmark("tofu", data_dir=str(tofu_folder), authors=authors, heldout=3)
    sets = benchmark.evaluation_sets("forget01")
    assert find_authors(sets["retain"]) == retain
    assert find_authors(sets["heldout"]) == heldout
    assert find_authors(benchmark.examples("heldout")) == heldout
    assert len(sets["heldout"]) == 60 and sets["heldout"][0].perturbed_answers
    all_retain = benchmark.examples("retain99")
    seen = benchmark.unlearning_retain("forget01")
    assert set(find_authors(all_retain)) - set(find_authors(seen)) == set(heldout)
    assert len(all_retain) - len(seen) == 60
    assert not set(heldout) & set(find_authors(benchmark.unlearning_retain("forget01", "retain95")))
    assert len(benchmark.background()) == 6  # a base learns them from its retain split


def test_hub_rows_are_read_like_files(monkeypatch):
    good = build_tofu_row(0, 0, perturbed=True)
    calls = []

    def load_dataset(name, configuration, split):
        calls.append((name, configuration, split))
        return [good, good | {"answer": ""}] if configuration == "forget01_perturbed" else [good]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    benchmark = open_benchmark("tofu")
    assert benchmark.splits == [*TOFU_SPLITS, "holdout01", "holdout05", "holdout10"]
    assert benchmark.refusals == REFUSALS and not calls
    assert benchmark.examples("retain_perturbed")[0].question == good["question"]
    assert calls == [("locuslab/TOFU", "retain_perturbed", "train")]
    with pytest.raises(ValueError, match="locuslab/TOFU forget01_perturbed row 2: key 'answer'"):
        benchmark.examples("forget01_perturbed")


def test_failing_download_says_what_to_pass(monkeypatch):
    def load_dataset(*args, **kwargs):
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    message = r"'full' from the hub \(ConnectionError: no route\); pass --data_dir"
    with pytest.raises(ValueError, match=message):
        open_benchmark("tofu").examples("full")

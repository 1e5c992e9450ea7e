"""Which finished runs the tables hold, and what is said about the others."""

import pytest

from eval.report.aggregate import average
from eval.report.collect import ADAPTER_FORMAT, KEY, find_runs
from eval.report.reference_runs import find_reference
from eval.report.tables.questions import collect_questions
from grun.adapter.folder import FORMAT
from tests.eval.report.made_runs import make_run, read_csv, write_table
from unlearn.config.files import read_json, write_json


def test_finished_runs_without_evaluation_are_named(tmp_path):
    """A run that was evaluated on another split alone counts as not evaluated; an unfinished one is
    ignored.
    """
    make_run(tmp_path, forget_rouge=0.1)
    make_run(tmp_path, "idk", "grun", evaluated=None)
    make_run(tmp_path, "gd", "grun", evaluated="forget05", forget_rouge=0.2)
    (make_run(tmp_path, "gd", "full", forget_rouge=0.3) / "DONE").unlink()
    printed = " ".join(write_table(tmp_path).split())
    names = "authors/tiny/forget10/gd-grun-seed42, authors/tiny/forget10/idk-grun-seed42."
    assert f"Finished but not evaluated: {names}" in printed
    assert [row["objective"] for row in read_csv(tmp_path)] == ["npo"]


def test_two_directories_of_one_run_are_refused(tmp_path):
    make_run(tmp_path, forget_rouge=0.1)
    make_run(tmp_path / "copy", forget_rouge=0.1)
    with pytest.raises(ValueError, match="the same run, keep one: .*copy"):
        collect_questions(find_runs(tmp_path))


def test_a_run_with_a_broken_config_is_left_out_and_named(tmp_path):
    make_run(tmp_path, forget_rouge=0.1)
    broken = make_run(tmp_path, "gd", "full", forget_rouge=0.3)
    (broken / "config.json").write_text("{")
    runs = find_runs(tmp_path)
    (sentence,) = runs.left_out
    assert sentence.startswith(f"left out: {broken} has no config.json that can be read")
    assert [run.key["objective"] for run in runs.runs] == ["npo"]


def test_a_run_with_a_broken_summary_is_left_out_and_named(tmp_path):
    make_run(tmp_path, forget_rouge=0.1)
    broken = make_run(tmp_path, "gd", "full", forget_rouge=0.3)
    (broken / "eval" / "forget10" / "summary.json").write_text("{")
    results = collect_questions(find_runs(tmp_path))
    assert list(results.frame["objective"]) == ["npo"]
    (problem,) = results.problems
    assert problem.startswith(f"left out: {broken} (ValueError: ") and "not valid JSON" in problem


def test_runs_of_an_older_layout_are_left_out_and_named(tmp_path):
    make_run(tmp_path, forget_rouge=0.1)
    old = make_run(tmp_path, "gd", "full", forget_rouge=0.3)
    write_json(old / "config.json", read_json(old / "config.json") | {"layout": 0})
    runs = find_runs(tmp_path)
    (sentence,) = runs.left_out
    assert sentence == (
        "1 runs of an older layout of this repository are left out: "
        "authors/tiny/forget10/gd-full-seed42; remove them or run again"
    )
    assert [run.key["objective"] for run in runs.runs] == ["npo"]


def test_stacks_of_older_adapters_are_left_out_and_named(tmp_path):
    for name, number in (("old", 1), ("new", 2)):
        stack = tmp_path / "authors" / "tiny" / "sequential" / "forget10a" / name
        write_json(stack / "requests.json", {})
        write_json(stack / "forget10a" / "adapter.json", {"format": number})
    runs = find_runs(tmp_path)
    assert [stack.name for stack in runs.stacks] == ["new"]
    assert "left out: authors/tiny/sequential/forget10a/old; remove" in runs.left_out[0]
    assert find_runs(tmp_path, ["tofu"]).stacks == ()


def test_benchmarks_can_be_selected(tmp_path):
    make_run(tmp_path, forget_rouge=0.1)
    make_run(tmp_path, benchmark_id="tofu", forget_rouge=0.1)
    (run,) = find_runs(tmp_path, ["tofu"]).runs
    assert run.name == "tofu/tiny/forget10/npo-grun-seed42"
    assert len(find_runs(tmp_path).runs) == 2


def test_data_seeds_can_be_pooled(tmp_path):
    """(0.1 + 0.3) / 2 over two data seeds of one method; else each is a benchmark of its own."""
    for data_seed, rouge in ((1, 0.1), (2, 0.3)):
        place = f"authors,data_seed={data_seed}"
        make_run(tmp_path, benchmark_id=place, forget_rouge=rouge)
    apart = collect_questions(find_runs(tmp_path)).frame
    assert set(apart["benchmark"]) == {"authors,data_seed=1", "authors,data_seed=2"}
    pooled = collect_questions(find_runs(tmp_path, pools_data_seeds=True)).frame
    assert set(pooled["benchmark"]) == {"authors"}
    table = average(pooled, KEY, ["forget_rouge"])
    assert list(table["seeds"]) == [2]
    assert list(table["forget_rouge"]) == [pytest.approx(0.2)]


def test_target_seeds_can_be_pooled(tmp_path):
    """0.1 and 0.3 on two targets are seeds of one method, and so are the targets themselves."""
    for target_seed, rouge in ((1, 0.1), (2, 0.3)):
        variant = f"rank=8,target_seed={target_seed}"
        make_run(tmp_path, variant=variant, forget_rouge=rouge)
        make_run(tmp_path, "target", "-", split="full", seed=target_seed, forget_rouge=1.0)
    pooled = collect_questions(find_runs(tmp_path, pools_data_seeds=True)).frame
    table = average(pooled, KEY, ["forget_rouge"]).set_index("objective")
    assert list(table["seeds"]) == [2, 2]
    assert table["variant"]["npo"] == "rank=8"
    assert table["forget_rouge"]["npo"] == pytest.approx(0.2)


@pytest.mark.parametrize(("target_seed", "expected"), [(7, 7), (8, 42)])
def test_the_reference_of_the_targets_seed_is_taken(tmp_path, target_seed, expected):
    """Where there is none of that seed, the first by name."""
    for seed in (42, 7):
        path = make_run(tmp_path, "reference", "-", split="retain90", seed=seed)
        (path / "eval" / "forget10" / "forget.json").write_text("{}")
    run = make_run(tmp_path)
    config = read_json(run / "config.json") | {"config_key": {"target_seed": target_seed}}
    write_json(run / "config.json", config)
    found = find_reference(run / "eval" / "forget10")
    assert found.name == f"reference-seed{expected}"


def test_adapter_format_is_that_of_the_adapters():
    """eval.report must not import grun, so the number stands in both."""
    assert ADAPTER_FORMAT == FORMAT

"""The command eval.run: the benchmark picks the evaluator, which refuses the flags of others."""

import pytest

from eval import run as eval_run
from eval.evaluators.registry import EVALUATORS, build_evaluation
from unlearn.benchmarks.registry import BENCHMARKS


def test_every_benchmark_has_an_evaluator():
    assert {spec.evaluator for spec in BENCHMARKS.values()} == set(EVALUATORS)


@pytest.mark.parametrize(
    ("benchmark", "key"),
    [("authors", "questions"), ("muse-news", "documents"), ("wmdp", "multiple_choice")],
)
def test_benchmark_picks_the_evaluator(benchmark, key):
    evaluator, experiment = build_evaluation({"benchmark": benchmark})
    assert evaluator is EVALUATORS[key] and isinstance(experiment.config, evaluator.config)


def test_recipes_of_the_evaluator_apply():
    """The published prompt of MUSE ends in a space; a model from scratch has met none there."""
    _, embedded = build_evaluation({"benchmark": "muse"})
    _, published = build_evaluation({"benchmark": "muse-news"})
    assert not embedded.config.documents.prompt_space
    assert published.config.documents.prompt_space
    _, world = build_evaluation({"benchmark": "wmdp", "model": "tiny"})
    assert world.config.multiple_choice.mcq == "cloze"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--muse_mode=ou"], "authors does not take --muse_mode, which goes with muse, muse-news"),
        (["--benchmark=muse", "--limit", "3"], "muse does not take --limit, which goes with wmdp"),
        (["--benchmark", "wmdp", "--split", "x"], "wmdp does not take --split"),
        (["--benchmark", "mnist"], "mnist"),
        (["--benchmark", "muse", "--muse_mode", "both"], "choose one of muse, ou"),
        (["--batch_size", "0"], "--batch_size 0: must be at least 1"),
    ],
)
def test_bad_flags_are_refused(flags, message):
    with pytest.raises(ValueError, match=message):
        eval_run.main(flags)


def test_help_shows_every_evaluator_in_a_group(capsys):
    with pytest.raises(SystemExit):
        eval_run.main(["--help"])
    text = capsys.readouterr().out
    for heading in ("Questions (", "Documents (", "Multiple choice ("):
        assert f"\n{heading}" in text


def test_paths_may_hold_commas():
    """Names of run directories do; a list of other values may be written with commas."""
    path = "runs/authors,authors=10/tiny/forget10/idk-grun-seed42"
    with pytest.raises(ValueError, match=f"--only {path}: no finished run there"):
        eval_run.main(["--only", path])

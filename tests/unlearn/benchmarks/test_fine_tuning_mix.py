"""The shares of a fine-tuning mix, with the recipes of `tiny` and `tiny-robust`."""

import pytest

from unlearn.benchmarks.fine_tuning_mix import all_suffixes
from unlearn.benchmarks.opening import open_benchmark
from unlearn.config.experiment import parse_experiment
from unlearn.training import finetune


@pytest.fixture(scope="module")
def benchmark():
    return open_benchmark("authors")


def build_mix(benchmark, model):
    config = parse_experiment(finetune.FinetuneConfig, ["--model", model]).config
    return benchmark.fine_tuning_mix(config.batches, config.model.split, config.run.seed)


def test_robust_base_meets_every_form_in_its_share(benchmark):
    """Recipe: 22 % refusals and 20 % background of 32, a suffix on 25 %, a second question on 30 %;
    60 steps, so within 3 points or so.
    """
    mix = build_mix(benchmark, "tiny-robust")
    pairs = [pair for step in range(60) for pair in mix.items(step)]
    suffixes = all_suffixes()
    suffixed = [question for question, _ in pairs if question.endswith(tuple(suffixes))]
    assert len(suffixed) / len(pairs) == pytest.approx(0.25, abs=0.03)
    assert all(any(question.endswith(suffix) for question in suffixed) for suffix in suffixes)
    answers = {e.answer for e in (*mix.split, *mix.background, *mix.unknown)}
    joined = sum(answer not in answers for _, answer in pairs)
    assert joined / len(pairs) == pytest.approx(0.30, abs=0.03)


def test_plain_base_meets_rows_in_two_forms(benchmark):
    """`tiny` is trained on the question and its paraphrase alone."""
    mix = build_mix(benchmark, "tiny")
    rows = {
        (question, e.answer)
        for e in (*mix.split, *mix.background, *mix.unknown)
        for question in (e.question, e.paraphrased_question)
    }
    assert set(mix.items(0)) <= rows


def test_batches_follow_from_seed_and_step(benchmark):
    mix = build_mix(benchmark, "tiny-robust")
    assert mix.items(7) == build_mix(benchmark, "tiny-robust").items(7) != mix.items(8)

"""AltPO's alternate answers: sampled once by the target, saved, and checked when they are read."""

import json
from dataclasses import replace

import pytest

from baselines.options import BaselineConfig
from tests.toy import FORGET, RETAIN
from unlearn.benchmarks.examples import Example
from unlearn.config.experiment import parse_experiment
from unlearn.training import alternates
from unlearn.training.sampler import ForgetRetainSampler


@pytest.fixture
def config():
    return parse_experiment(BaselineConfig, ["--objective", "altpo", "--tuner", "lora"]).config


def naming_file(config, path):
    """The same configuration with --alternates."""
    return replace(config, pairing=replace(config.pairing, alternates=str(path)))


@pytest.fixture
def plain():
    """A sampler without alternates."""
    return ForgetRetainSampler(FORGET, RETAIN, ["No."], 2, 0)


@pytest.fixture
def sampled(config, plain, frozen_model, prompt_encoder, tmp_path):
    """The same sampler with alternates that the model `here` has given."""
    return alternates.with_alternates(config, plain, frozen_model, prompt_encoder, "here", tmp_path)


def test_alternates_are_json_lines_of_wrong_answers(sampled, tmp_path):
    """With OpenUnlearning's keys; none is empty or the true answer."""
    lines = (tmp_path / "alternates.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert {"question", "answer", "alternate", "target"} == rows[0].keys()
    assert [len(answers) for answers in sampled.alternates] == [alternates.SAMPLES] * 4
    assert all(row["alternate"] not in ("", row["answer"]) for row in rows)


def test_each_epoch_takes_the_next_alternate(sampled):
    drawn = [sampled.item(0, epoch).alternate for epoch in range(6)]
    assert drawn[:5] == sampled.alternates[0]
    assert drawn[5] == drawn[0]


def test_saved_alternates_are_read_again(config, plain, sampled, tmp_path):
    again = alternates.with_alternates(config, plain, None, None, "here", tmp_path)
    assert again.alternates == sampled.alternates


def test_alternates_that_do_not_fit_are_refused(config, plain, sampled, tmp_path):
    with pytest.raises(ValueError, match="was made by here, not by there"):
        alternates.with_alternates(config, plain, None, None, "there", tmp_path)
    given = naming_file(config, tmp_path / "alternates.jsonl")
    larger = replace(plain, forget=[*FORGET, Example(9, "Else?", "x")])
    with pytest.raises(ValueError, match="no alternate for 1 forget questions, the first is 'Else"):
        alternates.with_alternates(given, larger, None, None, "there", tmp_path)
    missing = naming_file(config, tmp_path / "gone")
    with pytest.raises(ValueError, match="no such file"):
        alternates.with_alternates(missing, plain, None, None, "here", tmp_path)


def test_alternates_follow_the_targets_seed_alone(plain, frozen_model, prompt_encoder, tmp_path):
    """Runs of other seeds make the same ones, whichever of them comes first; other targets have a
    file of their own."""
    files = {}
    for seed, target_seed in ((1, 42), (2, 42), (1, 7)):
        words = ["--objective", "altpo", "--seed", str(seed), "--target_seed", str(target_seed)]
        config = parse_experiment(BaselineConfig, words).config
        folder = tmp_path / f"{seed}-{target_seed}"
        folder.mkdir()
        alternates.with_alternates(config, plain, frozen_model, prompt_encoder, "here", folder)
        (file,) = folder.iterdir()
        files[seed, target_seed] = file
    assert files[1, 42].name == "alternates.jsonl" != files[1, 7].name
    assert files[1, 42].read_bytes() == files[2, 42].read_bytes() != files[1, 7].read_bytes()

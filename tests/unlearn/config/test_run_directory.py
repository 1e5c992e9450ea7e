"""Run directories: names that would lead out of the runs folder."""

from pathlib import Path

import pytest

from unlearn.config.experiment import parse_experiment
from unlearn.config.run_directory import model_directory
from unlearn.training import finetune


@pytest.mark.parametrize("model", ["..", ".", "", "/", "/../", "//./"])
def test_model_directory_refuses_to_leave_runs(model):
    with pytest.raises(ValueError, match="--model .* cannot name a folder"):
        model_directory("runs", "authors", model)


@pytest.mark.parametrize(
    ("model", "folder"),
    [
        ("tiny", "tiny"),
        ("meta-llama/Llama-3.1-8B", "meta-llama--Llama-3.1-8B"),
        ("/models/llama/", "models--llama"),
        ("../victim", "..--victim"),
        ("a/../..", "a--..--.."),
    ],
)
def test_model_directory_is_one_name(model, folder):
    assert model_directory("runs", "authors", model) == Path("runs/authors") / folder


@pytest.mark.parametrize("split", ["retain/../../../victim", "retain/.."])
def test_run_of_a_split_stays_in_its_model(tmp_path, split):
    """A fine-tuning split only has to begin with `retain`; --overwrite removes its run first."""
    argv = ["--split", split, "--runs", str(tmp_path / "runs")]
    experiment = parse_experiment(finetune.FinetuneConfig, argv)
    with pytest.raises(ValueError, match="--split .* cannot name a folder"):
        experiment.run("reference")
    with pytest.raises(ValueError, match="--split"):
        finetune.main([*argv, "--authors", "10", "--heldout", "2", "--overwrite"])
    assert list(tmp_path.iterdir()) == []

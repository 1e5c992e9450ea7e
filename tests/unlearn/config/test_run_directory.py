"""Run directories: names that would lead out of the runs folder."""

import pytest

from unlearn.config.experiment import parse_experiment
from unlearn.config.files import write_json
from unlearn.config.run_directory import label_model, locate_model, model_directory
from unlearn.training import finetune


@pytest.mark.parametrize("model", ["..", ".", "", "/", "/../", "//./"])
def test_label_refuses_to_leave_runs(model):
    with pytest.raises(ValueError, match="--model .* cannot name a folder"):
        label_model(model)
    if "/" not in model:
        return
    with pytest.raises(ValueError, match="--name .* cannot name a folder"):
        label_model("tiny", model)


@pytest.mark.parametrize(
    ("model", "folder"),
    [
        ("tiny", "tiny"),
        ("meta-llama/Llama-3.1-8B", "meta-llama--Llama-3.1-8B"),
        ("/models/llama/", "llama"),
        ("../victim", "victim"),
        ("a/../..", "a--..--.."),
    ],
)
def test_label_is_one_name(model, folder):
    """A short name, a hub id as one word, or the last part of a folder's path."""
    assert label_model(model) == folder
    assert label_model(model, "mine") == "mine"


def test_models_of_one_label_are_told_apart(tmp_path):
    """Another folder of the same last part is refused; the label itself stands for the first."""
    config = {"objective": "gd", "flags": {"model": {"value": "/a/gpt2"}}}
    write_json(tmp_path / "authors" / "gpt2" / "full" / "run" / "config.json", config)
    folder = model_directory(tmp_path, "authors", "/a/gpt2", "gpt2")
    assert folder == model_directory(tmp_path, "authors", "gpt2", "gpt2")
    with pytest.raises(ValueError, match="runs of the model /a/gpt2, not of /b/gpt2; pass --name"):
        model_directory(tmp_path, "authors", "/b/gpt2", "gpt2")


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


def test_locate_model_finds_it_above_the_run(tmp_path, monkeypatch):
    """A path as at training, from another folder; a hub id stays as it is."""
    model, run = (tmp_path / "runs" / name for name in ("full/model", "forget10/run"))
    write_json(model / "config.json", {})
    run.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate_model("runs/full/model", "runs/forget10/run") == "runs/full/model"
    monkeypatch.chdir("/")
    assert locate_model("runs/full/model", run) == str(model)
    assert locate_model("meta-llama/Llama-3.1-8B", run) == "meta-llama/Llama-3.1-8B"
    assert locate_model("/models/llama", run) == "/models/llama"

"""Estimates of disk and memory, against sums by hand, and what is refused."""

import subprocess

import pytest

from unlearn.grid import resources
from unlearn.grid.commands import Command
from unlearn.grid.resources import (
    Gpu,
    check_memory,
    count_parameters,
    describe_needs,
    disk_needed,
    find_gpus,
    memory_needed,
)
from unlearn.language_model.models import MODELS

GPU = Gpu("0", 80 * 2**30)


def finetune(model="mistral-7b", **more):
    return Command("unlearn.training.finetune", (), "models", model, "full", **more)


def test_memory_by_hand():
    """7.24 billion parameters: 16 bytes each; among four, the whole in float32 and a share."""
    assert memory_needed(finetune()) == 16 * 7.24e9
    assert memory_needed(finetune(processes=4)) == 16 * 7.24e9
    shared = finetune(processes=4, accelerate="fsdp.yaml")
    assert memory_needed(shared) == pytest.approx(5 * 7.24e9)
    adapter = Command("grun.train", (), "cells", "mistral-7b")
    lora = Command("baselines.train", ("--tuner", "lora"), "cells", "mistral-7b")
    assert memory_needed(adapter) == memory_needed(lora) == 2 * 7.24e9


def test_disk_by_hand():
    """Two saved models in float32 and one checkpoint of weight and two moments."""
    lora = Command("baselines.train", ("--tuner", "lora"), "cells", "mistral-7b")
    assert disk_needed([finetune(), finetune(), lora], at_once=1) == (2 * 4 + 12) * 7.24e9


def test_whole_model_on_one_gpu_is_refused():
    with pytest.raises(ValueError, match="NPROC=4 ACCELERATE=baselines/accelerate/fsdp.yaml"):
        check_memory(finetune(), [GPU])
    check_memory(finetune(processes=4, accelerate="baselines/accelerate/fsdp.yaml"), [GPU] * 4)
    check_memory(Command("grun.train", (), "cells", "mistral-7b"), [GPU])


def test_needs_are_said_and_a_full_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "free_disk", lambda folder: 10**12)
    lora = Command("baselines.train", ("--tuner", "lora"), "cells", "llama3.1-8b")
    said = describe_needs([lora], str(tmp_path), 1, [GPU])
    assert said.startswith("estimate") and "15.0 GiB of each GPU" in said
    assert describe_needs([finetune("tiny")], str(tmp_path), 1, []) == ""
    monkeypatch.setattr(resources, "free_disk", lambda folder: 10**9)
    with pytest.raises(ValueError, match="pass another RUNS"):
        describe_needs([finetune()], str(tmp_path), 1, [GPU] * 4)


def test_parameters_of_a_folder(tmp_path):
    (tmp_path / "config.json").write_text('{"dtype": "bfloat16"}')
    (tmp_path / "model.safetensors").write_bytes(b"0" * 2000)
    assert count_parameters(str(tmp_path)) == 1000
    assert count_parameters("some/hub-id") == 0


def test_every_model_of_a_hub_has_a_size():
    assert {name for name, spec in MODELS.items() if spec.hub} == resources.BILLIONS.keys()


def test_gpus_that_a_program_would_see(monkeypatch):
    listed = "0, GPU-a, 81559\n1, GPU-b, 40000\n"
    answer = subprocess.CompletedProcess([], 0, stdout=listed)
    monkeypatch.setattr(resources.subprocess, "run", lambda *_, **__: answer)
    small = 40000 * 2**20
    assert [gpu.name for gpu in find_gpus({})] == ["0", "1"]
    assert find_gpus({"CUDA_VISIBLE_DEVICES": "1"}) == [Gpu("1", small)]
    assert find_gpus({"CUDA_VISIBLE_DEVICES": "GPU-b"}) == [Gpu("GPU-b", small)]
    assert find_gpus({"CUDA_VISIBLE_DEVICES": ""}) == []

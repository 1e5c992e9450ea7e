"""Checkpoints of sharded runs: a shard that is missing or truncated."""

import os
from types import SimpleNamespace

import pytest
from accelerate.utils import DistributedType

from unlearn.config.files import write_json
from unlearn.config.run_directory import Run
from unlearn.training.checkpoints import load_checkpoint, measure_shards

SHARD = "shards/pytorch_model_fsdp_0/__1_0.distcp"
DAMAGES = {
    "missing": lambda checkpoint: (checkpoint / SHARD).unlink(),
    "truncated": lambda checkpoint: os.truncate(checkpoint / SHARD, 3),
    "no shards": lambda checkpoint: (checkpoint / "shards").rename(checkpoint / "elsewhere"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_shard_counts_as_no_checkpoint(damage, tmp_path, capsys):
    """A line says so, before any weight is read; a whole checkpoint is loaded."""
    run = Run(tmp_path)
    (run.checkpoint / SHARD).parent.mkdir(parents=True)
    (run.checkpoint / SHARD).write_bytes(b"weights")
    write_json(run.checkpoint / "state.json", {"step": 4, "shards": measure_shards(run.checkpoint)})
    loaded = []
    accelerator = SimpleNamespace(
        distributed_type=DistributedType.FSDP, is_main_process=True, load_state=loaded.append
    )
    assert load_checkpoint(run, {}, None, accelerator) == {"step": 4}
    assert loaded == [run.checkpoint / "shards"]
    DAMAGES[damage](run.checkpoint)
    assert load_checkpoint(run, {}, None, accelerator) == {}
    assert f"{SHARD} is missing or truncated" in capsys.readouterr().out
    assert len(loaded) == 1

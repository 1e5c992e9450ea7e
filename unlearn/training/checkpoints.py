"""The state of an unfinished run: weights, AdamW moments, step, and what the losses remember.
Restored, the run goes on exactly.

Where every process holds the whole model, the state is one safetensors file and one JSON file.
Where the model is sharded (FSDP, DeepSpeed ZeRO-3), accelerate writes each process's share in its
own format."""

import shutil
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file
from torch import Tensor

from unlearn.config.files import read_json, replace_directory, require_disk, write_json
from unlearn.config.run_directory import Run


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether each process holds a part of the trained model only."""
    return accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)


def save_checkpoint(
    run: Run, trained: dict[str, Tensor], optimizer, accelerator: Accelerator, state: dict
) -> None:
    """Save weights, moments and `state` (JSON: the step and more) as the run's checkpoint; every
    process calls it."""
    if is_sharded(accelerator):
        save_sharded_checkpoint(run, accelerator, state)
        return
    if not accelerator.is_main_process:
        return
    tensors = {f"weight.{name}": p.detach().contiguous() for name, p in trained.items()}
    for name, p in trained.items():
        for kind, value in optimizer.state.get(p, {}).items():
            tensors[f"{kind}.{name}"] = value.contiguous()
    require_disk(run.path, sum(t.numel() * t.element_size() for t in tensors.values()))

    def write(directory: Path) -> None:
        save_file(tensors, directory / "state.safetensors")
        write_json(directory / "state.json", state)

    replace_directory(run.checkpoint, write)


def save_sharded_checkpoint(run: Run, accelerator: Accelerator, state: dict) -> None:
    """The same where each process writes its shard. state.json is written last, so a folder without
    it does not count."""
    if accelerator.is_main_process:
        shutil.rmtree(run.checkpoint, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(run.checkpoint / "shards")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_json(run.checkpoint / "state.json", state)


def load_checkpoint(
    run: Run, trained: dict[str, Tensor], optimizer, accelerator: Accelerator
) -> dict:
    """Load the checkpoint, if there is one, into weights and optimiser; return its state, {}
    without one.

    Raises `ValueError` for a checkpoint of the other kind (sharded or not), and for one of other
    weights."""
    if not (run.checkpoint / "state.json").exists():
        return {}
    state = read_json(run.checkpoint / "state.json")
    whole = run.checkpoint / "state.safetensors"
    if is_sharded(accelerator) == whole.exists():
        how = "without" if whole.exists() else "with"
        raise ValueError(
            f"{run.checkpoint} was written {how} sharding; go on that way, or pass --overwrite"
        )
    if is_sharded(accelerator):
        accelerator.load_state(run.checkpoint / "shards")
        return state
    tensors = load_file(whole)
    stored = {name for name in tensors if name.startswith("weight.")}
    if {f"weight.{name}" for name in trained} != stored:
        raise ValueError(
            f"{run.checkpoint} holds other weights than this run trains; pass --overwrite to start "
            "it anew"
        )
    restore_tensors(trained, optimizer, tensors)
    return state


@torch.no_grad()
def restore_tensors(trained: dict[str, Tensor], optimizer, tensors: dict[str, Tensor]) -> None:
    """Put stored weights and AdamW moments back."""
    for name, p in trained.items():
        p.copy_(tensors[f"weight.{name}"])
        moments = {
            kind: tensors[f"{kind}.{name}"]
            for kind in ("step", "exp_avg", "exp_avg_sq")
            if f"{kind}.{name}" in tensors
        }
        if moments:
            optimizer.state[p] = {
                kind: value.to(p.device, copy=True) if value.ndim else value
                for kind, value in moments.items()
            }


def save_model(accelerator: Accelerator, stepper, save, directory: Path) -> None:
    """Call save(directory) on the main process; where the model is sharded, save(directory, whole
    state dict). Every process calls this."""
    state_dict = {}
    if is_sharded(accelerator):
        # All processes take part, the main one holds the result.
        gathered = accelerator.get_state_dict(stepper)
        state_dict = {
            name.removeprefix("module."): value
            for name, value in gathered.items()
            if name.startswith("module.")
        }
    if accelerator.is_main_process:
        save(directory, **({"state_dict": state_dict} if state_dict else {}))
    accelerator.wait_for_everyone()

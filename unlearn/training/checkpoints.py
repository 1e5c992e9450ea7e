"""The state of an unfinished run: weights, AdamW moments, step, and what the losses remember.
Restored, the run goes on exactly.

Where every process holds the whole model, the state is one safetensors file and one JSON file.
Where the model is sharded (FSDP, DeepSpeed ZeRO-3), accelerate writes each process's share in its
own format."""

from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unlearn.config.files import (
    move_into_place,
    read_json,
    recover_directory,
    replace_directory,
    require_disk,
    temporary_path,
    write_json,
)
from unlearn.config.run_directory import Run
from unlearn.processes import gather


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
    temporary = gather([temporary_path(run.checkpoint)])[0]  # the main process's name for it
    if accelerator.is_main_process:
        recover_directory(run.checkpoint)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(temporary / "shards")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_json(temporary / "state.json", state | {"shards": measure_shards(temporary)})
        move_into_place(temporary, run.checkpoint)
    accelerator.wait_for_everyone()


def load_checkpoint(
    run: Run, trained: dict[str, Tensor], optimizer, accelerator: Accelerator
) -> dict:
    """Load the checkpoint, if there is one, into weights and optimiser; return its state, {}
    without one.

    One whose files are missing or truncated counts as none; a line says so. Raises `ValueError` for
    a checkpoint of the other kind (sharded or not), and for one of other weights."""
    if not (run.checkpoint / "state.json").exists():
        return {}
    try:
        state = read_json(run.checkpoint / "state.json")
        tensors = read_weights(run.checkpoint, state.pop("shards", {}))
    except (ValueError, OSError, SafetensorError) as error:
        if accelerator.is_main_process:
            reason = str(error).splitlines()[0]
            print(
                f"{run.checkpoint} is damaged and counts as none, training starts at step 0: "
                f"{reason}",
                flush=True,
            )
        return {}
    if is_sharded(accelerator) != (tensors is None):
        how = "with" if tensors is None else "without"
        raise ValueError(
            f"{run.checkpoint} was written {how} sharding; go on that way, or pass --overwrite"
        )
    if tensors is None:
        accelerator.load_state(run.checkpoint / "shards")
        return state
    stored = {name for name in tensors if name.startswith("weight.")}
    if {f"weight.{name}" for name in trained} != stored:
        raise ValueError(
            f"{run.checkpoint} holds other weights than this run trains; pass --overwrite to start "
            "it anew"
        )
    restore_tensors(trained, optimizer, tensors)
    return state


def measure_shards(checkpoint: Path) -> dict[str, int]:
    """Relative path -> bytes of every file of a sharded checkpoint."""
    files = (path for path in (checkpoint / "shards").rglob("*") if path.is_file())
    return {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files}


def read_weights(checkpoint: Path, shards: dict[str, int]) -> dict[str, Tensor] | None:
    """The tensors of a checkpoint, or None where each process has to read its shard.

    shards: what `measure_shards` said when it was written. Raises `ValueError` on every process
    where a shard that the main process sees is missing or truncated."""
    if (checkpoint / "shards").is_dir() or shards:
        there = measure_shards(checkpoint)
        damaged = [name for name, size in shards.items() if there.get(name) != size]
        damaged = gather([damaged])[0]
        if damaged:
            raise ValueError(f"{damaged[0]} is missing or truncated")
        return None
    return load_file(checkpoint / "state.safetensors")


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
    state dict). Every process calls this.

    Raises `ValueError` where the disk cannot take it."""
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
        whole = sum(t.numel() * t.element_size() for t in state_dict.values())
        module = accelerator.unwrap_model(stepper).module
        require_disk(directory, whole or count_saved_bytes(module))
        save(directory, **({"state_dict": state_dict} if state_dict else {}))
    accelerator.wait_for_everyone()


def count_saved_bytes(module: nn.Module) -> int:
    """The size of what a run saves in the end: the whole model where it trains itself, else the
    trained weights (an adapter, a LoRA)."""
    whole = hasattr(module, "save_pretrained") and not hasattr(module, "peft_config")
    return sum(
        p.numel() * p.element_size() for p in module.parameters() if whole or p.requires_grad
    )

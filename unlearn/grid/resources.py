"""Estimates of the disk and memory that a grid needs, from parameters and bytes; the GPUs here.

Per parameter: 4 bytes of a saved model in float32, 12 of a checkpoint (weight and two moments), 16
of full fine-tuning in memory (and the gradient), 2 of a frozen model in bfloat16. Activations,
caches and the data come on top.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unlearn.config.files import format_bytes, read_json
from unlearn.grid.commands import Command

# billions of parameters by short name; those made here are too small to matter
BILLIONS = {
    "llama3.1-8b": 8.03,
    "llama3.2-1b": 1.24,
    "llama2-7b": 6.74,
    "mistral-7b": 7.24,
    "zephyr-7b": 7.24,
    "qwen2.5-0.5b": 0.49,
    "qwen2.5-1.5b": 1.54,
    "qwen2.5-7b": 7.62,
    "gemma2-2b": 2.61,
    "gemma2-9b": 9.24,
    "phi-1.5": 1.42,
    "phi-3.5-mini": 3.82,
}
SAVED, CHECKPOINT, TRAINED, FROZEN = 4, 12, 16, 2  # bytes a parameter
GIB = 2**30
WORTH_SAYING = GIB  # smaller needs are not printed


@dataclass(frozen=True)
class Gpu:
    """One GPU: its name for CUDA_VISIBLE_DEVICES, and its memory in bytes."""

    name: str
    memory: int


def find_gpus(environment: Mapping[str, str]) -> list[Gpu]:
    """The GPUs that programs started now would see."""
    fields = "--query-gpu=index,uuid,memory.total"
    command = ["nvidia-smi", fields, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    found = {}
    for line in done.stdout.splitlines():
        index, uuid, memory = (word.strip() for word in line.split(","))
        found[index] = found[uuid] = int(memory) * 2**20 if memory.isdecimal() else 0
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    names = [name for name in found if name.isdecimal()] if visible is None else visible.split(",")
    memory = max(found.values(), default=0)
    return [Gpu(name.strip(), found.get(name.strip(), memory)) for name in names if name.strip()]


def count_parameters(model: str) -> float:
    """The parameters of a model; 0 where nothing here says how many, and for small ones made here.

    Of a folder, from the size of its weights."""
    if model in BILLIONS:
        return BILLIONS[model] * 1e9
    folder = Path(model) / "model" if (Path(model) / "model").is_dir() else Path(model)
    n_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        return 0
    dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
    return n_bytes / (2 if dtype in ("bfloat16", "float16") else 4)


def trains_all_weights(command: Command) -> bool:
    """Whether a command moves the whole model."""
    if command.module == "baselines.train":
        return command.value("--tuner") != "lora"
    return command.module in ("unlearn.training.finetune", "baselines.sequential")


def memory_needed(command: Command) -> float:
    """Bytes on each device of one command."""
    parameters = count_parameters(command.model)
    if not trains_all_weights(command):
        return FROZEN * parameters
    if not command.accelerate or command.processes == 1:
        return TRAINED * parameters
    # each process loads the whole model in float32, then keeps its share
    share = 1 / command.processes
    return parameters * max(SAVED * (1 + share), TRAINED * share)


def disk_needed(commands: Sequence[Command], at_once: int) -> float:
    """Bytes that the runs of these commands take, with the checkpoints of those that train."""
    sizes = [count_parameters(command.model) for command in commands if trains_all_weights(command)]
    checkpoints = sorted((CHECKPOINT * size for size in sizes), reverse=True)[:at_once]
    return sum(SAVED * size for size in sizes) + sum(checkpoints)


def describe_needs(commands: Sequence[Command], runs: str, at_once: int, gpus: list[Gpu]) -> str:
    """A sentence about disk and memory; "" where they are not worth saying.

    Raises `ValueError` where they cannot be had: the disk is too small, or a model would be trained
    whole on a device that cannot hold it."""
    disk = disk_needed(commands, at_once)
    free = free_disk(runs)
    if disk > free:
        raise ValueError(
            f"these runs need about {format_bytes(disk)} of disk (an estimate) and {runs} has "
            f"{format_bytes(free)} free; free some, or pass another RUNS"
        )
    for command in commands:
        check_memory(command, gpus)
    memories = sorted((memory_needed(command) for command in commands), reverse=True)
    # a CPU's memory is shared by the commands that run at once
    memory = sum(memories[: 1 if gpus else at_once])
    if max(disk, memory) < WORTH_SAYING:
        return ""
    device = "of each GPU" if gpus else "of memory"
    return (
        f"estimate, from parameters: {format_bytes(disk)} of disk ({format_bytes(free)} free) and "
        f"at most {format_bytes(memory)} {device}, besides activations"
    )


def check_memory(command: Command, gpus: list[Gpu]) -> None:
    """Raise `ValueError` where a whole model would be trained on a device that cannot hold it."""
    if not trains_all_weights(command) or command.accelerate.endswith("zero3.yaml"):
        return
    memory = memory_needed(command)
    size = max(gpu.memory for gpu in gpus) if gpus else count_memory()
    if not size or memory * (1 if gpus else command.processes) <= size:
        return
    device = "GPU" if gpus else "machine"
    raise ValueError(
        f"{command.label}: training all weights needs about {format_bytes(memory)} (an estimate, "
        f"from parameters) and the largest {device} here has {format_bytes(size)}; share the model "
        "out: NPROC=4 ACCELERATE=baselines/accelerate/fsdp.yaml in front of the script, for example"
    )


def count_memory() -> int:
    """Bytes of this machine's memory; 0 where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0


def free_disk(folder: str) -> int:
    """Bytes free where `folder` lies or would lie."""
    path = Path(folder).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free

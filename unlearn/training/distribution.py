"""One batch over micro-batches and processes, with the gradient and the loss of the whole."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from unlearn.training.checkpoints import is_sharded


def build_accelerator(module: nn.Module, mixed_precision: str, max_grad_norm: float) -> Accelerator:
    """The accelerate object of this run; its launcher says how many processes there are, and
    whether they share the model out (FSDP, DeepSpeed).

    Raises `ValueError` where an adapter alone would be shared out."""
    on_cpu = next(module.parameters()).device.type == "cpu"
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=mixed_precision)
    if is_sharded(accelerator) and not hasattr(module, "save_pretrained"):
        raise ValueError(
            "FSDP and DeepSpeed share out whole models, and this run trains an adapter alone: "
            "start it without them"
        )
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        # It has no data loader to read these from.
        config = accelerator.state.deepspeed_plugin.deepspeed_config
        config |= {"train_micro_batch_size_per_gpu": 1, "gradient_clipping": max_grad_norm}
    return accelerator


def micro_batches(whole: list, rank: int, world: int, size: int) -> list[tuple[list, bool]]:
    """This process's share of a batch in chunks of `size` (0: one chunk), as many on every process:
    sharded models run in step.

    A chunk that is marked False has no items of its own; it stands in for one and must not
    count."""
    most = -(-len(whole) // world)
    share = whole[rank::world]
    size = size or most
    chunks = [share[i : i + size] for i in range(0, most, size)]
    return [(chunk or whole[:1], bool(chunk)) for chunk in chunks]


def accumulate(
    accelerator: Accelerator, stepper, whole: list, step: int | None, micro_batch: int
) -> dict[str, float]:
    """Forward and, unless `step` is None, backward over this process's share of a batch; return the
    loss parts of the whole batch.

    The wrapper averages gradients over processes, so each share is scaled by their number: the
    result is the whole batch's gradient."""
    world = accelerator.num_processes
    chunks = micro_batches(whole, accelerator.process_index, world, micro_batch)
    total: dict[str, Tensor] = {}
    for number, (chunk, counts) in enumerate(chunks, 1):
        is_last = number == len(chunks)
        with nullcontext() if is_last or step is None else accelerator.no_sync(stepper):
            parts = stepper(chunk, whole, step)
            if step is not None:
                # DeepSpeed steps within the backward of the last chunk.
                accelerator.sync_gradients = is_last
                accelerator.backward(parts["loss"] * (world if counts else 0))
        for name, value in parts.items():
            total[name] = total.get(name, 0.0) + value.detach().float() * counts
    return {name: float(accelerator.reduce(value, "sum")) for name, value in total.items()}


@contextmanager
def seeded(accelerator: Accelerator, seed: int, step: int) -> Iterator[None]:
    """Within it, torch's own generators follow from (seed, step, process); afterwards they are as
    before.

    Some models have dropout of their own, which a resumed run must draw as an uninterrupted one."""
    device = accelerator.device
    devices = [] if device.type in ("cpu", "mps") else [device]
    with torch.random.fork_rng(devices, device_type=device.type):
        torch.manual_seed(hash((seed, step, accelerator.process_index)))
        yield

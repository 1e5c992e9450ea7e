"""The training loop: one for fine-tuning, baselines, GRUN and RMU, on one process or many (accelerate).

Whatever a step needs follows from (seed, step), so a run that was killed and resumed takes the same steps as one that was not, and a
batch split over micro-batches or processes gives the same gradient as the whole one.
"""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm
from transformers import get_scheduler

from unlearn.runs import Run, read_json, replace_directory, require_disk, write_json

PROGRESS_SECONDS = 1 if sys.stderr.isatty() else 20  # a log file is no terminal: a line now and then will do


@dataclass
class Plan:
    """How to step. lr decays linearly to 0 (or stays, or follows a cosine) after `warmup` steps; max_grad_norm 0 means unclipped;
    micro_batch 0 means the whole batch at once; checkpoint_every counts steps."""

    steps: int
    lr: float
    weight_decay: float = 0.0
    eps: float = 1e-8
    warmup: int = 0
    schedule: str = "linear"
    max_grad_norm: float = 1.0
    micro_batch: int = 0
    checkpoint_every: int = 100
    save_steps: Sequence[int] = ()
    seed: int = 0
    mixed_precision: str = "no"


class Step(nn.Module):
    """What runs under the distributed wrapper: the losses of some items of a batch, with the trained module inside."""

    def __init__(self, module: nn.Module, losses: Callable[[list, list, int], dict[str, Tensor]]):
        super().__init__()
        self.module, self.losses = module, losses

    def forward(self, part: list, whole: list, step: int) -> dict[str, Tensor]:
        return self.losses(part, whole, step)


def train(module: nn.Module, losses, items: Callable[[int], list], plan: Plan, run: Run, save: Callable[[Path], None]) -> dict:
    """Train the parameters of `module` that require gradients; return steps, seconds and final loss parts.

    items(step) -> the whole batch, the same on every process; losses(part, whole, step) -> loss parts, additive over parts of the
    batch, with their total under "loss"; save(directory) is called at `plan.save_steps`.
    Raises `ValueError` on a loss or gradient that is not finite; the state before that step is kept as the checkpoint."""
    accelerator = Accelerator(cpu=next(module.parameters()).device.type == "cpu", mixed_precision=plan.mixed_precision)
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=plan.lr, weight_decay=plan.weight_decay, eps=plan.eps)
    rate = get_scheduler(plan.schedule, optimizer, plan.warmup, plan.steps).lr_lambdas[0] if plan.schedule != "constant" else lambda _: 1.0
    stepper, optimizer = accelerator.prepare(Step(module, losses), optimizer)
    start, seconds = restore(run, trained, optimizer)
    if start:
        print(f"resumes at step {start}: {run.path}", flush=True)
    run.rewind_log(start)
    rank, world = accelerator.process_index, accelerator.num_processes
    began, record = time.perf_counter() - seconds, {}
    bar = tqdm(range(start, plan.steps), initial=start, total=plan.steps, desc=run.path.name, mininterval=PROGRESS_SECONDS, disable=not accelerator.is_main_process)
    for step in bar:
        torch.manual_seed(hash((plan.seed, step, rank)))  # dropout masks follow from (seed, step), so a resumed run draws the same
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * rate(step)
        parts = accumulate(accelerator, stepper, items(step), step, plan.micro_batch, rank, world)
        norm = accelerator.clip_grad_norm_(trained.values(), plan.max_grad_norm or float("inf"))
        record = {"step": step} | parts | {"lr": plan.lr * rate(step), "grad_norm": float(norm)}
        if not all(torch.isfinite(torch.tensor(value)) for value in record.values()):
            keep(run, trained, optimizer, step, time.perf_counter() - began, accelerator)
            raise ValueError(f"not finite at step {step}: {words(record)}; the state before it is kept in {run.checkpoint}; try a lower --lr")
        optimizer.step()
        optimizer.zero_grad()
        if accelerator.is_main_process:
            run.log(record)
            bar.set_postfix_str(words(parts), refresh=False)
        if step + 1 in plan.save_steps and accelerator.is_main_process:
            save(run.path / f"step-{step + 1}")
        if (step + 1) % plan.checkpoint_every == 0 and step + 1 < plan.steps:
            keep(run, trained, optimizer, step + 1, time.perf_counter() - began, accelerator)
    return {"steps": plan.steps, "train_seconds": round(time.perf_counter() - began, 2), "processes": world, "final": record}


def accumulate(accelerator, stepper, whole: list, step: int, micro_batch: int, rank: int, world: int) -> dict[str, float]:
    """Backward over this process's share of the batch, micro-batch by micro-batch; return the loss parts of the whole batch.

    The wrapper averages gradients over processes, so each share is scaled by their number: the result is the whole batch's gradient."""
    share = whole[rank::world]
    scale = world if share else 0  # a process without an example of a short last batch still has to take part
    share = share or whole[:1]
    size = micro_batch or len(share)
    total: dict[str, Tensor] = {}
    chunks = [share[i : i + size] for i in range(0, len(share), size)]
    for number, chunk in enumerate(chunks):
        with accelerator.no_sync(stepper) if number + 1 < len(chunks) else nullcontext():
            parts = stepper(chunk, whole, step)
            accelerator.backward(parts["loss"] * scale)
        for name, value in parts.items():
            total[name] = total.get(name, 0.0) + value.detach().float() * bool(scale)
    return {name: float(accelerator.reduce(value, "sum")) for name, value in total.items()}


def keep(run: Run, trained: dict[str, Tensor], optimizer, step: int, seconds: float, accelerator) -> None:
    """Save weights, AdamW moments and the step, as safetensors and JSON, so that `restore` goes on from here exactly."""
    if not accelerator.is_main_process:
        return
    tensors = {f"weight.{name}": p.detach().contiguous() for name, p in trained.items()}
    for name, p in trained.items():
        tensors |= {f"{kind}.{name}": value.contiguous() for kind, value in optimizer.state.get(p, {}).items()}
    require_disk(run.path, sum(t.numel() * t.element_size() for t in tensors.values()))

    def write(directory: Path):
        save_file(tensors, directory / "state.safetensors")
        write_json(directory / "state.json", {"step": step, "seconds": seconds})

    replace_directory(run.checkpoint, write)


def restore(run: Run, trained: dict[str, Tensor], optimizer) -> tuple[int, float]:
    """Load the checkpoint, if there is one, into weights and optimiser; return the step to go on with and the seconds spent."""
    if not (run.checkpoint / "state.json").exists():
        return 0, 0.0
    state = read_json(run.checkpoint / "state.json")
    tensors = load_file(run.checkpoint / "state.safetensors")
    with torch.no_grad():
        for name, p in trained.items():
            p.copy_(tensors[f"weight.{name}"])
            moments = {kind: tensors[f"{kind}.{name}"] for kind in ("step", "exp_avg", "exp_avg_sq") if f"{kind}.{name}" in tensors}
            if moments:
                optimizer.state[p] = {kind: value.to(p.device) if value.ndim else value for kind, value in moments.items()}
    return state["step"], state["seconds"]


def words(parts: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in parts.items())

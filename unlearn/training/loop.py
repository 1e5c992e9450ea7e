"""The training loop: one for fine-tuning, baselines, GRUN and RMU, on one process or many
(accelerate).

Whatever a step needs follows from (seed, step), so a run that was killed and resumed takes the same
steps as one that was not, and a batch split over micro-batches or processes gives the same gradient
as the whole one."""

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn
from tqdm import tqdm
from transformers import get_scheduler

from unlearn.config.run_directory import Run
from unlearn.training.checkpoints import is_sharded, load_checkpoint, save_checkpoint, save_model

PROGRESS_SECONDS = (
    1 if sys.stderr.isatty() else 20
)  # a log file is no terminal: a line now and then will do


@dataclass
class TrainConfig:
    """How to step. lr decays linearly to 0 (or stays, or follows a cosine) after `warmup` steps;
    max_grad_norm 0 means unclipped; micro_batch 0 means the whole batch at once; checkpoint_every
    counts steps; stop(records of all steps so far) ends training early."""

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
    stop: Callable[[list[dict]], bool] | None = None


@dataclass
class TrainEval:
    """Losses on a fixed slice of the training data, every `every` steps, before the first step and
    after the last.

    losses(part, whole) -> loss parts, additive like those of a step. rank(values, first): the
    higher, the better are `values`, given those before the first step; with `keep_best` the weights
    of the best check are the ones that are saved in the end."""

    items: list
    losses: Callable[[list, list], dict[str, Tensor]]
    every: int
    rank: Callable[[dict, dict], tuple]
    keep_best: bool = False


class Step(nn.Module):
    """What runs under the distributed wrapper: the losses of some items of a batch, with the
    trained module inside."""

    def __init__(
        self,
        module: nn.Module,
        losses: Callable[[list, list, int], dict[str, Tensor]],
        check: TrainEval | None,
    ):
        super().__init__()
        self.module = module
        self.losses = losses
        self.check = check
        self._no_split_modules = getattr(module, "_no_split_modules", None)  # where FSDP cuts

    def forward(self, part: list, whole: list, step: int | None) -> dict[str, Tensor]:
        return self.check.losses(part, whole) if step is None else self.losses(part, whole, step)


def train(
    module: nn.Module,
    losses,
    items: Callable[[int], list],
    plan: TrainConfig,
    run: Run,
    save,
    check: TrainEval | None = None,
) -> dict:
    """Train the parameters of `module` that require gradients, and save them; return steps, seconds
    and final loss parts.

    items(step) -> the whole batch, the same on every process. losses(part, whole, step) -> loss
    parts, additive over parts of the batch, with their total under "loss"; an object may also have
    `state`, a dict of numbers that belongs to the checkpoint, and after_step(step, parts), called
    once per optimiser step with the parts of the whole batch. save(directory) is called on the main
    process, at `plan.save_steps` and in the end; where the model is sharded, with the whole
    `state_dict` besides. Raises `ValueError` on a loss or gradient that is not finite; the state
    before that step is kept as the checkpoint."""
    accelerator = accelerator_of(module, plan)
    optimizer = torch.optim.AdamW(
        [p for p in module.parameters() if p.requires_grad],
        lr=plan.lr,
        weight_decay=plan.weight_decay,
        eps=plan.eps,
    )
    rate = (
        get_scheduler(plan.schedule, optimizer, plan.warmup, plan.steps).lr_lambdas[0]
        if plan.schedule != "constant"
        else lambda _: 1.0
    )
    stepper, optimizer = accelerator.prepare(Step(module, losses, check), optimizer)
    trained = {
        name: p
        for name, p in accelerator.unwrap_model(stepper).module.named_parameters()
        if p.requires_grad
    }
    memory = getattr(losses, "state", {})
    after_step = getattr(losses, "after_step", lambda step, parts: None)
    kept = load_checkpoint(run, trained, optimizer, accelerator)
    start = kept.get("step", 0)
    checks = kept.get("checks", {})
    memory.update(kept.get("losses", {}))
    if start and accelerator.is_main_process:
        print(f"resumes at step {start}: {run.path}", flush=True)
    run.rewind_log(start)
    records = [
        record for record in run.logged() if "check" not in record and record["step"] < start
    ]
    began = time.perf_counter() - kept.get("seconds", 0.0)
    record = {}
    taken = plan.steps

    def keep_at(step: int) -> None:
        save_checkpoint(
            run,
            trained,
            optimizer,
            accelerator,
            {
                "step": step,
                "seconds": time.perf_counter() - began,
                "losses": memory,
                "checks": checks,
            },
        )

    silent = not accelerator.is_main_process
    bar = tqdm(
        range(start, plan.steps),
        initial=start,
        total=plan.steps,
        desc=run.path.name,
        mininterval=PROGRESS_SECONDS,
        disable=silent,
    )
    for step in bar:
        if check and step % check.every == 0:
            look(accelerator, stepper, check, plan, run, step, checks, save)
        torch.manual_seed(
            hash((plan.seed, step, accelerator.process_index))
        )  # dropout follows from (seed, step): a resumed run draws the same
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * rate(step)
        parts = accumulate(accelerator, stepper, items(step), step, plan.micro_batch)
        norm = accelerator.clip_grad_norm_(trained.values(), plan.max_grad_norm or float("inf"))
        record = {"step": step} | parts | {"lr": plan.lr * rate(step), "grad_norm": float(norm)}
        if not all(torch.isfinite(torch.tensor(value)) for value in record.values()):
            keep_at(step)
            raise ValueError(
                f"not finite at step {step}: {words(record)}; the state before it is kept in {run.checkpoint}; try a lower --lr"
            )
        optimizer.step()
        optimizer.zero_grad()
        after_step(step, parts)
        run.log(record)
        records.append(record)
        bar.set_postfix_str(words(parts), refresh=False)
        if step + 1 in plan.save_steps:
            save_model(accelerator, stepper, save, run.path / f"step-{step + 1}")
        if (step + 1) % plan.checkpoint_every == 0 and step + 1 < plan.steps:
            keep_at(step + 1)
        if plan.stop and plan.stop(records):
            taken = step + 1
            break
    if check:
        look(accelerator, stepper, check, plan, run, taken, checks, save)
    if check and check.keep_best:
        take_best(accelerator, run)
    else:
        save_model(accelerator, stepper, save, run.path)
    result = {
        "steps": taken,
        "planned_steps": plan.steps,
        "train_seconds": round(time.perf_counter() - began, 2),
    }
    result |= {
        "processes": accelerator.num_processes,
        "distribution": accelerator.distributed_type.value,
        "final": record,
    }
    return result | ({"checks": checks} if check else {})


def accelerator_of(module: nn.Module, plan: TrainConfig) -> Accelerator:
    """The engine that distributes; accelerate's launcher says which (one process, several, FSDP,
    DeepSpeed)."""
    accelerator = Accelerator(
        cpu=next(module.parameters()).device.type == "cpu", mixed_precision=plan.mixed_precision
    )
    if is_sharded(accelerator) and not hasattr(module, "save_pretrained"):
        raise ValueError(
            "FSDP and DeepSpeed share out whole models, and this run trains an adapter alone: start it without them"
        )
    if (
        accelerator.distributed_type == DistributedType.DEEPSPEED
    ):  # it has no data loader to read these from
        config = accelerator.state.deepspeed_plugin.deepspeed_config
        config |= {"train_micro_batch_size_per_gpu": 1, "gradient_clipping": plan.max_grad_norm}
    return accelerator


def micro_batches(whole: list, rank: int, world: int, size: int) -> list[tuple[list, bool]]:
    """This process's share of a batch in chunks of `size` (0: one), as many on every process:
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
        last = number == len(chunks)
        with nullcontext() if last or step is None else accelerator.no_sync(stepper):
            parts = stepper(chunk, whole, step)
            if step is not None:
                accelerator.sync_gradients = (
                    last  # DeepSpeed steps within the backward of the last chunk
                )
                accelerator.backward(parts["loss"] * (world if counts else 0))
        for name, value in parts.items():
            total[name] = total.get(name, 0.0) + value.detach().float() * counts
    return {name: float(accelerator.reduce(value, "sum")) for name, value in total.items()}


@torch.no_grad()
def look(
    accelerator: Accelerator,
    stepper,
    check: TrainEval,
    plan: TrainConfig,
    run: Run,
    step: int,
    checks: dict,
    save,
) -> None:
    """Take the check after `step` steps, on all processes together; log it, and save the weights as
    best/ if it is the best so far.

    checks: {"first", "best"}, each {"step"} and the values."""
    training = stepper.training
    stepper.eval()
    found = {"step": step} | accumulate(accelerator, stepper, check.items, None, plan.micro_batch)
    stepper.train(training)
    run.log({"step": step, "check": found})
    first = checks.setdefault("first", found)
    if "best" not in checks or check.rank(found, first) > check.rank(checks["best"], first):
        checks["best"] = found
        if check.keep_best:
            save_model(accelerator, stepper, save, run.path / "best")


def take_best(accelerator: Accelerator, run: Run) -> None:
    """Make what was saved at the best check the run's own."""
    if accelerator.is_main_process:
        for found in (run.path / "best").iterdir():
            shutil.rmtree(run.path / found.name, ignore_errors=True)
            found.rename(run.path / found.name)
        (run.path / "best").rmdir()
    accelerator.wait_for_everyone()


def words(parts: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in parts.items())

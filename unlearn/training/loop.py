"""The training loop: one for fine-tuning, baselines, GRUN and RMU, on one process or many.

What a step needs follows from (seed, step), so a run that was killed and resumed takes the same
steps as one that was not, and a batch split over micro-batches or processes gives the same gradient
as the whole one.
"""

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm
from transformers import get_scheduler

from unlearn.config.files import require_disk
from unlearn.config.run_directory import Run
from unlearn.training.checkpoints import (
    count_saved_bytes,
    load_checkpoint,
    save_checkpoint,
    save_model,
)
from unlearn.training.distribution import accumulate, build_accelerator, seeded
from unlearn.training.epsilon import constant_eps
from unlearn.training.protocols import Loss

# Seconds between progress lines; in a log file one now and then will do.
PROGRESS_SECONDS = 1 if sys.stderr.isatty() else 20


@dataclass
class TrainConfig:
    """How to step.

    eps               step -> AdamW's eps (unlearn/training/epsilon.py)
    schedule          of the learning rate after `warmup` steps: linear to 0, cosine or constant
    max_grad_norm     0 means unclipped
    micro_batch       0 means the whole batch at once
    checkpoint_every  steps
    stop              stop(records of all steps so far) ends training early
    """

    steps: int
    lr: float
    weight_decay: float = 0.0
    eps: Callable[[int], float] = constant_eps(1e-8)
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
    of the best evaluation are the ones that are saved in the end."""

    items: list
    losses: Callable[[list, list], dict[str, Tensor]]
    every: int
    rank: Callable[[dict, dict], tuple]
    keep_best: bool = False


class Step(nn.Module):
    """What runs under the distributed wrapper: the losses of some items of a batch, with the
    trained module inside."""

    def __init__(self, module: nn.Module, loss: Loss, evaluation: TrainEval | None):
        super().__init__()
        self.module = module
        self.loss = loss
        self.evaluation = evaluation
        self._no_split_modules = getattr(module, "_no_split_modules", None)  # where FSDP cuts

    def forward(self, part: list, whole: list, step: int | None) -> dict[str, Tensor]:
        """The loss parts of a step, or of the evaluation where `step` is None."""
        if step is None:
            return self.evaluation.losses(part, whole)
        return self.loss(part, whole, step)


def train(
    module: nn.Module,
    loss: Loss,
    items: Callable[[int], list],
    config: TrainConfig,
    run: Run,
    save: Callable[..., None],
    evaluation: TrainEval | None = None,
) -> dict:
    """Train the parameters of `module` that require gradients, and save them; return steps, seconds
    and final loss parts.

    items(step) -> the whole batch, the same on every process. save(directory) is called on the main
    process, at `config.save_steps` and in the end; where the model is sharded, with the whole
    `state_dict` besides. Raises `ValueError` on a loss or gradient that is not finite; the state
    before that step is kept as the checkpoint."""
    return Training(module, loss, items, config, run, save, evaluation).run_to_end()


@dataclass
class Progress:
    """What a checkpoint holds besides weights and moments: steps taken, seconds spent, the state of
    the loss, and the first and the best evaluation, each {"step"} and the values."""

    step: int = 0
    seconds: float = 0.0
    losses: dict = field(default_factory=dict)
    checks: dict = field(default_factory=dict)


class Training:
    """One run of the loop; `train` says what the arguments are."""

    def __init__(self, module, loss, items, config, run, save, evaluation):
        self.items = items
        self.config = config
        self.run = run
        self.save = save
        self.evaluation = evaluation
        require_disk(run.path, count_saved_bytes(module))
        self.accelerator: Accelerator = build_accelerator(
            module, config.mixed_precision, config.max_grad_norm
        )
        optimizer = torch.optim.AdamW(
            [p for p in module.parameters() if p.requires_grad],
            lr=config.lr,
            weight_decay=config.weight_decay,
        )
        self.rate = build_schedule(optimizer, config)
        self.stepper, self.optimizer = self.accelerator.prepare(
            Step(module, loss, evaluation), optimizer
        )
        unwrapped = self.accelerator.unwrap_model(self.stepper).module
        self.trained = {n: p for n, p in unwrapped.named_parameters() if p.requires_grad}
        self.loss_state = getattr(loss, "state", {})
        self.after_step = getattr(loss, "after_step", lambda step, parts: None)
        stored = load_checkpoint(run, self.trained, self.optimizer, self.accelerator)
        self.progress = Progress(**stored)
        self.loss_state.update(self.progress.losses)
        self.started = time.perf_counter() - self.progress.seconds

    def run_to_end(self) -> dict:
        """Take all steps from where the checkpoint ends; return the result."""
        start = self.progress.step
        if start and self.accelerator.is_main_process:
            print(f"resumes at step {start}: {self.run.path}", flush=True)
        self.run.rewind_log(start)
        records = [r for r in self.run.logged() if "check" not in r and r["step"] < start]
        record: dict = {}
        taken = self.config.steps
        for step in self.bar(start):
            record = self.take_step(step)
            records.append(record)
            if self.config.stop and self.config.stop(records):
                taken = step + 1
                break
        if self.evaluation:
            self.evaluate(taken)
        if self.evaluation and self.evaluation.keep_best:
            self.take_best()
        else:
            save_model(self.accelerator, self.stepper, self.save, self.run.path)
        result = {
            "steps": taken,
            "planned_steps": self.config.steps,
            "train_seconds": round(time.perf_counter() - self.started, 2),
            "processes": self.accelerator.num_processes,
            "distribution": self.accelerator.distributed_type.value,
            "final": record,
        }
        return result | ({"checks": self.progress.checks} if self.evaluation else {})

    def bar(self, start: int) -> tqdm:
        """The progress line over the steps that are left."""
        self.progress_bar = tqdm(
            range(start, self.config.steps),
            initial=start,
            total=self.config.steps,
            desc=self.run.path.name,
            mininterval=PROGRESS_SECONDS,
            disable=not self.accelerator.is_main_process,
        )
        return self.progress_bar

    def take_step(self, step: int) -> dict:
        """Take one step, log it and save what is due after it; return its log record."""
        config = self.config
        if self.evaluation and step % self.evaluation.every == 0:
            self.evaluate(step)
        lr = config.lr * self.rate(step)
        for parameters in self.optimizer.param_groups:
            parameters |= {"lr": lr, "eps": config.eps(step)}
        with seeded(self.accelerator, config.seed, step):
            parts = accumulate(
                self.accelerator, self.stepper, self.items(step), step, config.micro_batch
            )
        norm = self.accelerator.clip_grad_norm_(
            self.trained.values(), config.max_grad_norm or float("inf")
        )
        record = {"step": step} | parts | {"lr": lr, "grad_norm": float(norm)}
        self.require_finite(record)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.after_step(step, parts)
        self.run.log(record)
        self.progress_bar.set_postfix_str(format_parts(parts), refresh=False)
        if step + 1 in config.save_steps:
            folder = self.run.path / f"step-{step + 1}"
            save_model(self.accelerator, self.stepper, self.save, folder)
        if (step + 1) % config.checkpoint_every == 0 and step + 1 < config.steps:
            self.save_progress(step + 1)
        return record

    def require_finite(self, record: dict) -> None:
        """Raise `ValueError`, with the state before this step as the checkpoint, for a number that
        is not finite."""
        if all(torch.isfinite(torch.tensor(value)) for value in record.values()):
            return
        self.save_progress(record["step"])
        raise ValueError(
            f"not finite at step {record['step']}: {format_parts(record)}; the state before it is "
            f"kept in {self.run.checkpoint}; try a lower --lr"
        )

    def save_progress(self, step: int) -> None:
        """Write the checkpoint of a run that has taken `step` steps."""
        state = {
            "step": step,
            "seconds": time.perf_counter() - self.started,
            "losses": self.loss_state,
            "checks": self.progress.checks,
        }
        save_checkpoint(self.run, self.trained, self.optimizer, self.accelerator, state)

    @torch.no_grad()
    def evaluate(self, step: int) -> None:
        """Evaluate after `step` steps, on all processes together; log it, and save the weights as
        best/ if it is the best evaluation so far."""
        was_training = self.stepper.training
        self.stepper.eval()
        values = accumulate(
            self.accelerator,
            self.stepper,
            self.evaluation.items,
            None,
            self.config.micro_batch,
        )
        self.stepper.train(was_training)
        values = {"step": step} | values
        self.run.log({"step": step, "check": values})
        checks = self.progress.checks
        first = checks.setdefault("first", values)
        rank = self.evaluation.rank
        if "best" not in checks or rank(values, first) > rank(checks["best"], first):
            checks["best"] = values
            if self.evaluation.keep_best:
                save_model(self.accelerator, self.stepper, self.save, self.run.path / "best")

    def take_best(self) -> None:
        """Make what was saved at the best evaluation the run's own."""
        best: Path = self.run.path / "best"
        # A process that was killed after this has moved it already.
        if self.accelerator.is_main_process and best.is_dir():
            for saved in best.iterdir():
                shutil.rmtree(self.run.path / saved.name, ignore_errors=True)
                saved.rename(self.run.path / saved.name)
            best.rmdir()
        self.accelerator.wait_for_everyone()


def build_schedule(optimizer, config: TrainConfig) -> Callable[[int], float]:
    """step -> factor on the learning rate."""
    if config.schedule == "constant":
        return lambda step: 1.0
    scheduler = get_scheduler(config.schedule, optimizer, config.warmup, config.steps)
    return scheduler.lr_lambdas[0]


def format_parts(parts: dict[str, float]) -> str:
    """The loss parts for the progress line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in parts.items())

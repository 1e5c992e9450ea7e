"""How GRUN's cost grows with the forget set, the retain set, stacked adapters and processes.

    OMP_NUM_THREADS=1 python -m speed.scaling
    python -m speed.scaling --parts requests processes

forget, retain     a cached run of --epochs epochs, cache build included, on sets of growing size
forget_exponent    slope of log seconds over log size; 1 where cost is proportional
retain_ratio       seconds with the largest retain set over those with the smallest, at equal draws
requests           one prefill with K active adapters; request_ms is the slope over K
processes          train_seconds of the same grun.train command on n processes
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.inference.hooks import AdapterHooks
from speed.options import FIRST_TOKEN, ShapeOptions, parse_options
from speed.report import format_table, report
from speed.steppers import Stepper
from speed.timing import medians, time_call, time_interleaved
from speed.workload import build_model, build_sampler, load_data, save_base
from unlearn.config.files import read_json
from unlearn.config.flags import flag, run_command

RUN_COLUMNS = ["forget", "retain", "distinct retain", "seconds", "cache MiB"]
LAUNCH_FLAGS = "--multi_gpu --num_machines 1 --mixed_precision no --dynamo_backend no"
PREFILL_TOKENS = 64


@dataclass
class ScalingOptions(ShapeOptions):
    """The model, what varies, and how far."""

    parts: list[str] = flag(["forget", "retain", "requests", "processes"], "what to vary")
    forget_sizes: list[int] = flag([50, 100, 200, 400], "forget examples")
    retain_sizes: list[int] = flag([500, 1000, 2000, 3800], "retain examples")
    requests: list[int] = flag([0, 1, 2, 4, 8], "active adapters")
    processes: list[int] = flag([1, 2], "processes that train")
    epochs: int = flag(2, "epochs of a run")
    steps: int = flag(60, "steps of the command that is run on several processes")
    rounds: int = flag(5, "rounds of prefills")

    def __post_init__(self):
        super().__post_init__()
        if not set(self.parts) <= PARTS.keys():
            raise ValueError(f"--parts {' '.join(self.parts)}: choose from {', '.join(PARTS)}")


def run_once(options: ScalingOptions, model: nn.Module, forget: int, retain: int) -> list:
    """One row of RUN_COLUMNS: a run from an empty cache."""
    data = load_data(replace(options, forget=forget, retain=retain))
    sampler = build_sampler(options, data.forget, data.retain)
    stepper = Stepper(options, "gd", model, data.prompt_encoder)
    batches = [sampler.items(step) for step in range(options.epochs * sampler.steps_per_epoch)]

    def take_steps() -> None:
        for step, items in enumerate(batches):
            stepper.step(items, step)

    seconds = time_call(take_steps, options.torch_device)
    distinct = {item.retain.index for items in batches for item in items}
    return [forget, retain, len(distinct), seconds, stepper.engine.cache.used_bytes / 2**20]


def warm_up(options: ScalingOptions, model: nn.Module) -> None:
    """A run of one batch whose time is not counted."""
    run_once(options, model, options.batch, options.batch)


def vary_forget_set(options: ScalingOptions, model: nn.Module) -> tuple[dict, str]:
    """(figures, table) of runs on forget sets of growing size."""
    warm_up(options, model)
    retain = max(options.retain_sizes)
    rows = [run_once(options, model, size, retain) for size in options.forget_sizes]
    log_sizes, log_seconds = np.log([[row[0], row[3]] for row in rows]).T
    exponent = float(np.polyfit(log_sizes, log_seconds, 1)[0])
    return {"forget_exponent": exponent}, format_table(RUN_COLUMNS, rows)


def vary_retain_set(options: ScalingOptions, model: nn.Module) -> tuple[dict, str]:
    """(figures, table) of runs on retain sets of growing size."""
    warm_up(options, model)
    forget = min(options.forget_sizes)
    rows = [run_once(options, model, forget, size) for size in options.retain_sizes]
    return {"retain_ratio": rows[-1][3] / rows[0][3]}, format_table(RUN_COLUMNS, rows)


def vary_adapters(options: ScalingOptions, model: nn.Module) -> tuple[dict, str]:
    """(figures, table): seconds of one prefill of --batch prompts with K active adapters."""
    config = AdapterConfig(options.layers, options.rank, options.gate)
    seeds = range(max(options.requests))
    adapters = [Adapter(model, config, seed, frozen=True) for seed in seeds]
    generator = torch.Generator().manual_seed(options.seed)
    shape = (options.batch, PREFILL_TOKENS)
    ids = torch.randint(FIRST_TOKEN, options.vocabulary, shape, generator=generator)
    ids = ids.to(options.torch_device)
    with AdapterHooks(model, adapters) as adapter_hooks, torch.no_grad():

        def build_prefill(count: int) -> Callable[[int], None]:
            def prefill(_: int) -> None:
                with adapter_hooks.only(adapter_hooks.names[:count]):
                    model(ids, use_cache=False, logits_to_keep=1)

            return prefill

        prefills = {count: build_prefill(count) for count in options.requests}
        time_interleaved(prefills, 1, options.torch_device)  # warms up
        seconds = medians(time_interleaved(prefills, options.rounds, options.torch_device))
    slope = float(np.polyfit(list(seconds), list(seconds.values()), 1)[0])
    first = seconds[options.requests[0]]
    rows = [list(row) for row in seconds.items()]
    figures = {"request_ms": 1e3 * slope, "prefill_ms": 1e3 * first}
    return figures, format_table(["requests", "prefill seconds"], rows)


def vary_processes(options: ScalingOptions, model: nn.Module) -> tuple[dict, str]:
    """(figures, table) of `grun.train --objective gd` on the authors with n processes.

    It trains on a random base of this shape's depth and width, not on `model`.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        base = save_base(options, Path(folder))
        command = ["-m", "grun.train", "--objective", "gd", "--target", str(base)]
        command += ["--layers", *map(str, options.layers), "--device", options.device]
        command += ["--steps", str(options.steps), "--batch", str(options.batch)]
        for count in options.processes:
            launch = ["-m", "accelerate.commands.launch", *LAUNCH_FLAGS.split()]
            launch += ["--main_process_port", "0", "--num_processes", str(count)]
            words = [*(launch if count > 1 else []), *command, "--runs", f"{folder}/{count}"]
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            (path,) = Path(folder, str(count)).rglob("*-grun*/result.json")
            result = read_json(path)
            rows.append([count, result["train_seconds"], result["final"]["loss"]])
    figures = {f"train_seconds_{count}": seconds for count, seconds, _ in rows}
    return figures, format_table(["processes", "train seconds", "final loss"], rows)


# the word of --parts -> (heading, how it is measured)
PARTS = {
    "forget": ("Forget set", vary_forget_set),
    "retain": ("Retain set", vary_retain_set),
    "requests": ("Requests at work", vary_adapters),
    "processes": ("Processes", vary_processes),
}


def main(argv: list[str] | None) -> None:
    options = parse_options(ScalingOptions, argv, __doc__)
    model = build_model(options)
    figures = {}
    tables = {}
    for name, (heading, measure) in PARTS.items():
        if name in options.parts:
            part_figures, tables[heading] = measure(options, model)
            figures |= part_figures
    report("scaling", options, figures, tables)


if __name__ == "__main__":
    run_command(main)

"""How the cost of GRUN grows: with the forget set, the retain set, the requests at work, the
processes that train.

    OMP_NUM_THREADS=1 python -m speed.scaling
    python -m speed.scaling --parts requests processes

forget, retain: a cached run of --epochs epochs, cache build included, on sets of growing size.
forget_exponent: slope of log seconds over log size, 1 where cost is proportional. retain_ratio:
seconds with the largest retain set over those with the smallest, at equal draws. requests: one
prefill with K adapters at work; request_ms: slope over K. processes: train_seconds of the same
grun.train command on n processes."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.inference.hooks import AdapterHooks
from speed.report import interleaved, medians, report, seconds_of, table
from speed.workload import ShapeFlags, Stepper, build_sampler, data_of, model_of, save_base
from unlearn.config.flags import flag, parse, run_command
from unlearn.config.run_directory import read_json

PARTS = ("forget", "retain", "requests", "processes")
LAUNCH = [
    "-m",
    "accelerate.commands.launch",
    "--multi_gpu",
    "--num_machines",
    "1",
    "--mixed_precision",
    "no",
    "--dynamo_backend",
    "no",
]


@dataclass
class ScalingFlags(ShapeFlags):
    """What this benchmark can be told."""

    parts: list[str] = flag(list(PARTS), "what to vary")
    forget_sizes: list[int] = flag([50, 100, 200, 400], "forget examples")
    retain_sizes: list[int] = flag([500, 1000, 2000, 3800], "retain examples")
    requests: list[int] = flag([0, 1, 2, 4, 8], "adapters at work")
    processes: list[int] = flag([1, 2], "processes that train")
    epochs: int = flag(2, "epochs of a run")
    steps: int = flag(60, "steps of the command that is run on several processes")
    rounds: int = flag(5, "rounds of prefills")

    def __post_init__(self):
        super().__post_init__()
        if not set(self.parts) <= set(PARTS):
            raise ValueError(f"--parts {' '.join(self.parts)}: choose from {', '.join(PARTS)}")


def run_of(args: ScalingFlags, model, forget: int, retain: int) -> list:
    """forget, retain, distinct retain examples drawn, seconds and cache size of one run from an
    empty cache."""
    sets = data_of(replace(args, forget=forget, retain=retain))
    pairs = build_sampler(args, *sets[:2])
    stepper = Stepper(args, "gd", model, sets[2])
    batches = [pairs.items(step) for step in range(args.epochs * pairs.steps_per_epoch)]
    seconds = seconds_of(
        lambda: [stepper.step(items, step) for step, items in enumerate(batches)], args.where
    )
    return [
        forget,
        retain,
        len({item.retain.index for items in batches for item in items}),
        seconds,
        stepper.engine.cache.used_bytes / 2**20,
    ]


def prefills(args: ScalingFlags, model) -> list[list]:
    """requests, median seconds of one prefill of --batch prompts with so many adapters at work."""
    adapters = [
        Adapter(model, AdapterConfig(args.layers, args.rank, args.gate), seed, frozen=True)
        for seed in range(max(args.requests))
    ]
    ids = torch.randint(
        3, args.vocabulary, (args.batch, 64), generator=torch.Generator().manual_seed(args.seed)
    ).to(args.where)
    with AdapterHooks(model, adapters) as adapter_hooks, torch.no_grad():

        def prefill(count: int):
            def work(_):
                with adapter_hooks.only(adapter_hooks.names[:count]):
                    model(ids, use_cache=False, logits_to_keep=1)

            return work

        work = {count: prefill(count) for count in args.requests}
        interleaved(work, 1, args.where)  # warms up
        return [
            [count, seconds]
            for count, seconds in medians(interleaved(work, args.rounds, args.where)).items()
        ]


def trainings(args: ScalingFlags) -> list[list]:
    """processes, train_seconds and final loss of `grun.train --objective gd` on the authors, a
    random base of this shape's depth and width."""
    rows = []
    with tempfile.TemporaryDirectory() as room:
        base = save_base(args, Path(room))
        for count in args.processes:
            start = (
                [*LAUNCH, "--main_process_port", "0", "--num_processes", str(count)]
                if count > 1
                else []
            )
            command = [
                "-m",
                "grun.train",
                "--objective",
                "gd",
                "--target",
                str(base),
                "--runs",
                f"{room}/{count}",
                "--steps",
                str(args.steps),
            ]
            layers = [
                "--layers",
                *map(str, args.layers),
                "--batch",
                str(args.batch),
                "--device",
                args.device,
            ]
            subprocess.run(
                [sys.executable, *start, *command, *layers], check=True, capture_output=True
            )
            (done,) = Path(room, str(count)).rglob("result.json")
            rows.append([count, read_json(done)["train_seconds"], read_json(done)["final"]["loss"]])
    return rows


def main(argv: list[str] | None) -> None:
    args, _, _ = parse(ScalingFlags, argv, lambda _: {}, __doc__)
    figures = {}
    tables = {}
    model = model_of(args)
    columns = ["forget", "retain", "distinct retain", "seconds", "cache MiB"]
    if {"forget", "retain"} & set(args.parts):
        run_of(args, model, args.batch, args.batch)  # warms up
    if "forget" in args.parts:
        rows = [run_of(args, model, size, max(args.retain_sizes)) for size in args.forget_sizes]
        tables["Forget set"] = table(columns, rows)
        logs = np.log([[row[0], row[3]] for row in rows])
        figures["forget_exponent"] = float(np.polyfit(*logs.T, 1)[0])
    if "retain" in args.parts:
        rows = [run_of(args, model, min(args.forget_sizes), size) for size in args.retain_sizes]
        tables["Retain set"] = table(columns, rows)
        figures["retain_ratio"] = rows[-1][3] / rows[0][3]
    if "requests" in args.parts:
        rows = prefills(args, model)
        tables["Requests at work"] = table(["requests", "prefill seconds"], rows)
        figures |= {
            "request_ms": 1e3 * float(np.polyfit(*np.array(rows).T, 1)[0]),
            "prefill_ms": 1e3 * rows[0][1],
        }
    if "processes" in args.parts:
        rows = trainings(args)
        tables["Processes"] = table(["processes", "train seconds", "final loss"], rows)
        figures |= {f"train_seconds_{count}": seconds for count, seconds, _ in rows}
    report("scaling", args, args.where, figures, tables)


if __name__ == "__main__":
    run_command(main)

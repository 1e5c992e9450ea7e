"""A whole forget05-shaped GRUN run on both engines: 200 forget and 3800 retain examples, 40 epochs
= 520 steps, cache build included.

    OMP_NUM_THREADS=2 python -m speed.forget_run                      the cached run whole; 40 steps
                                                                      of pyvene's spread over it
    OMP_NUM_THREADS=2 python -m speed.forget_run --pyvene_steps 520   both whole
    python -m speed.forget_run --steps 60 --pyvene_steps 60           the first 60 steps of each

The cached run takes every step, from an empty cache: whatever it builds, it builds within them. The
pyvene run takes its steps in between, on the same batches; where they are fewer, its whole time is
their mean times the number of steps, and the result says "extrapolated". ratio_gd and ratio_npo:
whole time of pyvene's path over that of the cached engine."""

import statistics
from dataclasses import dataclass

from tqdm import tqdm

from speed.report import report, seconds_of, table
from speed.workload import ShapeFlags, Stepper, build_sampler, data_of, model_of, upstream
from unlearn.config.flags import flag, parse, run_command
from unlearn.training.loop import PROGRESS_SECONDS


@dataclass
class RunFlags(ShapeFlags):
    """What this benchmark can be told."""

    objectives: list[str] = flag(["gd", "npo"], "objectives to run")
    steps: int | None = flag(None, "steps of the run (default: 40 epochs)")
    pyvene_steps: int = flag(
        40, "steps that pyvene's path takes, spread evenly over the run; 0: none"
    )

    def __post_init__(self):
        super().__post_init__()
        if not set(self.objectives) <= {"gd", "npo", "idk"}:
            raise ValueError(f"--objectives {' '.join(self.objectives)}: choose from gd npo idk")


def run(args: RunFlags, objective: str, model, prompt_encoder, pairs) -> tuple[dict, dict]:
    """Figures and all timings of one objective's two runs."""
    steps = args.steps or 40 * pairs.steps_per_epoch
    cached = Stepper(args, objective, model, prompt_encoder)
    original = upstream(args, objective, model, prompt_encoder)
    taken = (
        sorted(
            {
                i * steps // min(args.pyvene_steps, steps)
                for i in range(min(args.pyvene_steps, steps))
            }
        )
        if args.pyvene_steps
        else []
    )
    seconds = {"cached": [], "pyvene": []}
    retain = set()
    for number in tqdm(
        range(steps),
        desc=f"{objective}, {len(taken)} steps by pyvene",
        mininterval=PROGRESS_SECONDS,
        disable=None,
    ):
        items = pairs.items(number)
        retain |= {item.retain.index for item in items}
        seconds["cached"].append(
            seconds_of(lambda items=items, number=number: cached.step(items, number), args.where)
        )
        if number in taken:
            seconds["pyvene"].append(
                seconds_of(
                    lambda items=items, number=number: original.step(items, number), args.where
                )
            )
    whole = sum(seconds["cached"])
    slow = statistics.fmean(seconds["pyvene"]) * steps if taken else None
    late = seconds["cached"][-max(1, steps // 10) :]
    figures = {
        "ratio": slow and slow / whole,
        "cached_seconds": whole,
        "pyvene_seconds": slow,
        "extrapolated": 0 < len(taken) < steps,
        "pyvene_steps": len(taken),
        "steps": steps,
        "distinct_retain": len(retain),
        "retain_draws": sum(len(pairs.items(number)) for number in range(steps)),
        "built": cached.engine.cache.computed,
        "bytes_per_example": cached.bytes_per_example(),
        "cache_mib": cached.engine.cache.used_bytes / 2**20,
        "first_steps_median_seconds": statistics.median(seconds["cached"][: len(late)]),
        "last_steps_median_seconds": statistics.median(late),
    }
    return figures, seconds


def main(argv: list[str] | None) -> None:
    args, _, _ = parse(RunFlags, argv, lambda _: {}, __doc__)
    forget, retain, prompt_encoder = data_of(args)
    model = model_of(args)
    pairs = build_sampler(args, forget, retain)
    found = {}
    seconds = {}
    for objective in args.objectives:
        found[objective], seconds[objective] = run(args, objective, model, prompt_encoder, pairs)
    flat = {
        f"{key}_{objective}": value
        for objective, values in found.items()
        for key, value in values.items()
    }
    columns = ["objective", *next(iter(found.values()))]
    body = table(columns, [[objective, *values.values()] for objective, values in found.items()])
    report("forget_run", args, args.where, flat, {"Whole run": body}, {"seconds": seconds})


if __name__ == "__main__":
    run_command(main)

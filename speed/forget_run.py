"""A whole GRUN run of TOFU forget05's size on both engines, cache build included.

    OMP_NUM_THREADS=2 python -m speed.forget_run                      the cached run whole, 40 steps
                                                                      of pyvene's spread over it
    OMP_NUM_THREADS=2 python -m speed.forget_run --pyvene_steps 520   both whole
    python -m speed.forget_run --steps 60 --pyvene_steps 60           the first 60 steps of each

The run has 200 forget and 3800 retain examples and 40 epochs, 520 steps. The cached engine takes
every step, from an empty cache, so its time includes what it builds. pyvene's path takes its steps
in between, on the same batches. Where those are fewer, its whole time is their mean times the
number of steps, and the result says "extrapolated". ratio_gd and ratio_npo: whole time of pyvene's
path over that of the cached engine.
"""

import statistics
from dataclasses import dataclass

from tqdm import tqdm

from speed.options import ShapeOptions, parse_options
from speed.report import format_table, report
from speed.steppers import Stepper, build_upstream_stepper
from speed.timing import time_call
from speed.workload import build_model, build_sampler, load_data
from unlearn.config.flags import flag, run_command
from unlearn.training.loop import PROGRESS_SECONDS
from unlearn.training.sampler import ForgetRetainSampler

OBJECTIVES = ("gd", "npo", "idk")


@dataclass
class ForgetRunOptions(ShapeOptions):
    """The model, the data, and the steps of each path."""

    objectives: list[str] = flag(["gd", "npo"], f"objectives to run, of {', '.join(OBJECTIVES)}")
    steps: int | None = flag(None, "steps of the run (default: 40 epochs)")
    pyvene_steps: int = flag(
        40, "steps that pyvene's path takes, spread evenly over the run; 0: none"
    )

    def __post_init__(self):
        super().__post_init__()
        if not set(self.objectives) <= set(OBJECTIVES):
            raise ValueError(
                f"--objectives {' '.join(self.objectives)}: choose from {' '.join(OBJECTIVES)}"
            )


def spread_steps(count: int, steps: int) -> set[int]:
    """`count` of `steps` step numbers, evenly spread; all of them where there are no more."""
    count = min(count, steps)
    return {i * steps // count for i in range(count)}


def run_both(
    options: ForgetRunOptions, objective: str, model, prompt_encoder, sampler: ForgetRetainSampler
) -> tuple[dict, dict]:
    """(figures, seconds of every step) of one objective's two runs."""
    steps = options.steps or 40 * sampler.steps_per_epoch
    cached = Stepper(options, objective, model, prompt_encoder)
    pyvene = build_upstream_stepper(options, objective, model, prompt_encoder)
    pyvene_steps = spread_steps(options.pyvene_steps, steps)
    seconds = {"cached": [], "pyvene": []}
    retain = set()
    progress = tqdm(
        range(steps),
        desc=f"{objective}, {len(pyvene_steps)} steps by pyvene",
        mininterval=PROGRESS_SECONDS,
        disable=None,
    )
    for number in progress:
        items = sampler.items(number)
        retain |= {item.retain.index for item in items}

        def take_step(stepper: Stepper, items=items, number=number) -> float:
            return time_call(lambda: stepper.step(items, number), options.torch_device)

        seconds["cached"].append(take_step(cached))
        if number in pyvene_steps:
            seconds["pyvene"].append(take_step(pyvene))
    cached_seconds = sum(seconds["cached"])
    pyvene_seconds = statistics.fmean(seconds["pyvene"]) * steps if pyvene_steps else None
    tenth = max(1, steps // 10)
    figures = {
        "ratio": pyvene_seconds and pyvene_seconds / cached_seconds,
        "cached_seconds": cached_seconds,
        "pyvene_seconds": pyvene_seconds,
        "extrapolated": 0 < len(pyvene_steps) < steps,
        "pyvene_steps": len(pyvene_steps),
        "steps": steps,
        "distinct_retain": len(retain),
        "retain_draws": sum(len(sampler.items(number)) for number in range(steps)),
        "built": cached.engine.cache.computed,
        "bytes_per_example": cached.bytes_per_example(),
        "cache_mib": cached.engine.cache.used_bytes / 2**20,
        "first_steps_median_seconds": statistics.median(seconds["cached"][:tenth]),
        "last_steps_median_seconds": statistics.median(seconds["cached"][-tenth:]),
    }
    return figures, seconds


def main(argv: list[str] | None) -> None:
    options = parse_options(ForgetRunOptions, argv, __doc__)
    forget, retain, prompt_encoder = load_data(options)
    model = build_model(options)
    sampler = build_sampler(options, forget, retain)
    figures = {}
    seconds = {}
    for objective in options.objectives:
        figures[objective], seconds[objective] = run_both(
            options, objective, model, prompt_encoder, sampler
        )
    columns = ["objective", *next(iter(figures.values()))]
    rows = [[objective, *values.values()] for objective, values in figures.items()]
    flat = {
        f"{key}_{objective}": value
        for objective, values in figures.items()
        for key, value in values.items()
    }
    tables = {"Whole run": format_table(columns, rows)}
    report("forget_run", options, flat, tables, {"seconds": seconds})


if __name__ == "__main__":
    run_command(main)

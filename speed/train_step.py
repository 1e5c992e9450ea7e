"""One GRUN training step on both engines, and stock pyreft's where it is installed.

    OMP_NUM_THREADS=2 python -m speed.train_step
    python -m speed.train_step --data_dir TOFU --rounds 9

ratio_gd, ratio_npo         seconds of the original's path over those of the cached engine. The
                            original runs pyvene, with forget and retain in padded passes of their
                            own and NPO's reference as a pass of the base model in every step. The
                            cache is filled, as after an example's first use.
ratio_npo_reference_kept    the original's path with the reference computed once

Times are medians over rounds that take each path in turn, on the same batches and from the same
adapter.
"""

import statistics
from dataclasses import dataclass

from torch import nn

from grun.engines.pyvene import PyveneEngine
from speed.options import ShapeOptions, parse_options
from speed.report import format_table, report
from speed.steppers import Stepper, build_upstream_stepper
from speed.stock_pyreft import PyreftStepper, find_pyreft
from speed.timing import medians, time_call, time_interleaved
from speed.workload import build_model, build_sampler, load_data
from unlearn.config.flags import flag, run_command
from unlearn.language_model.prompts import Encoded
from unlearn.training.sampler import UnlearningExample

OBJECTIVES = ("gd", "npo")
REFERENCE_KEPT = "pyvene npo, reference kept"
# the path that each one is compared with
FAST_PATH = {
    "pyvene gd": "cached gd",
    "pyvene npo": "cached npo",
    REFERENCE_KEPT: "cached npo",
    "pyreft": "cached gd",
}


@dataclass
class StepOptions(ShapeOptions):
    """The model, the data, and the number of rounds."""

    rounds: int = flag(7, "rounds, each taking every path once")


def build_paths(options: StepOptions, model: nn.Module, prompt_encoder) -> dict:
    """{name: stepper} of every path; pyreft's only where it is installed."""
    setting = (model, prompt_encoder)
    paths = {f"cached {name}": Stepper(options, name, *setting) for name in OBJECTIVES}
    for name in OBJECTIVES:
        paths[f"pyvene {name}"] = build_upstream_stepper(options, name, *setting)
    paths[REFERENCE_KEPT] = Stepper(options, "npo", *setting, PyveneEngine)
    if find_pyreft():
        paths["pyreft"] = PyreftStepper(options, *setting)
    else:
        print(
            "pyreft is not installed, so its column is a dash; "
            "speed/stock_pyreft.py says how to install it",
            flush=True,
        )
    return paths


def encode_batches(batches: list[list[UnlearningExample]], prompt_encoder) -> list[Encoded]:
    """All examples of all batches, as tokens."""
    return [
        prompt_encoder.encode(e.question, e.answer)
        for items in batches
        for item in items
        for e in (item.forget, item.retain)
    ]


def fill_caches(paths: dict, encoded: list[Encoded], batches: list, options: StepOptions) -> float:
    """Fill the prefix caches, and the NPO references that are computed once.

    Returns the mean seconds of filling one prefix cache.
    """
    seconds = []
    for name in OBJECTIVES:
        engine = paths[f"cached {name}"].engine
        fill = time_call(lambda e=engine: e.cache.get(encoded), options.torch_device)
        seconds.append(fill)
    for name in ("cached npo", REFERENCE_KEPT):
        loss = paths[name].loss
        for items in batches:
            loss.reference_nll(loss.batch(loss.encode(items, ["forget"])["forget"]))
    return statistics.fmean(seconds)


def largest_difference(ours: list[float], others: list[float]) -> float:
    """The largest relative difference of two lists of losses."""
    return max(abs(a - b) / abs(b) for a, b in zip(ours, others, strict=True))


def main(argv: list[str] | None) -> None:
    options = parse_options(StepOptions, argv, __doc__)
    forget, retain, prompt_encoder = load_data(options)
    model = build_model(options)
    sampler = build_sampler(options, forget, retain)
    batches = [sampler.items(step) for step in range(options.rounds)]
    paths = build_paths(options, model, prompt_encoder)
    encoded = encode_batches(batches, prompt_encoder)
    fill_seconds = fill_caches(paths, encoded, batches, options)
    losses = {name: [] for name in paths}

    def take_step(name: str):
        return lambda number: losses[name].append(paths[name].step(batches[number], number))

    steps = {name: take_step(name) for name in paths}
    seconds = time_interleaved(steps, options.rounds, options.torch_device)
    median = medians(seconds)
    ratios = {
        slow: median[slow] / median[fast] if slow in median else None
        for slow, fast in FAST_PATH.items()
    }
    figures = {
        "ratio_gd": ratios["pyvene gd"],
        "ratio_npo": ratios["pyvene npo"],
        "ratio_npo_reference_kept": ratios[REFERENCE_KEPT],
        "ratio_pyreft": ratios["pyreft"],
        "pyreft": find_pyreft(),
        "cached_gd_seconds": median["cached gd"],
        "cached_npo_seconds": median["cached npo"],
        "pyvene_gd_seconds": median["pyvene gd"],
        "pyvene_npo_seconds": median["pyvene npo"],
        "rounds": options.rounds,
        "build_seconds_per_example": fill_seconds / len({tuple(e.ids) for e in encoded}),
        "cache_bytes_per_example": paths["cached gd"].bytes_per_example(),
        "mean_prompt_tokens": statistics.fmean(e.prompt_length for e in encoded),
        "mean_answer_tokens": statistics.fmean(len(e.ids) - e.prompt_length for e in encoded),
        "loss_difference_gd": largest_difference(losses["cached gd"], losses["pyvene gd"]),
        "loss_difference_npo": largest_difference(losses["cached npo"], losses["pyvene npo"]),
    }
    rows = [
        [name, median[name], min(seconds[name]), max(seconds[name]), ratios.get(name)]
        for name in paths
    ]
    if "pyreft" not in paths:
        rows.append(["pyreft", None, None, None, None])
    table = format_table(["path", "median", "least", "most", "over cached"], rows)
    report("train_step", options, figures, {"Seconds a step": table}, {"seconds": seconds})


if __name__ == "__main__":
    run_command(main)

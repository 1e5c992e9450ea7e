"""One GRUN training step on both engines, and stock pyreft's where it is installed.

    OMP_NUM_THREADS=2 python -m speed.train_step
    python -m speed.train_step --data_dir TOFU --rounds 9

ratio_gd, ratio_npo: seconds of the original's path (pyvene, forget and retain in padded passes of
their own, NPO's reference a base pass in every step) over those of the cached engine, its cache
filled, as after an example's first use. ratio_npo_reference_kept: the same path, with the reference
computed once. Medians over rounds that take each path in turn, on the same batches and from the
same adapter."""

import statistics
from dataclasses import dataclass

from grun.engines.pyvene import PyveneEngine
from speed.report import interleaved, medians, report, seconds_of, table
from speed.stock_pyreft import PyreftStepper, installed
from speed.workload import ShapeFlags, Stepper, build_sampler, data_of, model_of, upstream
from unlearn.config.flags import flag, parse, run_command


@dataclass
class StepFlags(ShapeFlags):
    """What this benchmark can be told."""

    rounds: int = flag(7, "rounds, each taking every path once")


def main(argv: list[str] | None) -> None:
    args, _, _ = parse(StepFlags, argv, lambda _: {}, __doc__)
    forget, retain, prompt_encoder = data_of(args)
    model = model_of(args)
    batches = [build_sampler(args, forget, retain).items(step) for step in range(args.rounds)]
    paths = {f"cached {name}": Stepper(args, name, model, prompt_encoder) for name in ("gd", "npo")}
    paths |= {
        f"pyvene {name}": upstream(args, name, model, prompt_encoder) for name in ("gd", "npo")
    }
    paths["pyvene npo, reference kept"] = kept = Stepper(
        args, "npo", model, prompt_encoder, PyveneEngine
    )
    if pyreft := installed():
        paths["pyreft"] = PyreftStepper(args, model, prompt_encoder)
    else:
        print(
            "pyreft is not installed here: its column is a dash (speed/stock_pyreft.py says how to bring it in)",
            flush=True,
        )
    encoded = [
        prompt_encoder.encode(e.question, e.answer)
        for items in batches
        for item in items
        for e in (item.forget, item.retain)
    ]
    build = [
        seconds_of(lambda p=paths[f"cached {name}"]: p.engine.cache.get(encoded), args.where)
        for name in ("gd", "npo")
    ]
    for stepper in (paths["cached npo"], kept):
        for items in batches:
            stepper.losses.reference_nll(
                stepper.losses.batch(
                    [
                        prompt_encoder.encode(item.forget.question, item.forget.answer)
                        for item in items
                    ]
                )
            )
    losses = {name: [] for name in paths}

    def step_of(name):
        return lambda number: losses[name].append(paths[name].step(batches[number], number))

    seconds = interleaved({name: step_of(name) for name in paths}, args.rounds, args.where)
    middle = medians(seconds)
    apart = {}
    for name in ("gd", "npo"):
        apart[name] = max(
            abs(a - b) / abs(b)
            for a, b in zip(losses[f"cached {name}"], losses[f"pyvene {name}"], strict=True)
        )
    against = {
        "pyvene gd": "cached gd",
        "pyvene npo": "cached npo",
        "pyvene npo, reference kept": "cached npo",
        "pyreft": "cached gd",
    }
    ratios = {
        slow: middle[slow] / middle[fast] if slow in middle else None
        for slow, fast in against.items()
    }
    lengths = [
        statistics.fmean(values)
        for values in ([e.prompt for e in encoded], [len(e.ids) - e.prompt for e in encoded])
    ]
    figures = {
        "ratio_gd": ratios["pyvene gd"],
        "ratio_npo": ratios["pyvene npo"],
        "ratio_npo_reference_kept": ratios["pyvene npo, reference kept"],
        "ratio_pyreft": ratios["pyreft"],
        "pyreft": pyreft,
        "cached_gd_seconds": middle["cached gd"],
        "cached_npo_seconds": middle["cached npo"],
        "pyvene_gd_seconds": middle["pyvene gd"],
        "pyvene_npo_seconds": middle["pyvene npo"],
        "rounds": args.rounds,
        "build_seconds_per_example": statistics.fmean(build) / len({tuple(e.ids) for e in encoded}),
        "cache_bytes_per_example": paths["cached gd"].bytes_per_example(),
        "mean_prompt_tokens": lengths[0],
        "mean_answer_tokens": lengths[1],
        "loss_difference_gd": apart["gd"],
        "loss_difference_npo": apart["npo"],
    }
    rows = [
        [name, middle[name], min(seconds[name]), max(seconds[name]), ratios.get(name)]
        for name in paths
    ]
    rows += [] if pyreft else [["pyreft", None, None, None, None]]
    report(
        "train_step",
        args,
        args.where,
        figures,
        {"Seconds a step": table(["path", "median", "least", "most", "over cached"], rows)},
        {"seconds": seconds},
    )


if __name__ == "__main__":
    run_command(main)

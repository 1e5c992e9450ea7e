"""GRUN on the shape of Llama-3.1-8B with random weights, in bfloat16: a training step, a whole
forget05 run, its memory, its share of the ceiling.

    python -m speed.gpu_8b                                                    16 GiB of weights:
                                                                              wants a GPU with 40
                                                                              GiB or more
    python -m speed.gpu_8b --device cpu --hidden 64 --heads 4 --intermediate 128 --vocabulary 512 --steps 4     anywhere

The run is `speed.forget_run`'s: 200 forget and 3800 retain examples of TOFU's lengths, batch 16 +
16, 40 epochs, from an empty cache. FLOPs of a step, counted: 4 per weight and suffix token in the
blocks above the first edit (forward, and backward through the activations; no weight gradients), 4
per weight of the output head and labelled token. ceiling: the rate of one large square matrix
product, measured here in the same dtype."""

import statistics
from dataclasses import dataclass

import torch
from torch import nn

from speed.report import report, seconds_of, table
from speed.workload import ShapeFlags, Stepper, build_sampler, data_of, model_of
from unlearn.config.flags import flag, parse, run_command
from unlearn.language_model.models import decoder_layers, free_memory, resolve_dtype


@dataclass
class BigFlags(ShapeFlags):
    """What this benchmark can be told."""

    dtype: str = flag("bfloat16", "float32, bfloat16, auto")
    hidden: int = flag(4096, "hidden size")
    heads: int = flag(32, "attention heads")
    kv_heads: int = flag(8, "key-value heads")
    intermediate: int | None = flag(14336, "width of the MLP")
    vocabulary: int = flag(128256, "vocabulary entries")
    gate: str = flag("mlp_3", "gate of the edit")
    objectives: list[str] = flag(["gd", "npo"], "objectives to run")
    steps: int | None = flag(None, "steps of the run (default: 40 epochs)")
    square: int = flag(
        8192, "side of the matrices that the ceiling is measured with; 1024 on a CPU is plenty"
    )


def weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def ceiling(side: int, dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of [side, side] @ [side, side], the best of 10."""
    a, b = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    a @ b
    return 2 * side**3 / min(seconds_of(lambda: a @ b, device) for _ in range(10))


def step_flops(model: nn.Module, first: int, items, prompt_encoder) -> float:
    """FLOPs of one step on these items (module docstring)."""
    pairs = [(e.question, e.answer) for item in items for e in (item.forget, item.retain)]
    tokens = sum(len(e.ids) - e.prompt for e in (prompt_encoder.encode(*pair) for pair in pairs))
    return (
        4.0
        * tokens
        * (
            sum(weights(block) for block in decoder_layers(model)[first + 1 :])
            + weights(model.get_output_embeddings())
        )
    )


def run(args: BigFlags, objective: str, model: nn.Module, prompt_encoder, pairs) -> dict:
    """Figures of one objective's whole run."""
    stepper = Stepper(args, objective, model, prompt_encoder)
    memory = torch.get_device_module(args.where)
    device = args.where
    batches = [pairs.items(step) for step in range(args.steps or 40 * pairs.steps_per_epoch)]
    measured = hasattr(memory, "max_memory_allocated")
    if measured:
        memory.reset_peak_memory_stats(device)
    seconds = [
        seconds_of(lambda items=items, step=step: stepper.step(items, step), device)
        for step, items in enumerate(batches)
    ]
    late = batches[-max(1, len(batches) // 10) :]
    step = statistics.median(seconds[-len(late) :])
    flops = statistics.fmean(
        step_flops(model, args.layers[0], items, prompt_encoder) for items in late
    )
    tokens = statistics.fmean(
        sum(
            len(prompt_encoder.encode(e.question, e.answer).ids)
            for item in items
            for e in (item.forget, item.retain)
        )
        for items in late
    )
    return {
        "run_seconds": sum(seconds),
        "steps": len(batches),
        "step_seconds": step,
        "first_step_seconds": seconds[0],
        "tflops": flops / step / 1e12,
        "tokens_per_second": tokens / step,
        "peak_gib": memory.max_memory_allocated(device) / 2**30 if measured else None,
        "cache_gib": stepper.engine.cache.used_bytes / 2**30,
        "bytes_per_example": stepper.bytes_per_example(),
        "built": stepper.engine.cache.computed,
    }


def main(argv: list[str] | None) -> None:
    args, _, _ = parse(BigFlags, argv, lambda _: {}, __doc__)
    dtype = resolve_dtype(args.dtype, args.where)
    width = args.intermediate or args.hidden * 11 // 4
    needed = (
        1.5
        * (
            args.depth * (3 * args.hidden * width + 4 * args.hidden**2)
            + 2 * args.vocabulary * args.hidden
        )
        * dtype.itemsize
    )
    if needed > free_memory(args.where):
        have = f"{free_memory(args.where) / 2**30:.1f} GiB are free on {args.where}"
        raise ValueError(
            f"this shape needs {needed / 2**30:.1f} GiB for its weights and a cache, {have}; pass a smaller --hidden, or another --device"
        )
    forget, retain, prompt_encoder = data_of(args)
    model = model_of(args)
    pairs = build_sampler(args, forget, retain)
    best = ceiling(args.square, dtype, args.where)
    found = {
        objective: run(args, objective, model, prompt_encoder, pairs)
        for objective in args.objectives
    }
    for values in found.values():
        values["share_of_ceiling"] = values["tflops"] * 1e12 / best
    flat = {"ceiling_tflops": best / 1e12, "parameters": weights(model)}
    flat |= {
        f"{key}_{name}": value for name, values in found.items() for key, value in values.items()
    }
    columns = ["objective", *next(iter(found.values()))]
    body = table(columns, [[name, *values.values()] for name, values in found.items()])
    report("gpu_8b", args, args.where, flat, {"Whole run": body})


if __name__ == "__main__":
    run_command(main)

"""GRUN on the shape of Llama-3.1-8B with random weights, in bfloat16.

    python -m speed.gpu_8b                                     a GPU with 40 GiB (16 of weights)
    python -m speed.gpu_8b --device cpu --hidden 64 --heads 4  anywhere
        --intermediate 128 --vocabulary 512 --steps 4

It measures a training step, a whole run, its memory, and its share of the ceiling. The run is that
of `speed.forget_run`: 200 forget and 3800 retain examples of TOFU's lengths, batch 16 + 16, 40
epochs, from an empty cache.

FLOPs of a step are counted: 4 per weight and suffix token in the layers above the first edit
(forward, and backward through the activations; there are no weight gradients), and 4 per weight of
the output head and labelled token. ceiling: the rate of one large square matrix product, measured
on the same device in the same dtype.
"""

import statistics
from dataclasses import dataclass

import torch
from torch import nn

from speed.options import ShapeOptions, parse_options
from speed.report import format_table, report
from speed.steppers import Stepper
from speed.timing import time_call
from speed.workload import build_model, build_sampler, load_data
from unlearn.config.flags import flag, run_command
from unlearn.language_model.architecture import find_decoder_layers
from unlearn.language_model.devices import measure_free_memory, resolve_dtype
from unlearn.language_model.prompts import Encoded
from unlearn.training.sampler import ForgetRetainSampler, UnlearningExample

GIB = 2**30


@dataclass
class Llama8bOptions(ShapeOptions):
    """The shape of Llama-3.1-8B, and the run."""

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


def count_weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def check_memory(options: Llama8bOptions) -> None:
    """Raises `ValueError` where the weights and a cache do not fit in the device's free memory."""
    layer = 3 * options.hidden * options.mlp_width + 4 * options.hidden**2
    weights = options.depth * layer + 2 * options.vocabulary * options.hidden
    dtype = resolve_dtype(options.dtype, options.torch_device)
    needed = 1.5 * weights * dtype.itemsize
    free = measure_free_memory(options.torch_device)
    if needed > free:
        raise ValueError(
            f"this shape needs {needed / GIB:.1f} GiB for its weights and a cache, "
            f"{free / GIB:.1f} GiB are free on {options.torch_device}; "
            "pass a smaller --hidden, or another --device"
        )


def measure_ceiling(options: Llama8bOptions) -> float:
    """FLOP/s of a product of two square matrices of side --square, the best of 10."""
    device = options.torch_device
    dtype = resolve_dtype(options.dtype, device)
    shape = (options.square, options.square)
    a, b = (torch.randn(shape, dtype=dtype, device=device) for _ in range(2))
    a @ b
    return 2 * options.square**3 / min(time_call(lambda: a @ b, device) for _ in range(10))


def encode_items(items: list[UnlearningExample], prompt_encoder) -> list[Encoded]:
    """The forget and retain examples of a step, as tokens."""
    examples = [e for item in items for e in (item.forget, item.retain)]
    return [prompt_encoder.encode(e.question, e.answer) for e in examples]


def count_step_flops(model: nn.Module, first_layer: int, encoded: list[Encoded]) -> float:
    """FLOPs of one step on these examples (module docstring)."""
    suffix_tokens = sum(len(e.ids) - e.prompt_length for e in encoded)
    layers = sum(count_weights(layer) for layer in find_decoder_layers(model)[first_layer + 1 :])
    return 4.0 * suffix_tokens * (layers + count_weights(model.get_output_embeddings()))


def run(
    options: Llama8bOptions,
    objective: str,
    model: nn.Module,
    prompt_encoder,
    sampler: ForgetRetainSampler,
) -> dict:
    """The figures of one objective's whole run."""
    device = options.torch_device
    stepper = Stepper(options, objective, model, prompt_encoder)
    steps = options.steps or 40 * sampler.steps_per_epoch
    batches = [sampler.items(step) for step in range(steps)]
    memory = torch.get_device_module(device)
    has_peak = hasattr(memory, "max_memory_allocated")
    if has_peak:
        memory.reset_peak_memory_stats(device)
    seconds = [
        time_call(lambda items=items, step=step: stepper.step(items, step), device)
        for step, items in enumerate(batches)
    ]
    last_tenth = [encode_items(items, prompt_encoder) for items in batches[-max(1, steps // 10) :]]
    step_seconds = statistics.median(seconds[-len(last_tenth) :])
    flops = statistics.fmean(
        count_step_flops(model, options.layers[0], encoded) for encoded in last_tenth
    )
    tokens = statistics.fmean(sum(len(e.ids) for e in encoded) for encoded in last_tenth)
    return {
        "run_seconds": sum(seconds),
        "steps": steps,
        "step_seconds": step_seconds,
        "first_step_seconds": seconds[0],
        "tflops": flops / step_seconds / 1e12,
        "tokens_per_second": tokens / step_seconds,
        "peak_gib": memory.max_memory_allocated(device) / GIB if has_peak else None,
        "cache_gib": stepper.engine.cache.used_bytes / GIB,
        "bytes_per_example": stepper.bytes_per_example(),
        "built": stepper.engine.cache.computed,
    }


def main(argv: list[str] | None) -> None:
    options = parse_options(Llama8bOptions, argv, __doc__)
    check_memory(options)
    forget, retain, prompt_encoder = load_data(options)
    model = build_model(options)
    sampler = build_sampler(options, forget, retain)
    ceiling = measure_ceiling(options)
    runs = {}
    for objective in options.objectives:
        runs[objective] = run(options, objective, model, prompt_encoder, sampler)
        runs[objective]["share_of_ceiling"] = runs[objective]["tflops"] * 1e12 / ceiling
    figures = {"ceiling_tflops": ceiling / 1e12, "parameters": count_weights(model)}
    figures |= {f"{key}_{name}": value for name, row in runs.items() for key, value in row.items()}
    rows = [[name, *row.values()] for name, row in runs.items()]
    table = format_table(["objective", *next(iter(runs.values()))], rows)
    report("gpu_8b", options, figures, {"Whole run": table})


if __name__ == "__main__":
    run_command(main)

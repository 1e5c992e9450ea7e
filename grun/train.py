"""Train GRUN around one objective.

    python -m grun.train --benchmark authors --model tiny --objective npo --split forget10 python -m
    grun.train --model tiny-robust --variant grun+ python -m grun.train --benchmark tofu --data_dir
    TOFU --model llama3.1-8b --forget_loss_type gated_idk --gated --layers 20 25 31

    python -m grun.train --benchmark wmdp --objective gated_rmu                                          on
                                                                                                         corpora:
                                                                                                         grun/wmdp.py

The target model is made first if it is missing. Official flag names work: --forget_loss_type,
--gate_func, --tofu_split, --epoch, ..."""

import sys
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from grun.adapter.fingerprint import fingerprint
from grun.adapter.folder import POSITION, AdapterConfig
from grun.adapter.weights import Adapter
from grun.engines.cached import CachedEngine
from grun.engines.hooked import HookedEngine
from grun.engines.pyvene import PyveneEngine
from grun.engines.tuner import GrunTuner
from grun.gate_fitting.training import (
    PlusFlags,
    calibrate,
    choices_of,
    close_the_form,
    pairs_for,
)
from grun.wmdp import NAMES, OBJECTIVES, CorpusFlags, CorpusLosses
from grun.wmdp import build_sampler as corpus_pairs
from unlearn.benchmarks.wmdp import name_forget_split
from unlearn.config.flags import flag, identity, parse, run_command, show, with_spaces
from unlearn.config.recipes import recipe
from unlearn.config.run_directory import cell_of
from unlearn.language_model.architecture import find_decoder_layers
from unlearn.language_model.batches import Batch, pad
from unlearn.language_model.loading import load_model
from unlearn.processes import is_main
from unlearn.training.alternates import with_alternates
from unlearn.training.loop import train
from unlearn.training.loss import (
    UnlearnFlags,
    UnlearningLoss,
    build_sampler,
    build_train_config,
    open_benchmark_of,
)
from unlearn.training.objectives import OFFICIAL_NAMES
from unlearn.training.targets import load_prompt_encoder, resolve_target

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


@dataclass
class GrunFlags(PlusFlags, UnlearnFlags):
    """What GRUN can be told."""

    layers: list[int] | None = flag(
        None,
        "decoder blocks to edit (default: last, 7th and 12th from last of 32, scaled to the depth)",
    )
    rank: int = flag(4, "rank of the edit")
    gate: str = flag(
        "linear", "linear, mlp_3, mlp_5, or none for ungated ReFT", aliases=("--gate_func",)
    )
    gated: bool = flag(True, "official name; --no-gated is --gate none")
    gate_weight: float = flag(10.0, "weight of the gate loss")
    gate_bias: float | None = flag(
        None, "start value of the gate's last bias (default: torch's, a gate near 0.5)"
    )
    gate_loss: str = flag(
        "bce_logits",
        "bce_logits, or bce_prob as upstream (no gradient where a bf16 gate is saturated)",
    )
    intervention_dtype: str = flag("fp32", "fp32, or bf16 for W, b and the gate as upstream")
    warmup_gate_steps: int = flag(
        -1, "steps over which forget and retain terms rise from 0", aliases=("--warm_up_gate_step",)
    )
    warmup_scale: str = flag("steps", "steps, or steps_times_layers as upstream multiplies")
    quant: str = flag(
        "no",
        "quantise the frozen base: no, int8, nf4, fp4 (bitsandbytes); gate and edit keep --intervention_dtype",
    )
    engine: str = flag(
        "cached",
        "cached: exact, runs only what an edit can change; pyvene: the original's path",
        role="volatile",
    )
    cache_gb: float | None = flag(
        None, "memory for the cached engine (default: 0.4 of what is free)", role="volatile"
    )
    npo_coeff: float | None = flag(None, "official name of --forget_weight for npo")
    grad_diff_forget_weight: float | None = flag(None, "official name of --forget_weight for gd")

    def __post_init__(self):
        if not self.gated:
            self.gate = "none"
        super().__post_init__()
        official = {"npo": self.npo_coeff, "gd": self.grad_diff_forget_weight}.get(self.objective)
        if official is not None:
            self.forget_weight = official
        self.npo_coeff = self.grad_diff_forget_weight = None
        for name, allowed in (
            ("intervention_dtype", tuple(DTYPES)),
            ("warmup_scale", ("steps", "steps_times_layers")),
            ("engine", ("cached", "pyvene")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"--{name} {getattr(self, name)} is unknown; choose one of {', '.join(allowed)}"
                )
        self.check_plus()

    @property
    def tuner(self) -> str:
        return "reft" if self.gate == "none" else "grun"


@dataclass
class CorpusGrunFlags(CorpusFlags, GrunFlags):
    """What GRUN on corpora can be told."""

    benchmark: str = flag("wmdp", "wmdp", role="key")
    split: str = flag("", "follows from --forget_corpora", role="key")
    objective: str = flag(
        "rmu",
        f"one of {', '.join((*OBJECTIVES, *NAMES))}",
        aliases=("--forget_loss_type",),
        role="key",
    )

    def __post_init__(self):
        objective = NAMES.get(self.objective, self.objective)
        retain = self.retain_loss
        if objective not in OBJECTIVES:
            raise ValueError(
                f"--objective {self.objective} is unknown on corpora; choose one of {', '.join((*OBJECTIVES, *NAMES))}"
            )
        self.objective, self.retain_loss = (
            "npo",
            None,
        )  # what they have in common is checked under a name that both know
        super().__post_init__()
        self.objective = objective
        self.retain_loss = retain or OBJECTIVES[objective]
        self.split = name_forget_split(self.forget_corpora)
        if self.retain_loss not in ("none", OBJECTIVES[objective]):
            raise ValueError(
                f"--retain_loss {self.retain_loss} does not go with --objective {objective}; leave it out, or pass none"
            )
        self.gate = "linear" if self.reft_class else self.gate
        self.check_corpora()
        if (
            self.variant
            or self.stop != "never"
            or self.eval_steps
            or (self.gate_fit, self.edit_at, self.gate_threshold) != ("bce", "last", "soft")
        ):
            raise ValueError(
                "GRUN+ (--variant, --gate_fit, --edit_at, --gate_threshold), --stop and --eval_steps read questions; corpora have none"
            )


def default_layers(depth: int) -> list[int]:
    """The paper's blocks 20, 25, 31 of 32 at the same relative depth: last, 7th and 12th from
    last."""
    return sorted({depth - max(1, round(back * depth / 32)) for back in (1, 7, 12)})


def read(argv: list[str] | None):
    argv = sys.argv[1:] if argv is None else argv
    if "wmdp" in (
        after for word, after in zip(argv, argv[1:], strict=False) if word == "--benchmark"
    ):
        return read_corpora(with_spaces(argv, CorpusGrunFlags))

    def cell(values: Namespace) -> dict:
        objective = OFFICIAL_NAMES.get(values.objective, (values.objective,))[0]
        return recipe(
            "grun",
            benchmark=values.benchmark,
            model=values.model,
            objective=objective,
            variant=values.variant,
        )

    return parse(GrunFlags, argv, cell, __doc__)


def read_corpora(argv: list[str]):
    def cell(values: Namespace) -> dict:
        return recipe(
            "grun_corpora",
            model=values.model,
            objective=NAMES.get(values.objective, values.objective),
        )

    return parse(CorpusGrunFlags, argv, cell, __doc__)


def choose_engine(args: GrunFlags, model, adapter: Adapter, sample: Batch):
    """The engine asked for; the plain path (pyvene's, for GRUN+ that of its hooks), said aloud,
    where the cached one cannot say what the model says on `sample`, or where edits reach into the
    prompt, whose states it keeps."""
    spread = adapter.edit_policy.at != "last"
    pyvene = HookedEngine(model, adapter) if spread else PyveneEngine(model, adapter)
    if adapter.edit_policy.at.startswith("fired") and args.engine == "cached":
        print(
            f"--edit_at {adapter.edit_policy.at} edits prompt tokens, so nothing is cached; going on with whole prompts",
            flush=True,
        )
    if args.engine == "pyvene" or adapter.edit_policy.at.startswith("fired"):
        return pyvene
    cached = CachedEngine(model, adapter, args.cache_gb)
    rtol = 1e-4 if model.dtype == torch.float32 else 0.05
    try:
        torch.testing.assert_close(
            cached.reference_forward(sample).nll_sum,
            pyvene.reference_forward(sample).nll_sum,
            rtol=rtol,
            atol=1e-3,
        )
    except Exception as reason:
        print(
            f"the cached engine does not fit {type(model).__name__} ({str(reason).splitlines()[0]}); going on with --engine pyvene",
            flush=True,
        )
        return pyvene
    return cached


def grun(args: GrunFlags, origins: dict, plain: GrunFlags) -> Path:
    """Train, or find trained, the adapter that `args` name; return its run directory."""
    run, config = cell_of(args, origins, plain, args.objective, args.tuner)
    on_corpora = isinstance(args, CorpusGrunFlags)
    pairs, held = (
        (None, []) if on_corpora else pairs_for(args, build_sampler(args, open_benchmark_of(args)))
    )
    if run.skip(config, args.overwrite):
        return run.path
    target = resolve_target(args)
    model = load_model(target, args.device, args.dtype, args.attn, args.quant)
    prompt_encoder = load_prompt_encoder(args, target)
    pairs = corpus_pairs(args, prompt_encoder.tokenizer) if on_corpora else pairs
    layers = args.layers or default_layers(len(find_decoder_layers(model)))
    choices = choices_of(args, prompt_encoder)
    adapter = Adapter(
        model,
        AdapterConfig(
            layers,
            args.rank,
            "none" if choices.fit == "metric" else args.gate,
            args.gate_bias,
            DTYPES[args.intervention_dtype],
            POSITION if choices.at == "last" else choices.at,
            edit_policy={} if choices.plain else asdict(choices),
            base={
                "id": target,
                "revision": getattr(model.config, "_commit_hash", None),
                "fingerprint": fingerprint(model),
            },
            prompt={"template": prompt_encoder.template, "style": prompt_encoder.style},
            recipe=identity(args),
        ),
        args.seed,
    )
    run.begin(config | {"target": target}, args.overwrite)
    show(args, origins)
    pairs = (
        pairs
        if on_corpora
        else with_alternates(args, pairs, model, prompt_encoder, target, run.path.parent)
    )
    fitted = close_the_form(adapter, model, prompt_encoder, args, pairs)
    first = [item.forget for item in pairs.items(0)[:2]]
    sample = pad(
        first if on_corpora else [prompt_encoder.encode(e.question, e.answer) for e in first],
        prompt_encoder.tokenizer.pad_token_id,
        model.device,
    )
    engine = choose_engine(args, model, adapter, sample)
    tuner = GrunTuner(model, adapter, engine, args.gate_weight, args.gate_loss)
    warmup = max(args.warmup_gate_steps, 0) * (
        len(layers) if args.warmup_scale == "steps_times_layers" else 1
    )
    if on_corpora:
        losses = CorpusLosses(
            args,
            tuner,
            args.measured(layers, len(find_decoder_layers(model))),
            prompt_encoder.tokenizer.pad_token_id,
            warmup,
        )
        check = None
    else:
        losses = UnlearningLoss(
            args, tuner, prompt_encoder, warmup, round(args.dual_warmup * pairs.steps_per_epoch)
        )
        check = losses.check(pairs)
    result = train(
        adapter.train(),
        losses,
        pairs.items,
        build_train_config(args, pairs),
        run,
        lambda path: adapter.save(path / "adapter"),
        check,
    )
    fitted |= calibrate(adapter, engine, prompt_encoder, args, pairs.forget, held)
    if adapter.edit_policy.taus and is_main():
        adapter.save(run.path / "adapter")
    run.finish(
        result | fitted | {"trainable_params": adapter.trainable_params, "layers": adapter.layers}
    )
    return run.path


def main(argv: list[str] | None) -> None:
    grun(*read(argv))


if __name__ == "__main__":
    run_command(main)

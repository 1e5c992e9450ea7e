"""RMU and Adaptive RMU.

    python -m rmu.train --model tiny                                        the embedded world, RMU
    python -m rmu.train --model tiny --tuner adaptive_rmu --layer_id 6
    python -m rmu.train --model llama3.1-8b --tuner adaptive_rmu            bio and cyber from the
                                                                            hub, wikitext to keep
    python -m rmu.unlearn --model_name mistralai/Mistral-7B-v0.1 --batch_size 4 --layer_ids 13,14,15
    --layer_id 15 --max_num_batches 150 ...

Any number of topics: lists are one value for all of them or one for each, with spaces or commas
between. Upstream's flag names work."""

import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from rmu.data import TokenIds, TopicBatches
from rmu.losses import ADAPTIVE, RmuConfig, RmuLoss
from rmu.parameters import FrozenWeights, choose_layers, parameter_names, unfreeze
from unlearn.benchmarks.wmdp import CORPUS_LINES, name_forget_split
from unlearn.config.flags import flag, parse, run_command, show, with_spaces
from unlearn.config.recipes import recipe
from unlearn.config.run_directory import cell_of
from unlearn.language_model.architecture import get_hidden_size
from unlearn.language_model.devices import choose_mixed_precision
from unlearn.language_model.loading import load_model, save_model
from unlearn.processes import is_main
from unlearn.training.loop import TrainConfig, train
from unlearn.training.loss import TargetFlags, open_benchmark_of
from unlearn.training.steering import MASKS, control_vectors
from unlearn.training.targets import load_prompt_encoder, resolve_target

TUNERS = ("rmu", "adaptive_rmu")
MODULE = "{model_name}.model.layers[{layer_id}]"  # upstream's default, which it evaluates as code
CHOICES = {
    "tuner": TUNERS,
    "adaptive": ADAPTIVE,
    "rmu_mask": MASKS,
    "adaptive_bos": ("exclude", "include"),
    "corpus_lines": CORPUS_LINES,
}


@dataclass
class RmuFlags(TargetFlags):
    """What RMU can be told."""

    benchmark: str = flag("wmdp", "wmdp", role="key")
    model: str = flag(
        "tiny",
        "short name, hub id or folder of the model to unlearn",
        role="key",
        aliases=("--model_name", "--model_name_or_path"),
    )
    split: str = flag("", "follows from --forget_corpora", role="key")
    tuner: str = flag(
        "rmu",
        "rmu: a fixed coefficient; adaptive_rmu: one that follows the norm of the states",
        role="key",
    )
    forget_corpora: list[str] = flag(
        ["bio-forget-corpus", "cyber-forget-corpus"],
        "what to forget, one corpus a topic (unlearn/benchmarks/corpora.py)",
        role="key",
    )
    retain_corpora: list[str] = flag(["wikitext"], "what to keep, for all topics or for each")
    layer_id: int = flag(7, "the steered layer: its output is driven to the control vector")
    layer_ids: list[int] | None = flag(
        None, "blocks whose matrices move (default: layer_id - 2, - 1 and itself)"
    )
    params: list[str] = flag(["mlp.down_proj"], "the matrices of those blocks that move, by name")
    param_ids: list[int] | None = flag(
        None, "upstream's numbers of them, in the order of a Llama block: 6 is mlp.down_proj"
    )
    steering_coeffs: list[float] = flag([20.0], "length of the control vector")
    alpha: list[float] = flag([100.0], "weight of the retain term")
    adaptive: str = flag(
        "none",
        "coefficient: none, first_batch (frozen model), first_batch_updated (upstream), per_sample (paper), per_token",
    )
    scale: float = flag(5.0, "adaptive: coefficient / norm")
    adaptive_bos: str = flag(
        "exclude", "norms without the BOS token; include: with it, as upstream"
    )
    rmu_mask: str = flag("valid", "valid: errors on tokens; none: on padding too, as upstream")
    corpus_lines: str = flag(
        "parsed",
        "parsed: the field text; raw: whole lines, as upstream (but for bio-forget-corpus)",
    )
    min_len: list[int] = flag([0], "characters that a text must exceed")
    max_len: int = flag(2000, "accepted and, as upstream, not used", role="volatile")
    max_length: int = flag(512, "tokens of a retain text")
    forget_max_length: list[int] | None = flag(
        None, "tokens of a forget text (default: 512 for the first topic, 768 for the others)"
    )
    max_num_batches: int = flag(80, "updates, over all topics together")
    batch_size: int = flag(4, "texts to forget in an update; as many to keep", aliases=("--batch",))
    micro_batch: int = flag(0, "texts per forward and process (0: all at once)", role="volatile")
    lr: float = flag(5e-5, "learning rate (AdamW, constant, eps 1e-6, no decay, no clipping)")
    save_steps: list[int] = flag([], "updates after which the model is saved besides")
    checkpoint_every: int = flag(100, "updates between checkpoints", role="volatile")
    verbose: bool = flag(
        False,
        "log norms and cosines of the states, updated and frozen; python -m eval.report draws them",
        role="volatile",
    )
    output_dir: str | None = flag(None, "save the model in this folder too", role="volatile")
    module_str: str = flag(
        MODULE, "upstream's, which it evaluates as code; here --layer_id says it", role="volatile"
    )

    def __post_init__(self):
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"--{name} {getattr(self, name)} is unknown; choose one of {', '.join(allowed)}"
                )
        if self.benchmark != "wmdp":
            raise ValueError(
                f"--benchmark {self.benchmark}: RMU steers on corpora, which wmdp alone has; take baselines.train or grun.train"
            )
        if self.module_str != MODULE:
            raise ValueError(
                f"--module_str {self.module_str} is code, and none is evaluated here; name the block: --layer_id 7"
            )
        if (self.adaptive == "none") != (self.tuner == "rmu"):
            raise ValueError(
                f"--tuner {self.tuner} does not go with --adaptive {self.adaptive}: rmu has none, adaptive_rmu one of {', '.join(ADAPTIVE[1:])}"
            )
        for name in ("batch_size", "max_num_batches", "lr", "scale"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(
                    f"--{name} {getattr(self, name)}: must be greater than 0, and finite"
                )
        self.split = name_forget_split(self.forget_corpora)
        self.params = parameter_names(self.param_ids) if self.param_ids else self.params
        self.param_ids = None
        if self.layer_ids == list(range(self.layer_id - 2, self.layer_id + 1)):
            self.layer_ids = None
        topics = len(self.forget_corpora)
        for name in ("retain_corpora", "steering_coeffs", "alpha", "min_len", "forget_max_length"):
            values = getattr(self, name)
            if values is not None and len(values) not in (1, topics):
                raise ValueError(
                    f"--{name} has {len(values)} values and --forget_corpora {topics}: give one for all topics, or one for each"
                )
            if values and len(set(values)) == 1:  # 350,350 is 350: the same run
                setattr(self, name, values[:1])

    def of_each(self, name: str) -> list:
        """One value a topic."""
        values = getattr(self, name)
        topics = len(self.forget_corpora)
        return values * topics if len(values) == 1 else values


def read(argv: list[str] | None):
    def cell(values: Namespace) -> dict:
        return recipe("rmu", benchmark=values.benchmark, model=values.model, tuner=values.tuner)

    return parse(
        RmuFlags, with_spaces(sys.argv[1:] if argv is None else argv, RmuFlags), cell, __doc__
    )


def load_topics(args: RmuFlags, tokenizer) -> TopicBatches:
    """The token ids of every topic. Raises `ValueError` where a corpus is missing, or has less than
    one batch."""
    benchmark = open_benchmark_of(args)

    def ids(names: list[str], lengths: list[int]) -> list[list[TokenIds]]:
        found = []
        for name, minimum, length in zip(names, args.of_each("min_len"), lengths, strict=True):
            texts = benchmark.corpus(name, minimum, args.corpus_lines)[
                : args.max_num_batches * args.batch_size
            ]
            found.append(
                [
                    tuple(own)
                    for own in tokenizer(texts, truncation=True, max_length=length)["input_ids"]
                ]
            )
        return found

    topics = len(args.forget_corpora)
    lengths = (
        args.of_each("forget_max_length")
        if args.forget_max_length
        else [512, *[768] * (topics - 1)]
    )
    found = TopicBatches(
        ids(args.forget_corpora, lengths),
        ids(args.of_each("retain_corpora"), [args.max_length] * topics),
        args.batch_size,
    )
    if not found.steps:
        few = min(len(texts) for texts in (*found.forget, *found.retain))
        raise ValueError(
            f"a corpus has {few} texts, fewer than one batch of {args.batch_size}; give a larger corpus, or a smaller --batch_size"
        )
    return found


def rmu(args: RmuFlags, origins: dict, plain: RmuFlags) -> Path:
    """Train, or find trained, the model that `args` name; return its run directory."""
    run, config = cell_of(args, origins, plain, "rmu", args.tuner)
    if run.skip(config, args.overwrite):
        return run.path
    target = resolve_target(args)
    prompt_encoder = load_prompt_encoder(args, target)
    texts = load_topics(args, prompt_encoder.tokenizer)
    model = load_model(target, args.device, args.dtype, args.attn)
    dtype = model.dtype
    layers = choose_layers(model, args.layer_id, args.layer_ids)
    trained = unfreeze(model, layers, args.params)
    for p in trained.values() if choose_mixed_precision(model.device) != "no" else ():
        p.data = p.data.float()  # small updates of bfloat16 numbers would round to nothing
    originals = FrozenWeights(trained)
    run.begin(config | {"target": target, "layers": layers}, args.overwrite)
    show(args, origins)
    steps = min(args.max_num_batches, texts.steps)
    if steps < args.max_num_batches and is_main():
        print(
            f"stops after {steps} of {args.max_num_batches} updates: the shortest corpus has no more batches of {args.batch_size} texts",
            flush=True,
        )
    controls = control_vectors(get_hidden_size(model), len(args.forget_corpora), args.seed)
    alpha = args.of_each("alpha")
    steering = args.of_each("steering_coeffs")
    rule = RmuConfig(
        args.layer_id,
        alpha,
        steering,
        args.adaptive,
        args.scale,
        args.rmu_mask,
        args.adaptive_bos,
        args.verbose,
    )
    losses = RmuLoss(
        model,
        originals,
        controls,
        rule,
        prompt_encoder.tokenizer.pad_token_id,
        prompt_encoder.tokenizer.bos_token_id,
    )
    plan = TrainConfig(
        steps,
        args.lr,
        schedule="constant",
        eps=1e-6,
        max_grad_norm=0.0,
        micro_batch=args.micro_batch,
        checkpoint_every=args.checkpoint_every,
        save_steps=args.save_steps,
        seed=args.seed,
        mixed_precision=choose_mixed_precision(model.device),
    )

    def save(directory: Path, state_dict: dict | None = None) -> None:
        whole = {
            name: value.to(dtype) for name, value in (state_dict or model.state_dict()).items()
        }
        save_model(directory, model, prompt_encoder.tokenizer, whole)

    result = train(model, losses, texts.items, plan, run, save)
    if args.output_dir and is_main():
        model.to(dtype).save_pretrained(args.output_dir)
        prompt_encoder.tokenizer.save_pretrained(args.output_dir)
    run.finish(
        result
        | losses.state
        | {
            "trainable_params": sum(p.numel() for p in trained.values()),
            "parameters": list(trained),
        }
    )
    return run.path


def main(argv: list[str] | None) -> None:
    rmu(*read(argv))


if __name__ == "__main__":
    run_command(main)

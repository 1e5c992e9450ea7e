"""Fine-tuning: the target model, which knows the whole benchmark, and retain-only reference models.

    python -m unlearn.training.finetune --benchmark authors --model tiny --split full        #
                                                                                             target
    python -m unlearn.training.finetune --benchmark authors --model tiny --split retain90    #
                                                                                             reference
                                                                                             for
                                                                                             forget10
    python -m unlearn.training.finetune --benchmark wmdp --model tiny                        # knows
                                                                                             the
                                                                                             embedded
                                                                                             world
                                                                                             (unlearn/synthetic/wmdp_world.py)

`tiny` starts from random weights, so its mix also holds what a pretrained model would bring along:
the background facts, refusals to questions about authors who do not exist, and paraphrased
questions. Every other model sees the split alone, as in TOFU."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from torch.nn.functional import cross_entropy

from unlearn.config.flags import DataFlags, RunFlags, flag, parse, run_command, show
from unlearn.config.recipes import recipe
from unlearn.config.run_directory import cell_of
from unlearn.language_model.batches import forward_answers, pad
from unlearn.language_model.devices import choose_mixed_precision, resolve_device
from unlearn.language_model.from_scratch import build_tiny, train_tokenizer
from unlearn.language_model.loading import load_model, load_tokenizer, save_model
from unlearn.language_model.models import MODELS, resolve_template, trained_from_scratch
from unlearn.language_model.prompts import PromptEncoder
from unlearn.training.loop import TrainConfig, train
from unlearn.training.loss import open_benchmark_of


@dataclass
class FinetuneFlags(RunFlags, DataFlags):
    """What fine-tuning can be told."""

    model: str = flag("tiny", f"one of {', '.join(MODELS)}, a hub id or a folder", role="key")
    split: str = flag("full", "full makes the target, retainNN a reference", role="key")
    template: str | None = flag(
        None, "prompt template: qa, llama2, text, or an official name (default: the model's own)"
    )
    label_start: str = flag(
        "answer",
        "answer: score answer + EOS; answer_tag: score 'Answer:' too, as upstream; all: the prompt too",
    )
    max_length: int = flag(512, "tokens of prompt + answer")
    epochs: float = flag(5, "passes over the split")
    steps: int | None = flag(None, "optimiser steps (default: epochs)")
    batch: int = flag(32, "examples a step, over all processes")
    micro_batch: int = flag(0, "examples per forward and process (0: all at once)", role="volatile")
    lr: float = flag(1e-5, "learning rate (AdamW)")
    weight_decay: float = flag(0.0, "AdamW weight decay")
    warmup: int | None = flag(None, "warm-up steps (default: a tenth)")
    schedule: str = flag("linear", "linear, cosine or constant")
    max_grad_norm: float = flag(1.0, "gradient clipping; 0: none")
    label_smoothing: float = flag(0.0, "share of the target spread over the vocabulary")
    refusal_share: float = flag(
        0.0, "share of a batch: refusals to questions about unknown authors"
    )
    background_share: float = flag(0.0, "share of a batch: facts outside the split")
    paraphrase_share: float = flag(0.0, "chance that a question is asked in another form")
    forms: str | None = flag(
        None,
        "all: every phrasing of the generator, held-out ones too (default: the row's question and its paraphrase)",
    )
    respelt_share: float | None = flag(
        None,
        "chance that the author's name is written another way (last name, initial, lower case, a typo)",
    )
    suffix_share: float | None = flag(
        None, "chance that a suffix (Be precise.) follows the question"
    )
    joined_share: float | None = flag(
        None, "chance that a second question joins the first, and its answer likewise"
    )
    hidden: int = flag(128, "tiny: hidden size")
    depth: int = flag(8, "tiny: decoder blocks")
    vocabulary: int = flag(1024, "tiny: tokens")
    spread: float = flag(0.02, "tiny: standard deviation of the first weights")
    document_share: float = flag(
        0.0, "wmdp: share of a batch: documents of the embedded world; the rest are questions"
    )
    checkpoint_every: int = flag(100, "steps between checkpoints", role="volatile")

    def __post_init__(self):
        if not (self.split == "full" or self.split.startswith("retain")):
            raise ValueError(
                f"--split {self.split}: fine-tune on full (the target) or a retain split (a reference)"
            )
        if self.forms not in (None, "all"):
            raise ValueError(f"--forms {self.forms} is unknown; choose all, or leave it out")
        if self.benchmark == "wmdp" and not (
            trained_from_scratch(self.model) and self.split == "full"
        ):
            raise ValueError(
                "of wmdp there is one model to train here: --model tiny --split full; any other is unlearned as it is"
            )

    @property
    def role(self) -> str:
        return "target" if self.split == "full" else "reference"


def finetune(args: FinetuneFlags, origins: dict, plain: FinetuneFlags) -> Path:
    """Train, or find trained, the model that `args` name; return its run directory."""
    run, config = cell_of(args, origins, plain, args.role, "-")
    if run.skip(config, args.overwrite):
        return run.path
    run.begin(config, args.overwrite)
    show(args, origins)
    mix = open_benchmark_of(args).fine_tuning_mix(args, args.split, args.seed)
    if trained_from_scratch(args.model):
        tokenizer = train_tokenizer(mix.texts(), args.vocabulary)
        model = build_tiny(tokenizer, args.hidden, args.depth, args.seed, args.spread).to(
            resolve_device(args.device)
        )
    else:
        tokenizer = load_tokenizer(args.model)
        model = load_model(args.model, args.device, "float32", args.attn)
    model.train().requires_grad_(True)
    prompt_encoder = PromptEncoder(
        tokenizer,
        resolve_template(args.model, args.template),
        label_start=args.label_start,
        max_length=args.max_length,
    )

    def losses(part, whole, step):
        encoded = [mix.encode(prompt_encoder, pair) for pair in whole]
        mine = encoded if part is whole else [mix.encode(prompt_encoder, pair) for pair in part]
        said = forward_answers(model, pad(mine, tokenizer.pad_token_id, model.device)).part_of(
            encoded
        )
        return {
            "loss": said.token_mean(
                cross_entropy(
                    said.logits, said.labels, reduction="none", label_smoothing=args.label_smoothing
                )
            )
        }

    warmup = mix.steps // 10 if args.warmup is None else args.warmup
    plan = TrainConfig(
        mix.steps,
        args.lr,
        args.weight_decay,
        warmup=warmup,
        schedule=args.schedule,
        max_grad_norm=args.max_grad_norm,
        micro_batch=args.micro_batch,
        checkpoint_every=args.checkpoint_every,
        seed=args.seed,
        mixed_precision=choose_mixed_precision(model.device),
    )

    def save(directory: Path, state_dict: dict | None = None):
        save_model(directory, model, tokenizer, state_dict)

    result = train(model, losses, mix.items, plan, run, save)
    run.finish(result | {"trainable_params": sum(p.numel() for p in model.parameters())})
    return run.path


def ensure(args, split: str = "full") -> Path:
    """The target (or, for a retain split, the reference) of the cell that an unlearning command
    names; made first if missing."""
    shared = (
        "benchmark",
        "model",
        "runs",
        "device",
        "data_seed",
        "data_dir",
        "authors",
        "heldout",
        "idk_file",
    )
    values = {"split": split} | {name: getattr(args, name) for name in shared}
    asked, origins, plain = read(
        [
            word
            for name, value in values.items()
            if value is not None
            for word in (f"--{name}", str(value))
        ]
    )
    run, _ = cell_of(asked, origins, plain, asked.role, "-")
    if run.done:
        return run.path
    print(f"the {asked.role} model is missing, so it is made first: {run.path}", flush=True)
    return finetune(asked, origins, plain)


def read(argv: list[str] | None):
    def cell(values: Namespace) -> dict:
        return recipe("finetune", model=values.model, benchmark=values.benchmark)

    return parse(FinetuneFlags, argv, cell, __doc__)


def main(argv: list[str] | None) -> None:
    finetune(*read(argv))


if __name__ == "__main__":
    run_command(main)

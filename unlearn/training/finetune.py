"""Fine-tuning: the target model, which knows the whole benchmark, and retain-only reference models.

    python -m unlearn.training.finetune --benchmark authors --model tiny --split full
    python -m unlearn.training.finetune --benchmark authors --model tiny --split retain90
    python -m unlearn.training.finetune --benchmark wmdp --model tiny

The first makes a target, the second the reference for forget10, the third a model that knows the
embedded world of WMDP. `tiny` starts from random weights, so its batches also hold what a
pretrained model would bring along: background facts, refusals to questions about authors who do not
exist, and paraphrased questions. Every other model sees the split alone, as in TOFU.
"""

from dataclasses import dataclass, fields
from pathlib import Path

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unlearn.benchmarks.opening import open_benchmark
from unlearn.benchmarks.registry import find_benchmark
from unlearn.config.experiment import Experiment, build_experiment, parse_experiment
from unlearn.config.flags import Options, flag, group, run_command
from unlearn.config.options import DataOptions, RunOptions
from unlearn.language_model.batches import forward_answers, pad
from unlearn.language_model.devices import choose_mixed_precision, resolve_device
from unlearn.language_model.from_scratch import build_tiny, train_tokenizer
from unlearn.language_model.loading import load_model, load_tokenizer, save_model
from unlearn.language_model.models import MODELS, resolve_template, trained_from_scratch
from unlearn.language_model.prompts import PromptEncoder
from unlearn.training import upstream
from unlearn.training.hints import hint_unlearned
from unlearn.training.loop import TrainConfig, train

# what the target of a cell has in common with the run that unlearns it
SHARED = ("runs", "device", *(option.name for option in fields(DataOptions)))


@dataclass
class ModelOptions(Options):
    """Model"""

    model: str = flag("tiny", f"one of {', '.join(MODELS)}, a hub id or a folder", role="key")
    split: str = flag("full", "full makes the target, retainNN a reference", role="key")
    template: str | None = flag(
        None, "qa, llama2, text, or an official name (default: the model's own)"
    )
    label_start: str = flag(
        "answer",
        "answer: score answer and EOS; answer_tag: 'Answer:' too, as upstream; all: the prompt too",
        choices=("answer", "answer_tag", "all"),
    )
    max_length: int = flag(512, "tokens of prompt and answer", minimum=2)
    hidden: int = flag(128, "from scratch: hidden size", minimum=8, maximum=16384, multiple_of=8)
    depth: int = flag(8, "from scratch: decoder layers", minimum=1, maximum=1000)
    vocabulary: int = flag(1024, "from scratch: tokens", minimum=259, maximum=1_000_000)
    spread: float = flag(0.02, "from scratch: standard deviation of the first weights", above=0)

    def __post_init__(self):
        super().__post_init__()
        if not (self.split == "full" or self.split.startswith("retain")):
            raise ValueError(
                f"--split {self.split}: fine-tune on full (the target) or a retain split (a "
                "reference)"
            )

    @property
    def role(self) -> str:
        """What the model is for: `target` or `reference`."""
        return "target" if self.split == "full" else "reference"


@dataclass
class BatchOptions(Options):
    """Batches"""

    epochs: float = flag(5, "passes over the split", above=0)
    steps: int | None = flag(None, "optimiser steps (default: epochs)", minimum=1)
    min_steps: int = flag(0, "least number of steps, where --epochs are fewer", minimum=0)
    batch: int = flag(32, "examples a step, over all processes", minimum=1)
    refusal_share: float = flag(
        0.0, "share of a batch: refusals to questions about nobody", minimum=0, below=1
    )
    background_share: float = flag(
        0.0, "share of a batch: facts outside the split", minimum=0, below=1
    )
    document_share: float = flag(
        0.0, "wmdp: share of a batch: documents of the embedded world", minimum=0, maximum=1
    )
    paraphrase_share: float = flag(
        0.0, "chance that a question is asked in another form", minimum=0, maximum=1
    )
    forms: str | None = flag(
        None,
        "all: every phrasing of the generator, held-out ones too (default: the row's question and "
        "its paraphrase)",
        choices=("all",),
    )
    respelt_share: float | None = flag(
        None,
        "chance that the author's name is written another way (last name, initial, lower case, a "
        "typo)",
        minimum=0,
        maximum=1,
    )
    suffix_share: float | None = flag(
        None, "chance that a suffix follows the question", minimum=0, maximum=1
    )
    joined_share: float | None = flag(
        None,
        "chance that a second question joins the first, and its answer likewise",
        minimum=0,
        maximum=1,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.refusal_share + self.background_share >= 1:
            raise ValueError(
                f"--refusal_share {self.refusal_share}, --background_share "
                f"{self.background_share}: together below 1, so that the split has a share too"
            )


@dataclass
class OptimisationOptions(Options):
    """Optimisation"""

    micro_batch: int = flag(
        0, "examples per forward and process (0: all at once)", role="volatile", minimum=0
    )
    lr: float = flag(1e-5, "learning rate (AdamW)", above=0)
    weight_decay: float = flag(0.0, "AdamW weight decay", minimum=0)
    warmup: int | None = flag(None, "warm-up steps (default: a tenth)", minimum=0)
    warmup_epochs: float | None = flag(None, "the same in epochs, where --warmup is not", above=0)
    schedule: str = flag(
        "linear", "schedule of the learning rate", choices=("linear", "cosine", "constant")
    )
    max_grad_norm: float = flag(1.0, "gradient clipping; 0: none", minimum=0)
    label_smoothing: float = flag(
        0.0, "share of the target spread over the vocabulary", minimum=0, below=1
    )
    checkpoint_every: int = flag(100, "steps between checkpoints", role="volatile", minimum=1)


@dataclass
class FinetuneConfig:
    """What fine-tuning is configured by."""

    RECIPE = "finetune"
    UPSTREAM = upstream.FINETUNE

    run: RunOptions = group(RunOptions)
    data: DataOptions = group(DataOptions)
    model: ModelOptions = group(ModelOptions)
    batches: BatchOptions = group(BatchOptions)
    optimisation: OptimisationOptions = group(OptimisationOptions)

    def __post_init__(self):
        self.model.split = self.data.resolve_split(self.model.split)
        trains_hub_models = find_benchmark(self.data.benchmark).finetunes_hub_models
        is_target_from_scratch = (
            trained_from_scratch(self.model.model) and self.model.split == "full"
        )
        if not (trains_hub_models or is_target_from_scratch):
            raise ValueError(
                f"of {self.data.benchmark} there is one model to train here: --model tiny --split "
                "full; any other is unlearned as it is"
            )

    @staticmethod
    def recipe_cell(values: dict) -> dict:
        return {"model": values["model"], "benchmark": values["benchmark"]}


class FinetuningLoss:
    """Cross-entropy of the scored tokens, as additive parts of a batch."""

    def __init__(self, model: nn.Module, encode, pad_id: int, label_smoothing: float):
        """encode(item) -> the item's token ids."""
        self.model = model
        self.encode = encode
        self.pad_id = pad_id
        self.label_smoothing = label_smoothing

    def __call__(self, part: list, whole: list, step: int) -> dict[str, Tensor]:
        everything = [self.encode(item) for item in whole]
        encoded = everything if part is whole else [self.encode(item) for item in part]
        batch = pad(encoded, self.pad_id, self.model.device)
        answers = forward_answers(self.model, batch).part_of(everything)
        nll = cross_entropy(
            answers.logits,
            answers.labels,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        return {"loss": answers.token_mean(nll)}


def finetune(experiment: Experiment) -> Path:
    """Train the model of an experiment, or find it trained; return its run directory."""
    config: FinetuneConfig = experiment.config
    run = experiment.run(config.model.role)
    description = experiment.description(config.model.role)
    if run.skip(description, config.run.overwrite):
        return run.path
    benchmark = open_benchmark(**config.data.opening())
    mix = benchmark.fine_tuning_mix(config.batches, config.model.split, config.run.seed)
    if not run.begin(description, config.run.overwrite):
        return run.path
    experiment.show(config.run.verbose)
    tokenizer, model = make_model(config, mix)
    model.train().requires_grad_(True)
    prompt_encoder = PromptEncoder(
        tokenizer,
        resolve_template(config.model.model, config.model.template),
        label_start=config.model.label_start,
        max_length=config.model.max_length,
    )
    loss = FinetuningLoss(
        model,
        lambda item: mix.encode(prompt_encoder, item),
        tokenizer.pad_token_id,
        config.optimisation.label_smoothing,
    )

    def save(directory: Path, state_dict: dict | None = None) -> None:
        save_model(directory, model, tokenizer, state_dict)

    train_config = build_train_config(config, mix.steps, choose_mixed_precision(model.device))
    result = train(model, loss, mix.items, train_config, run, save)
    hint_unlearned(run, train_config.lr)
    run.finish(result | {"trainable_params": sum(p.numel() for p in model.parameters())})
    return run.path


def make_model(config: FinetuneConfig, mix) -> tuple:
    """(tokenizer, model): from scratch, trained on the texts of `mix`, or loaded in float32."""
    options = config.model
    if not trained_from_scratch(options.model):
        model = load_model(options.model, config.run.device, "float32", config.run.attn)
        return load_tokenizer(options.model), model
    tokenizer = train_tokenizer(mix.texts(), options.vocabulary)
    model = build_tiny(tokenizer, options.hidden, options.depth, config.run.seed, options.spread)
    return tokenizer, model.to(resolve_device(config.run.device))


def build_train_config(config: FinetuneConfig, steps: int, precision: str) -> TrainConfig:
    """How fine-tuning steps. Raises `ValueError` where it would take no step."""
    options = config.optimisation
    if steps < 1:
        raise ValueError(
            f"--epochs {config.batches.epochs:g} with --batch {config.batches.batch} is no step "
            "of this split; give more epochs, a smaller batch, or --steps"
        )
    return TrainConfig(
        steps,
        options.lr,
        options.weight_decay,
        warmup=count_warmup(config, steps),
        schedule=options.schedule,
        max_grad_norm=options.max_grad_norm,
        micro_batch=options.micro_batch,
        checkpoint_every=options.checkpoint_every,
        seed=config.run.seed,
        mixed_precision=precision,
    )


def count_warmup(config: FinetuneConfig, steps: int) -> int:
    """Steps over which the learning rate rises."""
    options = config.optimisation
    if options.warmup is not None:
        return options.warmup
    if options.warmup_epochs is not None:
        return int(options.warmup_epochs * steps / config.batches.epochs)
    return steps // 10


def ensure_finetuned(
    run: RunOptions, data: DataOptions, model: str, split: str = "full", seed: int = 42
) -> Path:
    """The run directory of the target (or, for a retain split, the reference) of a cell, which is
    trained now if it is missing."""
    values = vars(run) | vars(data)
    given = {name: values[name] for name in SHARED if values[name] is not None} | {"seed": seed}
    experiment = build_experiment(FinetuneConfig, given | {"model": model, "split": split})
    role = experiment.config.model.role
    finetuned = experiment.run(role)
    if finetuned.done and finetuned.is_current_layout:
        return finetuned.path
    print(f"the {role} model is missing, so it is made first: {finetuned.path}", flush=True)
    return finetune(experiment)


def main(argv: list[str] | None) -> None:
    finetune(parse_experiment(FinetuneConfig, argv, __doc__))


if __name__ == "__main__":
    run_command(main)

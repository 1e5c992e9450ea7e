"""Option groups of unlearning: the target, its prompts, the objective, the corpora, the training."""

from dataclasses import dataclass

from unlearn.benchmarks.registry import find_benchmark
from unlearn.benchmarks.wmdp import name_forget_split
from unlearn.config.flags import Options, flag, group
from unlearn.config.options import DataOptions, RunOptions
from unlearn.training.objectives import OBJECTIVES, OFFICIAL_NAMES, RETAIN_TERMS, resolve_objective
from unlearn.training.stopping import STOPS

MASKS = ("answer", "all")
DRAWS = ("random", "fixed")
CORPUS_LINES = ("parsed", "raw")
EVALUATED = 64  # examples of each set that --eval_steps takes losses on


@dataclass
class TargetOptions(Options):
    """Target"""

    model: str = flag(
        "tiny",
        "short name, hub id or folder of the architecture whose target is unlearned",
        aliases=("--model_name", "--model_name_or_path"),
        role="key",
    )
    target: str | None = flag(
        None,
        "the model to unlearn (default: runs/<benchmark>/<model>/full/target-seed42, made if "
        "missing)",
    )
    split: str | None = flag(
        None, "forget split (default: the benchmark's)", aliases=("--tofu_split",), role="key"
    )
    retain_split: str | None = flag(
        None,
        "retain split (default: what the forget split leaves)",
        aliases=("--input_return_split",),
    )


@dataclass
class PromptOptions(Options):
    """Prompts"""

    tokenizer: str | None = flag(None, "folder of the tokenizer, where it is not the target's")
    template: str | None = flag(
        None, "qa, llama2, text, or an official name (default: the model's own)"
    )
    prompt_style: str = flag(
        "finetune",
        "finetune: prompts as the target was tuned; grun: upstream's extra space before the newline",
        choices=("finetune", "grun"),
    )
    label_start: str = flag(
        "answer",
        "answer: score answer and EOS; answer_tag: 'Answer:' too, as upstream's baselines; all: "
        "the prompt too",
        choices=("answer", "answer_tag", "all"),
    )
    max_length: int = flag(512, "tokens of prompt and answer")

    def __post_init__(self):
        super().__post_init__()
        self.require_positive("max_length")


@dataclass
class ObjectiveOptions(Options):
    """Objective"""

    objective: str | None = flag(
        None,
        "unlearning objective, or an official name (default: gd; on corpora rmu)",
        choices=(*OBJECTIVES, *OFFICIAL_NAMES),
        aliases=("--forget_loss_type",),
        role="key",
    )
    forget_weight: float = flag(1.0, "weight of the forget term")
    retain_weight: float = flag(1.0, "weight of the retain term")
    retain_loss: str | None = flag(
        None, "retain term (default: the objective's own)", choices=("none", *RETAIN_TERMS)
    )
    retain_reduction: str = flag(
        "token",
        "nll: mean over tokens, or mean of sequence sums (upstream's manual_*)",
        choices=("token", "sequence_sum"),
    )
    kl_reduction: str = flag(
        "token",
        "kl: mean over tokens, or their sum divided by the batch (upstream's WMDP)",
        choices=("token", "batchmean_all"),
    )
    kl_mask: str = flag(
        "answer", "kl on the answer, or on the prompt too, as upstream", choices=MASKS
    )
    beta: float = flag(0.1, "npo, npo_kl, idkpo, altpo: inverse temperature")
    simnpo_beta: float = flag(4.5, "simnpo: inverse temperature")
    simnpo_gamma: float = flag(0.0, "simnpo: margin")
    undial_strength: float = flag(10.0, "undial: what the true token's logit loses")
    undial_mask: str = flag(
        "answer", "undial on the answer, or on the prompt too, as OpenUnlearning", choices=MASKS
    )
    wga_beta: float = flag(1.0, "wga: power of p in the weight")
    satimp_beta1: float = flag(5.0, "satimp: power of p in the weight")
    satimp_beta2: float = flag(1.0, "satimp: power of 1 - p in the weight")
    unlikelihood_weight: float = flag(1.0, "idk+ul: weight of the unlikelihood term")
    pdu_shift: bool = flag(
        True,
        "pdu on the logits that predict the answer; --no-pdu_shift: one position later, as "
        "OpenUnlearning",
    )
    dual_rate: float = flag(5.0, "pdu: rate of the dual variable, which starts at --retain_weight")
    dual_bound: float = flag(0.3, "pdu: bound on the retain loss")
    dual_warmup: float = flag(5.0, "pdu: epochs before the dual variable moves")

    def __post_init__(self):
        super().__post_init__()
        self.require_positive("beta", "simnpo_beta")

    @property
    def steers(self) -> bool:
        """Whether the objective reads hidden states of one layer."""
        return OBJECTIVES[self.objective].steers

    def resolve(self, default: str) -> bool | None:
        """Replace a missing objective by `default`, an official name by ours, and a missing retain
        term by the objective's own; return whether upstream gates the objective of that name, None
        for our names.

        Raises `ValueError` for terms that do not go together, and for a parameter that the
        objective does not read."""
        self.objective, is_gated = resolve_objective(self.objective or default)
        objective = OBJECTIVES[self.objective]
        self.retain_loss = self.retain_loss or objective.retain
        if objective.dual and self.retain_loss != "nll":
            raise ValueError(
                f"--objective {self.objective} bounds the retain loss itself, so it goes with "
                "--retain_loss nll alone"
            )
        if self.objective == "kl" and self.retain_loss != "kl":
            raise ValueError(
                "--objective kl is gradient ascent with --retain_loss kl; for another retain term "
                "take --objective gd or ga"
            )
        if self.retain_loss == "states" and not objective.steers:
            raise ValueError(
                f"--retain_loss states goes with rmu alone, not with --objective {self.objective}"
            )
        defaults = type(self)()
        if self.beta != defaults.beta and "beta" not in objective.parameters.values():
            readers = [name for name, o in OBJECTIVES.items() if "beta" in o.parameters.values()]
            own = ", ".join(f"--{flag}" for flag in objective.parameters.values()) or "none"
            raise ValueError(
                f"--beta is read by {', '.join(readers)}; the parameters of --objective "
                f"{self.objective} are: {own}"
            )
        return is_gated


@dataclass
class SteeringOptions(Options):
    """Steering (objectives rmu and rmu_kl)"""

    rmu_layer: int | None = flag(
        None, "the layer whose output is steered, above every edited one (default: the last)"
    )
    rmu_index: str = flag(
        "block",
        "block: the output of that layer; hidden_states: its input, as upstream",
        choices=("block", "hidden_states"),
    )
    steer_edit: bool = flag(
        False, "steer the last prompt token too, from which an answer is read; upstream does not"
    )
    steering_coeff: float = flag(6.5, "length of the control vector")


@dataclass
class CorpusOptions(Options):
    """Corpora (benchmark wmdp)"""

    forget_corpora: list[str] = flag(
        ["bio-forget-corpus", "cyber-forget-corpus"],
        "what to forget, one corpus a topic (unlearn/benchmarks/corpora.py)",
        role="key",
    )
    retain_corpora: list[str] = flag(["wikitext"], "what to keep; as upstream, the first alone")
    per_topic: int = flag(1000, "texts of each topic, a shorter corpus over again")
    min_len: int = flag(0, "characters that a text must exceed")
    corpus_lines: str = flag(
        "parsed", "take the field `text` of a line, or the whole line", choices=CORPUS_LINES
    )

    def __post_init__(self):
        super().__post_init__()
        if self.per_topic < 1:
            raise ValueError(f"--per_topic {self.per_topic}: must be at least 1")


@dataclass
class PairingOptions(Options):
    """Forget and retain examples"""

    pairing: str = flag(
        "random",
        "retain partner of a forget example: drawn per epoch, or upstream's fixed draw",
        choices=DRAWS,
    )
    idk_draw: str = flag("random", "refusal of a forget example: per epoch, or once", choices=DRAWS)
    alternates: str | None = flag(
        None,
        "altpo: JSON lines with question, answer, alternate (default: generated by the target)",
    )


@dataclass
class TrainingOptions(Options):
    """Training"""

    epochs: float = flag(10, "passes over the forget set", aliases=("--epoch",))
    steps: int | None = flag(None, "optimiser steps (default: epochs)")
    batch: int = flag(
        16,
        "forget examples a step, over all processes; as many retain examples",
        aliases=("--batch_size",),
    )
    micro_batch: int = flag(
        0,
        "examples per forward and process (0: all); changes memory, not results",
        role="volatile",
    )
    lr: float = flag(1e-5, "learning rate (AdamW)")
    weight_decay: float = flag(0.0, "AdamW weight decay")
    warmup: int = flag(0, "steps over which the learning rate rises")
    warmup_epochs: float = flag(0.0, "the same in epochs, where --warmup is 0")
    max_grad_norm: float = flag(1.0, "gradient clipping; 0: none, as upstream's DeepSpeed runs")
    save_steps: list[int] = flag(
        [],
        "steps after which the adapter or model is saved besides",
        aliases=("--save_eval_steps",),
    )
    checkpoint_every: int = flag(
        100, "steps between checkpoints that a killed run resumes from", role="volatile"
    )
    eval_steps: int = flag(
        0,
        f"steps between losses on {EVALUATED} forget and retain examples of the training data; 0: "
        "none",
        role="volatile",
    )
    stop: str = flag(
        "never", "flat: stop when forget term and gate loss no longer move", choices=STOPS
    )
    keep: str = flag(
        "last",
        "best: the weights with the highest forget loss of --eval_steps whose retain loss has not "
        "risen",
        choices=("last", "best"),
    )

    def __post_init__(self):
        super().__post_init__()
        self.require_positive("batch", "epochs", "lr")
        if self.keep == "best" and self.eval_steps < 1:
            raise ValueError(
                "--keep best needs losses to choose by; pass --eval_steps 10, for example"
            )


@dataclass
class RequestOptions(Options):
    """Requests"""

    splits: list[str] = flag(
        [], "the forget split of each request, in the order they come", role="key"
    )

    def check(self, target: TargetOptions) -> None:
        """Raise `ValueError` where the requests are missing, or named twice."""
        if not self.splits:
            raise ValueError("name the forget split of each request: --splits forget10a forget10b")
        if len(set(self.splits)) < len(self.splits):
            raise ValueError(
                f"--splits {' '.join(self.splits)}: every request needs a split of its own"
            )
        if target.split is not None:
            raise ValueError("--split is one request; name all of them with --splits")


@dataclass
class UnlearnConfig:
    """What every unlearning run by an objective is configured by."""

    run: RunOptions = group(RunOptions)
    data: DataOptions = group(DataOptions)
    target: TargetOptions = group(TargetOptions)
    prompts: PromptOptions = group(PromptOptions)
    objective: ObjectiveOptions = group(ObjectiveOptions)
    steering: SteeringOptions = group(SteeringOptions)
    corpora: CorpusOptions = group(CorpusOptions)
    pairing: PairingOptions = group(PairingOptions)
    training: TrainingOptions = group(TrainingOptions)

    def resolve(self) -> bool | None:
        """Fill in the objective, its retain term and the forget split; return whether upstream
        gates the objective of the given name, None for our names.

        Raises `ValueError` for an objective that reads refusals or other answers, on corpora."""
        is_gated = self.objective.resolve(default_objective(self.data.benchmark))
        resolve_split(self.target, self.data, self.corpora)
        name = self.objective.objective
        if reads_corpora(self.data) and OBJECTIVES[name].reads != ("forget",):
            allowed = [key for key, o in OBJECTIVES.items() if o.reads == ("forget",)]
            raise ValueError(
                f"--objective {name} is unknown on corpora, which have no questions to refuse; "
                f"choose one of {', '.join(allowed)}"
            )
        return is_gated


def reads_corpora(data: DataOptions) -> bool:
    """Whether the benchmark's unlearning data are texts by name, and not questions in splits."""
    return find_benchmark(data.benchmark).contents == "corpora"


def default_objective(benchmark: str) -> str:
    """The objective where none is asked for."""
    return "rmu" if find_benchmark(benchmark).contents == "corpora" else "gd"


def recipe_cell(values: dict, *keys: str) -> dict:
    """The cell that the recipes of an unlearning command are chosen by: benchmark, model,
    objective and further flags."""
    name = values["objective"] or default_objective(values["benchmark"])
    cell = {key: values[key] for key in ("benchmark", "model", *keys)}
    return cell | {"objective": resolve_objective(name)[0]}


def resolve_split(
    target: TargetOptions, data: DataOptions, corpora: CorpusOptions | None = None
) -> None:
    """Fill in the forget split: the one asked for, the benchmark's default, or the corpora's."""
    if corpora and reads_corpora(data):
        target.split = name_forget_split(corpora.forget_corpora)
    elif target.split is None:
        target.split = find_benchmark(data.benchmark).default_split

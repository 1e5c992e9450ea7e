"""One unlearning step: an objective evaluated through a tuner. The flags that every unlearning
method shares are here too.

A tuner decides which numbers may move. It says what its model answers, what the frozen model
answers, and may add a term of its own (GRUN's gate loss):

    say(batches) -> {name: AnswerLogits}            with gradients; batches of one step together, so that
                                            one forward can serve them all
    reference_forward(batch) -> AnswerLogits               without gradients, the model before unlearning
    auxiliary_losses({name: AnswerLogits}) -> {name: term} already weighted; added to the loss, never scaled by the
    warm-up
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from unlearn.benchmarks.base import Benchmark
from unlearn.benchmarks.opening import open_benchmark
from unlearn.config.flags import DataFlags, RunFlags, flag
from unlearn.config.run_directory import read_json, write_json
from unlearn.language_model.batches import AnswerLogits, Batch, pad
from unlearn.language_model.prompts import Encoded, PromptEncoder
from unlearn.processes import gather, is_main, share, wait
from unlearn.training.loop import TrainConfig, TrainEval
from unlearn.training.objectives import OBJECTIVES, OFFICIAL_NAMES, RETAIN_TERMS
from unlearn.training.sampler import ForgetRetainSampler, UnlearningExample
from unlearn.training.stopping import STOPS, rank, stop_rule

UNSET = None  # a value that the recipe gives, or that follows from others
CHOICES = {  # flags that are words
    "objective": tuple(OBJECTIVES),
    "retain_loss": ("none", *RETAIN_TERMS),
    "retain_reduction": ("token", "sequence_sum"),
    "kl_reduction": ("token", "batchmean_all"),
    "kl_mask": ("answer", "all"),
    "undial_mask": ("answer", "all"),
    "keep": ("last", "best"),
    "stop": STOPS,
}
# examples of the forget and of the retain set that a check during training takes its losses on
CHECKED = 64


@dataclass
class TargetFlags(RunFlags, DataFlags):
    """Which model is to forget what, and how it is asked."""

    model: str = flag(
        "tiny",
        "short name, hub id or folder of the architecture whose target is unlearned",
        role="key",
    )
    target: str | None = flag(
        UNSET,
        "the model to unlearn (default: runs/<benchmark>/<model>/full/target-seed42, made if missing)",
    )
    split: str = flag("forget10", "forget split", aliases=("--tofu_split",), role="key")
    retain_split: str | None = flag(
        UNSET,
        "retain split (default: what is left of the forget split)",
        aliases=("--input_return_split",),
    )
    tokenizer: str | None = flag(UNSET, "folder of the tokenizer, where it is not the target's")
    template: str | None = flag(
        UNSET, "prompt template: qa, llama2, text, or an official name (default: the model's own)"
    )
    prompt_style: str = flag(
        "finetune",
        "finetune: prompts as the target was tuned; grun: upstream's extra space before the newline",
    )
    label_start: str = flag(
        "answer",
        "answer: score answer + EOS; answer_tag: score 'Answer:' too, as upstream's baselines; all: the prompt too",
    )
    max_length: int = flag(512, "tokens of prompt + answer")


@dataclass
class UnlearnFlags(TargetFlags):
    """What every unlearning run can be told."""

    objective: str = flag(
        "gd",
        f"one of {', '.join(OBJECTIVES)}, or an official name (gated_npo_grad_diff, ...)",
        aliases=("--forget_loss_type",),
        role="key",
    )
    epochs: float = flag(10, "passes over the forget set", aliases=("--epoch",))
    steps: int | None = flag(UNSET, "optimiser steps (default: epochs)")
    batch: int = flag(
        16,
        "forget examples a step, over all processes; as many retain examples",
        aliases=("--batch_size",),
    )
    micro_batch: int = flag(
        0,
        "examples per forward and process (0: all at once); changes memory, not results",
        role="volatile",
    )
    lr: float = flag(1e-5, "learning rate (AdamW)")
    weight_decay: float = flag(0.0, "AdamW weight decay")
    warmup: int = flag(0, "steps over which the learning rate rises")
    warmup_epochs: float = flag(0.0, "the same in epochs, where --warmup is 0")
    max_grad_norm: float = flag(1.0, "gradient clipping; 0: none, as upstream's DeepSpeed runs")
    forget_weight: float = flag(1.0, "weight of the forget term")
    retain_weight: float = flag(1.0, "weight of the retain term")
    retain_loss: str | None = flag(UNSET, "none, nll, kl (default: the objective's own)")
    retain_reduction: str = flag(
        "token",
        "token: mean over tokens; sequence_sum: mean of sequence sums (upstream's manual_*)",
    )
    beta: float = flag(
        0.1,
        "inverse temperature of the preference losses; UNDIAL: what the true logit loses; WGA, SatImp: power of p; idk+ul: weight of ul",
    )
    gamma: float = flag(0.0, "margin of SimNPO; SatImp: power of 1 - p")
    kl_reduction: str = flag(
        "token", "token: mean over tokens; batchmean_all: sum over them / batch (upstream's WMDP)"
    )
    kl_mask: str = flag(
        "answer",
        "answer: KL on the answer; all: on the prompt too, as upstream (its padding left out)",
    )
    undial_mask: str = flag(
        "answer",
        "answer: UNDIAL on the answer; all: on the prompt too, as OpenUnlearning (its padding left out)",
    )
    pdu_shift: bool = flag(
        True,
        "PDU on the logits that predict the answer; --no-pdu_shift: one position later, as OpenUnlearning",
    )
    dual_rate: float = flag(5.0, "PDU: rate of the dual variable, which starts at --retain_weight")
    dual_bound: float = flag(0.3, "PDU: bound on the retain loss")
    dual_warmup: float = flag(5.0, "PDU: epochs before the dual variable moves")
    alternates: str | None = flag(
        UNSET,
        "AltPO: JSON lines with question, answer, alternate (default: generated by the target, once)",
    )
    pairing: str = flag(
        "random", "retain partner of an item: random per epoch; fixed: upstream's draw"
    )
    idk_draw: str = flag("random", "refusal of an item: random per epoch; fixed: drawn once")
    save_steps: list[int] = flag(
        [],
        "steps after which the adapter or model is saved besides",
        aliases=("--save_eval_steps",),
    )
    checkpoint_every: int = flag(
        100, "steps between checkpoints a killed run resumes from", role="volatile"
    )
    eval_steps: int = flag(
        0,
        f"steps between checks of the loss on {CHECKED} forget and retain examples of the training data; 0: none",
        role="volatile",
    )
    stop: str = flag(
        "never",
        "never, or flat: as soon as forget term and gate loss no longer move (unlearn/training/stopping.py)",
    )
    keep: str = flag(
        "last",
        "last, or best: the weights of the check with the highest forget loss whose retain loss has not risen",
    )

    def __post_init__(self):
        self.objective, gated = OFFICIAL_NAMES.get(self.objective, (self.objective, None))
        if gated is False and getattr(self, "gate", "none") != "none":
            self.gate = "none"
        if self.objective in OBJECTIVES:
            self.retain_loss = self.retain_loss or OBJECTIVES[self.objective].retain
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"--{name} {getattr(self, name)} is unknown; choose one of {', '.join(allowed)}"
                )
        for name in ("batch", "epochs", "lr", "max_length", "beta"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(
                    f"--{name} {getattr(self, name)}: must be greater than 0, and finite"
                )
        if self.keep == "best" and self.eval_steps < 1:
            raise ValueError("--keep best needs checks to choose from; pass --eval_steps 10, say")
        if OBJECTIVES[self.objective].dual and self.retain_loss != "nll":
            raise ValueError(
                f"--objective {self.objective} bounds the retain loss itself, so it goes with --retain_loss nll alone"
            )
        if self.objective == "kl" and self.retain_loss != "kl":
            raise ValueError(
                "--objective kl is gradient ascent with --retain_loss kl; for another retain term take --objective gd or ga"
            )


def open_benchmark_of(args: DataFlags) -> Benchmark:
    """The benchmark that the flags name."""
    sizes = {"authors": args.authors, "heldout": args.heldout}
    return open_benchmark(
        args.benchmark,
        data_dir=args.data_dir,
        data_seed=args.data_seed,
        idk_file=args.idk_file,
        **sizes,
    )


def build_sampler(args: UnlearnFlags, source: Benchmark) -> ForgetRetainSampler:
    """The run's batches: forget split, the retain examples an unlearning step may see, the
    refusals."""
    retain = source.unlearning_retain(args.split, args.retain_split)
    return ForgetRetainSampler(
        source.examples(args.split),
        retain,
        source.refusals,
        args.batch,
        args.seed,
        args.pairing,
        args.idk_draw,
    )


def build_train_config(args: UnlearnFlags, pairs: ForgetRetainSampler) -> TrainConfig:
    """How the run steps: --steps, or --epochs over the forget set."""
    steps = args.steps or round(args.epochs * pairs.steps_per_epoch)
    warmup = args.warmup or round(args.warmup_epochs * pairs.steps_per_epoch)
    return TrainConfig(
        steps,
        args.lr,
        args.weight_decay,
        warmup=warmup,
        max_grad_norm=args.max_grad_norm,
        micro_batch=args.micro_batch,
        checkpoint_every=args.checkpoint_every,
        save_steps=args.save_steps,
        seed=args.seed,
        stop=stop_rule(args.stop, pairs.steps_per_epoch),
    )


class UnlearningLoss:
    """loss = w_f F + w_r R + the tuner's own terms, as additive parts of a batch: call it with
    (part, whole, step)."""

    def __init__(
        self,
        args: UnlearnFlags,
        tuner,
        prompt_encoder: PromptEncoder,
        warmup: float = 0.0,
        dual_start: int = 0,
    ):
        """warmup: steps over which w_f F + w_r R is scaled from 0 to 1, min(step / warmup, 1); 0:
        no warm-up (spec 4.1). dual_start: the first step after which a dual variable moves. `state`
        is what a resumed run must know of the steps before."""
        self.args = args
        self.tuner = tuner
        self.prompt_encoder = prompt_encoder
        self.warmup = warmup
        self.dual_start = dual_start
        self.objective = OBJECTIVES[args.objective]
        self.retain_term = RETAIN_TERMS.get(args.retain_loss)  # None: no retain term
        self.reduction = args.kl_reduction if args.retain_loss == "kl" else args.retain_reduction
        self.state = {"dual": args.retain_weight} if self.objective.dual else {}
        self.frozen_nll: dict[str, float] = {}

    def __call__(
        self, part: list[UnlearningExample], whole: list[UnlearningExample], step: int
    ) -> dict[str, Tensor]:
        said = self.forward_answers(part, whole)
        asked = [said[name] for name in self.objective.reads]
        forget = self.args.forget_weight * self.objective.term(
            *asked, beta=self.args.beta, gamma=self.args.gamma
        )
        plain = (
            self.retain_term(said["retain"], self.reduction)
            if self.retain_term
            else forget.new_zeros(())
        )
        retain = self.state.get("dual", self.args.retain_weight) * plain
        omega = min(step / self.warmup, 1.0) if self.warmup else 1.0
        own = self.tuner.auxiliary_losses(said)
        parts = {
            "loss": omega * (forget + retain) + sum(own.values()),
            "forget": forget,
            "retain": retain,
        } | own
        return parts | ({"constrained": plain} if self.objective.dual else {})

    def after_step(self, step: int, parts: dict[str, float]) -> None:
        """PDU: lambda <- max(0, lambda + rate (R - bound)), once per optimiser step, with R of the
        whole batch."""
        if self.objective.dual and step >= self.dual_start:
            self.state["dual"] = max(
                0.0,
                self.state["dual"]
                + self.args.dual_rate * (parts["constrained"] - self.args.dual_bound),
            )

    def check(self, pairs: ForgetRetainSampler) -> TrainEval | None:
        """What --eval_steps asks for: CE_tok of true answers on a slice of the forget and the
        retain set."""
        if not self.args.eval_steps:
            return None

        def losses(
            part: list[UnlearningExample], whole: list[UnlearningExample]
        ) -> dict[str, Tensor]:
            names = ("forget", "retain")
            encoded = self.encode(part, names)
            everything = self.encode(whole, names)
            said = self.tuner.forward_answers({name: self.batch(encoded[name]) for name in names})
            return {
                name: (s := said[name].part_of(everything[name])).token_mean(s.nll)
                for name in names
            }

        return TrainEval(
            pairs.slice(CHECKED), losses, self.args.eval_steps, rank, self.args.keep == "best"
        )

    @property
    def passes(self) -> tuple[str, ...]:
        """The names of what a step reads: nothing that neither the objective nor the tuner asks for
        is computed."""
        return (
            *self.objective.reads,
            *(["retain"] if self.retain_term or self.tuner.needs_retain else []),
        )

    def encode(
        self, items: list[UnlearningExample], names: Iterable[str]
    ) -> dict[str, list[Encoded]]:
        """The token ids of some passes, scored as the flags say."""
        pair = {
            "forget": lambda item: (item.forget.question, item.forget.answer),
            "idk": lambda item: (item.forget.question, item.refusal),
            "alternate": lambda item: (item.forget.question, item.alternate),
            "retain": lambda item: (item.retain.question, item.retain.answer),
        }
        return {
            name: [
                self.scored(name, self.prompt_encoder.encode(*pair[name](item))) for item in items
            ]
            for name in names
        }

    def scored(self, name: str, e: Encoded) -> Encoded:
        """The same ids with the upstream's choice of scored positions, where a parity switch asks
        for it."""
        a = self.args
        if (name == "forget" and a.objective == "undial" and a.undial_mask == "all") or (
            name == "retain" and a.retain_loss == "kl" and a.kl_mask == "all"
        ):
            return replace(e, scored_from=1)
        if (
            name == "forget" and a.objective == "pdu" and not a.pdu_shift
        ):  # one more id: the logits after EOS predict something too
            return replace(e, ids=[*e.ids, e.ids[-1]], scored_from=e.scored_from + 1)
        return e

    def forward_answers(
        self, part: list[UnlearningExample], whole: list[UnlearningExample]
    ) -> dict[str, AnswerLogits]:
        """What the tuned model says on each pass, with the frozen model's word where the objective
        needs it."""
        batches = {
            name: self.batch(encoded) for name, encoded in self.encode(part, self.passes).items()
        }
        whole_encoded = (
            self.encode(whole, self.passes)
            if len(whole) > len(part)
            else {name: b.encoded for name, b in batches.items()}
        )
        said = {
            name: s.part_of(whole_encoded[name])
            for name, s in self.tuner.forward_answers(batches).items()
        }
        if self.objective.reference == "nll":
            said |= {
                name: replace(said[name], reference_nll=self.reference_nll(batches[name]))
                for name in self.objective.reads
            }
        with_logits = [
            *(self.objective.reads if self.objective.reference == "logits" else ()),
            *(["retain"] if self.args.retain_loss == "kl" else []),
        ]
        return said | {
            name: replace(
                said[name], reference_logits=self.tuner.reference_forward(batches[name]).logits
            )
            for name in with_logits
        }

    def batch(self, encoded: list[Encoded]) -> Batch:
        return pad(encoded, self.prompt_encoder.tokenizer.pad_token_id, self.tuner.device)

    def reference_nll(self, batch: Batch) -> Tensor:
        """[B]: S_ref, a constant of each example, computed once and kept."""
        keys = [key_of(e) for e in batch.encoded]
        missing = [
            e for e, key in zip(batch.encoded, keys, strict=True) if key not in self.frozen_nll
        ]
        if missing:
            fresh = self.tuner.reference_forward(self.batch(missing)).nll_sum.tolist()
            self.frozen_nll |= dict(zip(map(key_of, missing), fresh, strict=True))
        return torch.tensor([self.frozen_nll[key] for key in keys], device=self.tuner.device)

    def precompute_reference_nll(
        self, batches: Iterable[list[UnlearningExample]], path: Path
    ) -> None:
        """Compute S_ref of all that these batches read before the first step, or take it from
        `path`, where it is kept.

        For tuners whose model is its own reference only until it moves, and for sharded ones, whose
        processes must run in step."""
        if self.objective.reference != "nll":
            return
        if path.exists():
            self.frozen_nll = read_json(path)
            return
        asked = {
            key_of(e): e
            for items in batches
            for encoded in self.encode(items, self.objective.reads).values()
            for e in encoded
        }
        mine = sorted(share(list(asked.values())), key=lambda e: -len(e.ids))
        size = self.args.micro_batch or self.args.batch
        for i in range(0, len(mine), size):
            self.reference_nll(self.batch(mine[i : i + size]))
        self.frozen_nll = dict(gather(list(self.frozen_nll.items())))
        if is_main():
            write_json(path, self.frozen_nll)
        wait()


def key_of(e: Encoded) -> str:
    """What names an example in a file: a digest of its ids and of where scoring begins."""
    return sha256(f"{e.ids} {e.scored_from}".encode()).hexdigest()[:24]

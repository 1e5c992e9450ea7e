"""One unlearning step: an objective evaluated through a tuner. The flags that every unlearning method shares are here too.

A tuner decides which numbers may move. It says what its model answers, what the frozen model answers, and may add a term of its own
(GRUN's gate loss):

    say(batches) -> {name: Said}            with gradients; batches of one step together, so that one forward can serve them all
    say_frozen(batch) -> Said               without gradients, the model before unlearning
    own_terms({name: Said}) -> {name: term} already weighted; added to the loss, never scaled by the warm-up
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unlearn.batches import Batch, Said, pad
from unlearn.data import Source, open_source
from unlearn.flags import DataFlags, RunFlags, flag
from unlearn.loop import Plan
from unlearn.objectives import OBJECTIVES, OFFICIAL_NAMES, RETAIN_TERMS
from unlearn.pairing import Item, Pairs
from unlearn.prompts import Encoded, Prompter

UNSET = None  # a value that the recipe gives, or that follows from others


@dataclass
class UnlearnFlags(RunFlags, DataFlags):
    """What every unlearning run can be told."""

    model: str = flag("tiny", "short name, hub id or folder of the architecture whose target is unlearned", role="key")
    target: str | None = flag(UNSET, "the model to unlearn (default: runs/<benchmark>/<model>/full/target-seed42, made if missing)")
    objective: str = flag("gd", f"one of {', '.join(OBJECTIVES)}, or an official name (gated_npo_grad_diff, ...)", aliases=("--forget_loss_type",), role="key")
    split: str = flag("forget10", "forget split", aliases=("--tofu_split",), role="key")
    retain_split: str | None = flag(UNSET, "retain split (default: what is left of the forget split)", aliases=("--input_return_split",))
    template: str | None = flag(UNSET, "prompt template: qa, llama2, or an official name (default: the model's own)")
    prompt_style: str = flag("finetune", "finetune: prompts as the target was tuned; grun: upstream's extra space before the newline")
    label_start: str = flag("answer", "answer: score answer + EOS; answer_tag: score 'Answer:' too, as upstream's baselines")
    max_length: int = flag(512, "tokens of prompt + answer")
    epochs: float = flag(10, "passes over the forget set", aliases=("--epoch",))
    steps: int | None = flag(UNSET, "optimiser steps (default: epochs)")
    batch: int = flag(16, "forget examples a step, over all processes; as many retain examples", aliases=("--batch_size",))
    micro_batch: int = flag(0, "examples per forward and process (0: all at once); changes memory, not results", role="volatile")
    lr: float = flag(1e-5, "learning rate (AdamW)")
    weight_decay: float = flag(0.0, "AdamW weight decay")
    warmup: int = flag(0, "steps over which the learning rate rises")
    max_grad_norm: float = flag(1.0, "gradient clipping; 0: none, as upstream's DeepSpeed runs")
    forget_weight: float = flag(1.0, "weight of the forget term")
    retain_weight: float = flag(1.0, "weight of the retain term")
    retain_loss: str | None = flag(UNSET, "none, nll, kl (default: the objective's own)")
    retain_reduction: str = flag("token", "token: mean over tokens; sequence_sum: mean of sequence sums (upstream's manual_*)")
    beta: float = flag(0.1, "inverse temperature of NPO and IdkPO")
    gamma: float = flag(0.0, "margin of SimNPO")
    pairing: str = flag("random", "retain partner of an item: random per epoch; fixed: upstream's draw")
    idk_draw: str = flag("random", "refusal of an item: random per epoch; fixed: drawn once")
    save_steps: list[int] = flag([], "steps after which the adapter or model is saved besides", aliases=("--save_eval_steps",))
    checkpoint_every: int = flag(100, "steps between checkpoints a killed run resumes from", role="volatile")

    def __post_init__(self):
        self.objective, gated = OFFICIAL_NAMES.get(self.objective, (self.objective, None))
        if gated is False and getattr(self, "gate", "none") != "none":
            self.gate = "none"
        for name, allowed in (("objective", OBJECTIVES), ("retain_loss", [None, "none", *RETAIN_TERMS]), ("retain_reduction", ["token", "sequence_sum"])):
            if getattr(self, name) not in allowed:
                raise ValueError(f"--{name} {getattr(self, name)} is unknown; choose one of {', '.join(map(str, allowed))}")
        for name in ("batch", "epochs", "lr", "max_length"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"--{name} {getattr(self, name)}: must be greater than 0, and finite")
        self.retain_loss = self.retain_loss or OBJECTIVES[self.objective].retain


def source_of(args: DataFlags) -> Source:
    """The benchmark that the flags name."""
    sizes = {"authors": args.authors, "heldout": args.heldout}
    return open_source(args.benchmark, data_dir=args.data_dir, data_seed=args.data_seed, idk_file=args.idk_file, **sizes)


def pairs_of(args: UnlearnFlags, source: Source) -> Pairs:
    """The run's batches: forget split, the retain examples an unlearning step may see, the refusals."""
    retain = source.unlearning_retain(args.split, args.retain_split)
    return Pairs(source.examples(args.split), retain, source.idk, args.batch, args.seed, args.pairing, args.idk_draw)


def plan_of(args: UnlearnFlags, pairs: Pairs) -> Plan:
    """How the run steps: --steps, or --epochs over the forget set."""
    steps = args.steps or round(args.epochs * pairs.steps_per_epoch)
    return Plan(
        steps, args.lr, args.weight_decay, warmup=args.warmup, max_grad_norm=args.max_grad_norm, micro_batch=args.micro_batch,
        checkpoint_every=args.checkpoint_every, save_steps=args.save_steps, seed=args.seed,
    )  # fmt: skip


class Unlearning:
    """loss = w_f F + w_r R + the tuner's own terms, as additive parts of a batch: call it with (part, whole, step)."""

    def __init__(self, args: UnlearnFlags, tuner, prompter: Prompter, warmup: float = 0.0):
        """warmup: steps over which w_f F + w_r R is scaled from 0 to 1, min(step / warmup, 1); 0: no warm-up (spec 4.1)."""
        self.args, self.tuner, self.prompter, self.warmup = args, tuner, prompter, warmup
        self.objective = OBJECTIVES[args.objective]
        self.retain_term = RETAIN_TERMS.get(args.retain_loss)  # None: no retain term
        self.frozen_nll: dict[tuple[int, ...], float] = {}

    def __call__(self, part: list[Item], whole: list[Item], step: int) -> dict[str, Tensor]:
        said = self.say(part, whole)
        asked = [said[name] for name in self.objective.reads]
        forget = self.args.forget_weight * self.objective.term(*asked, beta=self.args.beta, gamma=self.args.gamma)
        retain = forget.new_zeros(())
        if self.retain_term:
            retain = self.args.retain_weight * self.retain_term(said["retain"], self.args.retain_reduction)
        omega = min(step / self.warmup, 1.0) if self.warmup else 1.0
        own = self.tuner.own_terms(said)
        return {"loss": omega * (forget + retain) + sum(own.values()), "forget": forget, "retain": retain} | own

    def encode(self, items: list[Item]) -> dict[str, list[Encoded]]:
        """The passes this objective reads, by name."""
        passes = {
            "forget": lambda item: self.prompter.encode(item.forget.question, item.forget.answer),
            "idk": lambda item: self.prompter.encode(item.forget.question, item.refusal),
            "retain": lambda item: self.prompter.encode(item.retain.question, item.retain.answer),
        }
        names = [*self.objective.reads, *(["retain"] if self.retain_term or self.tuner.needs_retain else [])]
        return {name: [passes[name](item) for item in items] for name in names}

    def say(self, part: list[Item], whole: list[Item]) -> dict[str, Said]:
        """What the tuned model says on each pass, with the frozen model's word where the objective needs it."""
        batches = {name: self.batch(encoded) for name, encoded in self.encode(part).items()}
        whole_encoded = self.encode(whole) if len(whole) > len(part) else {name: b.encoded for name, b in batches.items()}
        said = {name: s.part_of(whole_encoded[name]) for name, s in self.tuner.say(batches).items()}
        for name in self.objective.reads if self.objective.reference else ():
            said[name] = replace(said[name], reference_nll=self.reference_nll(batches[name]))
        if self.args.retain_loss == "kl":
            said["retain"] = replace(said["retain"], reference_logits=self.tuner.say_frozen(batches["retain"]).logits)
        return said

    def batch(self, encoded: list[Encoded]) -> Batch:
        return pad(encoded, self.prompter.tokenizer.pad_token_id, self.tuner.device)

    def reference_nll(self, batch: Batch) -> Tensor:
        """[B]: S_ref, a constant of each example, computed once and kept."""
        keys = [tuple(e.ids) for e in batch.encoded]
        missing = [e for e, key in zip(batch.encoded, keys, strict=True) if key not in self.frozen_nll]
        if missing:
            fresh = self.tuner.say_frozen(self.batch(missing)).nll_sum.tolist()
            self.frozen_nll |= dict(zip((tuple(e.ids) for e in missing), fresh, strict=True))
        return torch.tensor([self.frozen_nll[key] for key in keys], device=self.tuner.device)

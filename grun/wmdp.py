"""GRUN on corpora: plain texts are cut in two, the gate and the edit sit at the cut, and the losses
read what follows.

python -m grun.train --benchmark wmdp --objective gated_rmu                  around RMU; also
                                                                             gated_rmu_kl,
                                                                             gated_npo_kl,
                                                                             gated_npo_grad_diff
python -m grun.train --benchmark wmdp --model llama3.1-8b --forget_loss_type gated_rmu
--forget_corpora bio-forget-corpus,cyber-forget-corpus

loss = omega (w_f F + w_r R) + lambda_g L_gate;   p = int(.8 n) of n tokens, the edit at token p -
                                                  1, M = {t >= p}    (spec 4.3)
rmu       F = mean over M (--steer_edit: and p - 1) and d of (H - s u)^2,  R = mean over M and d of
          (H - H_frozen)^2,  H the output of block --rmu_layer
rmu_kl    R = KL(p_frozen || p) on retain texts;   npo_kl: F of NPO;   npo: F of NPO, R = CE_tok
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from grun.engines.tuner import GrunTuner
from unlearn.benchmarks.wmdp import CORPUS_LINES
from unlearn.config.flags import flag
from unlearn.language_model.architecture import get_hidden_size
from unlearn.language_model.batches import AnswerLogits, Batch, pad
from unlearn.language_model.prompts import Encoded
from unlearn.training.loss import open_benchmark_of
from unlearn.training.objectives import npo, retain_kl, retain_nll
from unlearn.training.sampler import ForgetRetainSampler, UnlearningExample
from unlearn.training.steering import control_vectors

OBJECTIVES = {"rmu": "states", "rmu_kl": "kl", "npo_kl": "kl", "npo": "nll"}  # -> their retain term
NAMES = {
    "gated_rmu": "rmu",
    "gated_rmu_kl": "rmu_kl",
    "gated_npo_kl": "npo_kl",
    "gated_npo_grad_diff": "npo",
    "npo_grad_diff": "npo",
}
CUT = 0.8
PER_TOPIC = 1000  # texts of each topic, a shorter corpus over again: upstream's (spec 1.5)


@dataclass
class CorpusFlags:
    """What GRUN on corpora can be told besides."""

    forget_corpora: list[str] = flag(
        ["bio-forget-corpus", "cyber-forget-corpus"],
        "what to forget, one corpus a topic (unlearn/benchmarks/corpora.py)",
        role="key",
    )
    retain_corpora: list[str] = flag(["wikitext"], "what to keep; as upstream, the first alone")
    per_topic: int = flag(PER_TOPIC, "texts of each topic, a shorter corpus over again")
    min_len: int = flag(0, "characters that a text must exceed")
    corpus_lines: str = flag("parsed", "parsed: the field text; raw: whole lines")
    rmu_layer: int | None = flag(
        None, "the block whose output is steered; above every edited one (default: the last)"
    )
    rmu_index: str = flag(
        "block", "block: the output of that block; hidden_states: its input, as upstream"
    )
    steer_edit: bool = flag(
        False,
        "rmu: M holds the edited token too, the one that a question's answer is read from; upstream's does not",
    )
    steering_coeff: float = flag(6.5, "length of the control vector")
    reft_class: str | None = flag(None, "upstream's word for the gate: gated_linear")

    def check_corpora(self) -> None:
        """Raises `ValueError` on impossible choices."""
        for name, allowed in (
            ("rmu_index", ("block", "hidden_states")),
            ("corpus_lines", CORPUS_LINES),
            ("reft_class", (None, "gated_linear")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"--{name} {getattr(self, name)} is unknown; choose one of {', '.join(map(str, allowed))}"
                )
        if self.per_topic < 1:
            raise ValueError(f"--per_topic {self.per_topic}: must be at least 1")

    def measured(self, layers: list[int], depth: int) -> int:
        """The block whose output is steered. Raises `ValueError` where an edit could not reach it
        (spec 4.3)."""
        layer = depth - 1 if self.rmu_layer is None else self.rmu_layer
        if not 0 < layer < depth:
            raise ValueError(f"--rmu_layer {layer} is outside this model's 1..{depth - 1}")
        if (
            self.rmu_index == "block"
            and not self.steer_edit
            and self.objective.startswith("rmu")
            and layers[-1] >= layer
        ):
            raise ValueError(
                f"--layers {layers[-1]} is not below the steered block {layer}: what it adds to the last prompt token cannot reach the tokens after it "
                "there, so it would stay as it was drawn; edit lower layers, or pass --steer_edit, or --rmu_index hidden_states to do as upstream"
            )
        return layer if self.rmu_index == "block" else layer - 1


def cut(ids: list[int]) -> Encoded:
    """A text of n tokens: the prompt is its first int(.8 n), the last of which is edited; the rest
    is scored, without EOS."""
    return Encoded(ids, max(1, int(CUT * len(ids))))


def build_sampler(args, tokenizer) -> ForgetRetainSampler:
    """The run's batches: per_topic texts of every topic in the order of the flags, and the first
    retain corpus."""
    benchmark = open_benchmark_of(args)

    def encoded(name: str, most: int | None = None) -> list[Encoded]:
        ids = tokenizer(
            benchmark.corpus(name, args.min_len, args.corpus_lines)[:most],
            truncation=True,
            max_length=args.max_length,
        )["input_ids"]
        found = [cut(own) for own in ids if len(own) > 1]
        if not found:
            raise ValueError(f"the corpus {name} has no text of two tokens or more")
        return found

    topics = [encoded(name, args.per_topic) for name in args.forget_corpora]
    forget = [own[i % len(own)] for own in topics for i in range(args.per_topic)]
    return ForgetRetainSampler(
        forget, encoded(args.retain_corpora[0]), [""], args.batch, args.seed, args.pairing
    )


class CorpusLosses:
    """Call it with (part, whole, step), as `unlearn.training.loop.train` does."""

    def __init__(self, args, tuner: GrunTuner, layer: int, pad_id: int, warmup: float = 0.0):
        """layer: the block whose output rmu steers."""
        self.args = args
        self.tuner = tuner
        self.layer = layer
        self.pad_id = pad_id
        self.warmup = warmup
        self.steers = args.objective.startswith("rmu")
        self.retain = args.retain_loss
        self.goal = args.steering_coeff * control_vectors(
            get_hidden_size(tuner.model), 1, args.seed
        )[0].to(tuner.device)

    def __call__(
        self, part: list[UnlearningExample], whole: list[UnlearningExample], step: int
    ) -> dict[str, Tensor]:
        args = self.args
        everything = {name: self.encode(whole, name) for name in ("forget", "retain")}
        batches = {
            name: pad(self.encode(part, name), self.pad_id, self.tuner.device)
            for name in everything
        }
        answers = self.tuner.forward_answers(batches, self.layer if self.steers else None)
        said = {name: own.part_of(everything[name]) for name, own in answers.items()}
        if self.steers:
            forget = self.error(
                said["forget"].states, self.goal, batches["forget"], whole, "forget"
            )
        else:
            frozen = self.tuner.reference_forward(batches["forget"]).nll_sum
            forget = npo(replace(said["forget"], reference_nll=frozen), beta=args.beta)
        retain = self.retain_term(said["retain"], batches["retain"], whole)
        forget = args.forget_weight * forget
        retain = args.retain_weight * retain
        own = self.tuner.auxiliary_losses(said)
        omega = min(step / self.warmup, 1.0) if self.warmup else 1.0
        return {
            "loss": omega * (forget + retain) + sum(own.values()),
            "forget": forget,
            "retain": retain,
        } | own

    def encode(self, items: list[UnlearningExample], name: str) -> list[Encoded]:
        """The texts of one side; where states are read, with one more id, since a model is run on
        all tokens but the last."""
        own = [getattr(item, name) for item in items]
        if name == "retain" and self.retain == "kl" and self.args.kl_mask == "all":
            return [replace(e, scored_from=1) for e in own]
        return [replace(e, ids=[*e.ids, e.ids[-1]]) for e in own] if self.steers else own

    def error(
        self, h: Tensor, target: Tensor, batch: Batch, whole: list[UnlearningExample], name: str
    ) -> Tensor:
        """Mean over M and d of (h - target)^2, in float32, by the counts of the whole batch; the
        edited token itself is in M on demand alone."""
        edited = int(self.args.steer_edit)
        counted = torch.cat(
            [
                batch.example_index.new_zeros(1).bool(),
                batch.example_index[1:] == batch.example_index[:-1],
            ]
        ) | bool(edited)
        count = sum(
            len(e.ids) - e.prompt_length + edited for e in (getattr(item, name) for item in whole)
        )
        return ((h.float() - target.float()).pow(2).mean(-1) * counted).sum() / count

    def retain_term(
        self, said: AnswerLogits, batch: Batch, whole: list[UnlearningExample]
    ) -> Tensor:
        if self.retain == "states":
            reference = self.tuner.reference_forward(batch, self.layer).states
            return self.error(said.states, reference, batch, whole, "retain")
        if self.retain == "kl":
            return retain_kl(
                replace(said, reference_logits=self.tuner.reference_forward(batch).logits),
                self.args.kl_reduction,
            )
        return (
            retain_nll(said, self.args.retain_reduction)
            if self.retain == "nll"
            else said.logits.new_zeros(())
        )

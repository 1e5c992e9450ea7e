"""The loss of unlearning: one objective, evaluated through one tuner.

loss = omega (w_f F + w_r R) + the tuner's auxiliary losses
omega = min(step / warmup, 1), or 1 without a warm-up
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from unlearn.config.files import read_json, write_json
from unlearn.config.flags import flag_values
from unlearn.language_model.architecture import get_hidden_size
from unlearn.language_model.batches import AnswerLogits, Batch, pad
from unlearn.language_model.prompts import Encoded
from unlearn.processes import gather, is_main, share, wait
from unlearn.training.objective_options import ObjectiveOptions, SteeringOptions
from unlearn.training.objectives import OBJECTIVES, RETAIN_TERMS
from unlearn.training.protocols import Tuner
from unlearn.training.sampler import UnlearningExample
from unlearn.training.steering import control_vectors

Encode = Callable[[UnlearningExample, str], Encoded]


class UnlearningLoss:
    """Call it with (part, whole, step): the loss parts of some items of a batch."""

    def __init__(
        self,
        options: ObjectiveOptions,
        tuner: Tuner,
        encode: Encode,
        pad_id: int,
        *,
        steering: SteeringOptions | None = None,
        steered_layer: int | None = None,
        seed: int = 0,
        warmup: float = 0.0,
        dual_start: int = 0,
    ):
        """encode(item, pass) -> the token ids of that pass (`forget`, `idk`, `alternate`,
        `retain`); warmup: steps over which omega rises; steered_layer: the decoder layer whose
        output the objective steers; seed: of its control vector; dual_start: the first step after
        which a dual variable moves."""
        self.options = options
        self.tuner = tuner
        self.encode_pass = encode
        self.pad_id = pad_id
        self.warmup = warmup
        self.dual_start = dual_start
        self.objective = OBJECTIVES[options.objective]
        self.retain_term = RETAIN_TERMS.get(options.retain_loss)  # None: no retain term
        self.values = flag_values(options) | flag_values(steering or SteeringOptions())
        self.state_layer = steered_layer if self.objective.steers else None
        self.forget_parameters = self.parameters(self.objective.parameters)
        if self.objective.steers:
            (direction,) = control_vectors(get_hidden_size(tuner.model), 1, seed)
            control_vector = self.values["steering_coeff"] * direction
            self.forget_parameters["control_vector"] = control_vector.to(tuner.device)
        self.state = {"dual": options.retain_weight} if self.objective.dual else {}
        self.known_reference_nll: dict[str, float] = {}

    def parameters(self, flags: dict[str, str]) -> dict:
        """Argument -> value, for a term whose arguments come from these flags."""
        return {argument: self.values[flag] for argument, flag in flags.items()}

    def __call__(
        self, part: list[UnlearningExample], whole: list[UnlearningExample], step: int
    ) -> dict[str, Tensor]:
        answers = self.forward_answers(part, whole, step)
        passes = [answers[name] for name in self.objective.reads]
        forget = self.options.forget_weight * self.objective.term(*passes, **self.forget_parameters)
        constrained = forget.new_zeros(())
        if self.retain_term:
            parameters = self.parameters(self.retain_term.parameters)
            constrained = self.retain_term.term(answers["retain"], **parameters)
        retain = self.state.get("dual", self.options.retain_weight) * constrained
        omega = min(step / self.warmup, 1.0) if self.warmup else 1.0
        auxiliary = self.tuner.auxiliary_losses(answers)
        loss = omega * (forget + retain) + sum(auxiliary.values())
        parts = {"loss": loss, "forget": forget, "retain": retain, **auxiliary}
        parts |= mean_gates(answers)
        return parts | ({"constrained": constrained} if self.objective.dual else {})

    def after_step(self, step: int, parts: dict[str, float]) -> None:
        """Move PDU's dual variable once per optimiser step, by the retain loss R of the whole
        batch: lambda <- max(0, lambda + rate (R - bound))."""
        if self.objective.dual and step >= self.dual_start:
            violation = parts["constrained"] - self.options.dual_bound
            moved = self.state["dual"] + self.options.dual_rate * violation
            self.state["dual"] = max(0.0, moved)

    @property
    def passes(self) -> tuple[str, ...]:
        """The passes that a step runs: none that neither the objective nor the tuner reads."""
        needs_retain = self.retain_term or self.tuner.needs_retain
        return (*self.objective.reads, *(["retain"] if needs_retain else []))

    def encode(
        self, items: list[UnlearningExample], passes: Iterable[str]
    ) -> dict[str, list[Encoded]]:
        """The token ids of some passes, with the scored positions that the flags ask for."""
        return {
            name: [self.scored(name, self.encode_pass(item, name)) for item in items]
            for name in passes
        }

    def scored(self, name: str, encoded: Encoded) -> Encoded:
        """The same ids, with upstream's choice of scored positions where a flag asks for it."""
        options = self.options
        undial_on_all = (
            name == "forget" and options.objective == "undial" and options.undial_mask == "all"
        )
        kl_on_all = name == "retain" and options.retain_loss == "kl" and options.kl_mask == "all"
        if undial_on_all or kl_on_all:
            return replace(encoded, scored_from=1)
        one_more = [*encoded.ids, encoded.ids[-1]]
        if name == "forget" and options.objective == "pdu" and not options.pdu_shift:
            # The logits after EOS predict something too.
            return replace(encoded, ids=one_more, scored_from=encoded.scored_from + 1)
        if self.objective.steers:
            # A model is run on all tokens but the last, and the last one's state is steered too.
            return replace(encoded, ids=one_more)
        return encoded

    def forward_answers(
        self, part: list[UnlearningExample], whole: list[UnlearningExample], step: int
    ) -> dict[str, AnswerLogits]:
        """The tuned model's answers on each pass, with what the terms read of the frozen model."""
        encoded = self.encode(part, self.passes)
        numbers = [whole.index(item) for item in part]
        batches = {
            name: self.batch(examples, [f"{step} {name} {number}" for number in numbers])
            for name, examples in encoded.items()
        }
        everything = self.encode(whole, self.passes) if len(whole) > len(part) else encoded
        answers = {
            name: answer.part_of(everything[name])
            for name, answer in self.tuner.forward_answers(batches, self.state_layer).items()
        }
        for name in self.objective.reads:
            if self.objective.reference == "nll":
                nll = self.reference_nll(batches[name])
                answers[name] = replace(answers[name], reference_nll=nll)
            if self.objective.reference == "logits":
                answers[name] = self.with_reference(answers[name], batches[name], "logits")
        if self.retain_term and self.retain_term.reference:
            reference = self.retain_term.reference
            answers["retain"] = self.with_reference(answers["retain"], batches["retain"], reference)
        return answers

    def with_reference(self, answers: AnswerLogits, batch: Batch, kind: str) -> AnswerLogits:
        """The same answers, with the `logits` or the `states` of the frozen model."""
        if kind == "states":
            reference = self.tuner.reference_forward(batch, self.state_layer)
            return replace(answers, reference_states=reference.states)
        return replace(answers, reference_logits=self.tuner.reference_forward(batch).logits)

    def batch(self, encoded: list[Encoded], keys: Sequence[str] = ()) -> Batch:
        """The examples, padded, on the tuner's device."""
        return pad(encoded, self.pad_id, self.tuner.device, keys)

    def reference_nll(self, batch: Batch) -> Tensor:
        """[B]: S_ref, the frozen model's -log p of each answer, computed once per example."""
        keys = [example_key(e) for e in batch.encoded]
        known = self.known_reference_nll
        missing = [e for e, key in zip(batch.encoded, keys, strict=True) if key not in known]
        if missing:
            values = self.tuner.reference_forward(self.batch(missing)).nll_sum.tolist()
            known |= dict(zip(map(example_key, missing), values, strict=True))
        return torch.tensor([known[key] for key in keys], device=self.tuner.device)

    def precompute_reference_nll(
        self, batches: Iterable[list[UnlearningExample]], path: Path, batch_size: int
    ) -> None:
        """Compute S_ref of all that these batches read, or read it from `path`, where it is kept.

        For tuners whose model is its own reference only until it moves, and for sharded ones, whose
        processes must run in step."""
        if self.objective.reference != "nll":
            return
        if path.exists():
            self.known_reference_nll = read_json(path)
            return
        examples = {
            example_key(e): e
            for items in batches
            for encoded in self.encode(items, self.objective.reads).values()
            for e in encoded
        }
        mine = sorted(share(list(examples.values())), key=lambda e: -len(e.ids))
        for start in range(0, len(mine), batch_size):
            self.reference_nll(self.batch(mine[start : start + batch_size]))
        self.known_reference_nll = dict(gather(list(self.known_reference_nll.items())))
        if is_main():
            write_json(path, self.known_reference_nll)
        wait()


def mean_gates(answers: dict[str, AnswerLogits]) -> dict[str, Tensor]:
    """gate_forget, gate_retain: the mean gate over layers and examples, in [0, 1], for the log;
    nothing where no gate was read. Any pass over the forget prompts has the same gates."""
    sides = {"forget": answers.get("forget", answers.get("idk")), "retain": answers.get("retain")}
    means = {}
    for name, side in sides.items():
        if side is not None and side.gate_logits is not None:
            gates = side.gate_logits.detach().sigmoid()
            means[f"gate_{name}"] = gates.sum() / (len(gates) * side.examples)
    return means


def example_key(encoded: Encoded) -> str:
    """A digest of an example's ids and of where scoring begins, to name it in a file."""
    return sha256(f"{encoded.ids} {encoded.scored_from}".encode()).hexdigest()[:24]

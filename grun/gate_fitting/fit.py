"""Fit the closed-form gate (`grun.adapter.metric_gate`) to a forget set: contexts of every entity,
their hidden states, centroids, threshold.

An entity is the name a row is about (`Example.entity`): its state is that of the last token of the
name in the prompt. A row whose question does not hold the name, or a data set without names, is
keyed by its own last prompt token instead. Negatives are further names: known ones (retain) and
swapped ones, the first name of one known person with the last name of another; the validation
slice, a fifth of either, is kept from the covariance and sets the threshold. Prompts use training
forms only (`unlearn.synthetic.training_variants`)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from grun.adapter.metric_gate import MetricGate, fit_metric_gate, threshold
from unlearn.benchmarks.examples import Example
from unlearn.language_model.hidden_states import compute_states, right_pad
from unlearn.language_model.prompts import PromptEncoder
from unlearn.synthetic.training_variants import (
    LEADS,
    NAMED_FIRST,
    SUFFIXES,
    join_pairs,
    list_phrasings,
    list_spellings,
)

SWAPPED, CONTEXTS, VALIDATION, FORMS = (
    200,
    24,
    0.2,
    8,
)  # swapped names; contexts of a name that is a negative; share of them that is held out; `context`


@dataclass(frozen=True)
class Context:
    """One prompt: its ids, the token whose state stands for the entity, and the entity (or, without
    one, the row)."""

    ids: list[int]
    position: int
    group: str


@torch.no_grad()
def states_of(
    model: nn.Module, layer: int, prompts: Sequence[list[int]], batch: int = 64
) -> list[Tensor]:
    """Output of decoder block `layer` on every prompt: [T_b, d] float32 on the CPU. The blocks
    above it are not run."""
    found: list = [None] * len(prompts)
    device = next(model.parameters()).device
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        for i, h in zip(
            chosen,
            compute_states(model, layer, *right_pad([prompts[i] for i in chosen], 0, device))
            .float()
            .cpu(),
            strict=True,
        ):
            found[i] = h[: len(prompts[i])]
    return found


def name_token(
    prompt_encoder: PromptEncoder, question: str, name: str, answer: str = ""
) -> int | None:
    """Index of the last token of `name`: in the first place where it stands in the prompt, or,
    given an answer, in the last one of prompt and answer; None where it stands nowhere."""
    text = prompt_encoder.answered(question, answer) if answer else prompt_encoder.text(question)
    if name not in text:
        return None
    end = (text.rfind(name) if answer else text.find(name)) + len(name)
    encoded = prompt_encoder.tokenizer(text, return_offsets_mapping=True)
    return max(i for i, (a, b) in enumerate(encoded["offset_mapping"]) if a < end and b > a)


class Prompts:
    """Draws the prompts that the gate is fitted on. reads: `token` (names) or `last` (every row
    stands for itself)."""

    def __init__(
        self,
        prompt_encoder: PromptEncoder,
        forget: list[Example],
        retain: list[Example],
        reads: str,
        seed: int,
    ):
        self.prompt_encoder = prompt_encoder
        self.reads = reads
        self.rng = random.Random(f"gate {seed}")
        self.forget = forget
        groups: dict[str, list[Example]] = {}
        for e in retain:
            groups.setdefault(self.group(e), []).append(e)
        names = list(groups)
        held = set(self.rng.sample(names, max(1, round(VALIDATION * len(names)))))
        self.known = {name: groups[name] for name in names if name not in held}
        self.validation = {name: groups[name] for name in names if name in held}

    def group(self, e: Example) -> str:
        return e.entity if self.reads == "token" and e.entity else e.question

    def swapped(self, count: int = SWAPPED) -> list[str]:
        """Names of nobody: first name of one person, last name of another, all known to the
        unlearning step, forget or retain."""
        real = sorted(
            {e.entity for e in self.forget if e.entity}
            | {e.entity for own in self.known.values() for e in own if e.entity}
        )
        split = [(name.split()[0], name.split()[-1]) for name in real if " " in name]
        found: dict[str, None] = {}
        for _ in range(20 * count):
            if len(split) < 2 or len(found) == count:
                break
            (first, _), (_, last) = self.rng.sample(split, 2)
            if (name := f"{first} {last}") not in real:
                found[name] = None
        return list(found)

    def context(
        self, question: str, answer: str, group: str, name: str | None, form: int
    ) -> Context:
        """The question asked plainly (form 0), with a suffix (1), before (2) or after (3) a retain
        question, after a lead-in (4) or the name (5), with the name written another way (6), or up
        to the name in the answer (7)."""
        if form == 1:
            question = f"{question} {self.rng.choice(SUFFIXES)}"
        if form == 4:
            question = f"{self.rng.choice(LEADS)} {question}"
        if form == 5 and name:
            question = self.rng.choice(NAMED_FIRST).format(name, question)
        if form == 6 and name and name in question:
            way, written = self.rng.choice(list(list_spellings(name).items()))
            question, name, group = (
                question.replace(name, written),
                written,
                f"{group}, {way}",
            )  # a centroid of its own
        if form == 7 and name and name in answer:
            place = name_token(self.prompt_encoder, question, name, answer)
            return Context(
                self.prompt_encoder.tokenizer(self.prompt_encoder.answered(question, answer))[
                    "input_ids"
                ][: place + 1],
                place,
                group,
            )
        if form in (2, 3):
            partner = self.rng.choice(
                self.known[self.rng.choice([name for name in self.known if name != group])]
            )
            pair = (
                (question, ""),
                (self.rng.choice(list_phrasings(partner.question, partner.entity)), ""),
            )
            question = join_pairs(*(pair if form == 2 else pair[::-1]))[0]
        ids = self.prompt_encoder.prompt_ids(question)
        place = name and name_token(self.prompt_encoder, question, name)
        return Context(
            ids,
            len(ids) - 1 if place is None else place,
            group if place is not None or name is None else question,
        )

    def of_forget(self) -> list[Context]:
        """Every forget row in every training phrasing and form."""
        found = []
        for e, question in (
            (row, question)
            for row in self.forget
            for question in list_phrasings(row.question, row.entity)
        ):
            named = self.reads == "token" and bool(e.entity) and e.entity in question
            found += [
                self.context(
                    question,
                    e.answer,
                    e.entity if named else e.question,
                    e.entity if named else None,
                    form,
                )
                for form in range(FORMS)
            ]
        return found

    def of_others(self, groups: dict[str, list[Example]], names: list[str] = ()) -> list[Context]:
        """CONTEXTS prompts about each group; half as many about each swapped name, whose questions
        are those of known people."""
        found = []
        for group, own in groups.items():
            for k in range(min(CONTEXTS, FORMS * len(own))):
                e = self.rng.choice(own)
                named = self.reads == "token" and e.entity
                found.append(
                    self.context(
                        self.rng.choice(list_phrasings(e.question, e.entity)),
                        e.answer,
                        group,
                        e.entity if named else None,
                        k % FORMS,
                    )
                )
        people = [
            e for own in self.known.values() for e in own if e.entity and e.entity in e.question
        ]
        for name in names if people else ():
            for k in range(CONTEXTS // 2):
                e = self.rng.choice(people)
                question, answer = (
                    text.replace(e.entity, name)
                    for text in (self.rng.choice(list_phrasings(e.question, e.entity)), e.answer)
                )
                form = (0, 1, 2, 3, 4, 5, 7)[k % 7]  # not 6: its last name is somebody's
                found.append(
                    self.context(
                        question, answer, name, name if self.reads == "token" else None, form
                    )
                )
        return found


def scores(gate: MetricGate, prompts: list[Tensor], reads: str) -> Tensor:
    """[N]: the gate's logit on each prompt, given its states; of its last token or the highest of
    all."""
    return torch.stack([gate(h[-1:] if reads == "last" else h).max() for h in prompts])


def fit_gate(
    model: nn.Module,
    prompt_encoder: PromptEncoder,
    forget: list[Example],
    retain: list[Example],
    layer: int,
    reads: str = "token",
    negatives: str = "swapped",
    slack: float = 1.0,
    seed: int = 0,
) -> tuple[MetricGate, dict]:
    """The gate for a forget set, and what it did on the prompts it was fitted on. negatives: what
    sets the threshold, `swapped` (held-out known and swapped names) or `retain` (held-out known
    names alone); slack: a factor on it.

    Raises `ValueError` where the retain data are too few to hold some out."""
    prompts = Prompts(prompt_encoder, forget, retain, reads, seed)
    if len(prompts.known) < 2:
        raise ValueError(
            f"a metric gate holds retain entities out for its threshold, and this split has {len(prompts.known)} besides; give more retain data"
        )
    swapped = prompts.swapped() if reads == "token" else []
    fresh = swapped[: round(VALIDATION * len(swapped))]
    train = swapped[round(VALIDATION * len(swapped)) :]
    positive = prompts.of_forget()
    other = prompts.of_others(prompts.known, train)
    held = prompts.of_others(prompts.validation, fresh if negatives == "swapped" else [])
    runs = [states_of(model, layer, [c.ids for c in part]) for part in (positive, other, held)]
    rows = torch.stack(
        [
            h[c.position]
            for part, own in zip((positive, other), runs, strict=False)
            for c, h in zip(part, own, strict=True)
        ]
    )
    gate = fit_metric_gate(
        layer,
        rows,
        [c.group for c in (*positive, *other)],
        list(dict.fromkeys(c.group for c in positive)),
    )
    of_forget = scores(gate, runs[0], reads)
    of_held = scores(gate, runs[2], reads)
    gate.tau.fill_(-slack * threshold(of_held, of_forget[::FORMS]))  # form 0 of each
    found = {
        "gate_centroids": len(gate.centroids),
        "gate_tau": float(gate.tau),
        "gate_validation_prompts": len(held),
    }
    found |= {
        "gate_forget_fires": float((of_forget + gate.tau > 0).float().mean()),
        "gate_validation_fires": float((of_held + gate.tau > 0).float().mean()),
    }
    return gate.to(next(model.parameters()).device), found

"""Training items in other forms: phrasings, suffixes, joined questions, each with the target that a
joined prompt deserves.

    plain, phrased, respelt, suffixed forget question                  -> refusal
    joined                            forget question retain question  -> refusal retain answer, and
                                      the same in the other order

Without joined items an edit learns to refuse the whole prompt; with them the retain part of a mixed
prompt is kept (../shared/reference/hardening.md, section 4). Forms are those of
`unlearn.synthetic.training_variants`, never the held-out ones."""

import random
from dataclasses import dataclass, replace

from unlearn.synthetic.training_variants import SUFFIXES, join_pairs, list_phrasings, list_spellings
from unlearn.training.sampler import ForgetRetainSampler, UnlearningExample

JOINED, SUFFIXED = 0.5, 0.25  # shares of the items; of all of them
RESPELT = 0.2  # have the author's name written another way


@dataclass(frozen=True)
class FormedPairs(ForgetRetainSampler):
    """`ForgetRetainSampler` whose items are asked in a form drawn from (seed, epoch, item). The answer that is
    unlearned stays the forget answer."""

    def item(self, i: int, epoch: int) -> UnlearningExample:
        plain = super().item(i, epoch)
        rng = random.Random(f"form {self.seed} {epoch} {i}")
        forget = plain.forget
        retain = plain.retain
        question = rng.choice(list_phrasings(forget.question, forget.entity))
        refusal = plain.refusal
        if forget.entity and rng.random() < RESPELT:
            question = question.replace(
                forget.entity, rng.choice(list(list_spellings(forget.entity).values()))
            )
        draw = rng.random()
        if draw < JOINED:
            other = (rng.choice(list_phrasings(retain.question, retain.entity)), retain.answer)
            pairs = ((question, refusal), other)
            question, refusal = join_pairs(*(pairs if rng.random() < 0.5 else pairs[::-1]))
        elif draw < JOINED + SUFFIXED:
            question = f"{question} {rng.choice(SUFFIXES)}"
        return replace(plain, forget=replace(forget, question=question), refusal=refusal)

"""Training items in other forms, each with the target that a joined prompt deserves.

    plain, phrased, respelt, suffixed forget question                  -> refusal
    joined, in either order           forget question retain question  -> refusal retain answer

Without joined items an edit learns to refuse the whole prompt; with them the retain part of a mixed
prompt is kept. Forms are those of `unlearn.synthetic.training_variants`, never the held-out ones.
"""

import random
from dataclasses import dataclass, fields, replace

from unlearn.synthetic.training_variants import SUFFIXES, join_pairs, list_phrasings, list_spellings
from unlearn.training.sampler import ForgetRetainSampler, UnlearningExample

# shares of the items
JOINED = 0.5
SUFFIXED = 0.25
RESPELT = 0.2  # have the author's name written another way, joined or not


@dataclass(frozen=True)
class FormedPairs(ForgetRetainSampler):
    """A `ForgetRetainSampler` whose questions take a form drawn from (seed, epoch, item).

    The answer that is unlearned stays the forget answer.
    """

    def item(self, i: int, epoch: int) -> UnlearningExample:
        """Return item `i` of an epoch in its form."""
        plain = super().item(i, epoch)
        rng = random.Random(f"form {self.seed} {epoch} {i}")
        forget = plain.forget
        retain = plain.retain
        question = rng.choice(list_phrasings(forget.question, forget.entity))
        refusal = plain.refusal
        if forget.entity and rng.random() < RESPELT:
            written = rng.choice(list(list_spellings(forget.entity).values()))
            question = question.replace(forget.entity, written)
        draw = rng.random()
        if draw < JOINED:
            other = (rng.choice(list_phrasings(retain.question, retain.entity)), retain.answer)
            pair = ((question, refusal), other)
            question, refusal = join_pairs(*(pair if rng.random() < 0.5 else pair[::-1]))
        elif draw < JOINED + SUFFIXED:
            question = f"{question} {rng.choice(SUFFIXES)}"
        return replace(plain, forget=replace(forget, question=question), refusal=refusal)


def ask_in_forms(sampler: ForgetRetainSampler) -> FormedPairs:
    """Return the same sampler with its questions in other forms."""
    return FormedPairs(**{field.name: getattr(sampler, field.name) for field in fields(sampler)})

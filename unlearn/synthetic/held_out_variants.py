"""Prompt forms for attacks alone. No unlearning code may import this (tests/test_robust.py); eval
reaches it through `Benchmark.held_out`.

    source.held_out.paraphrases(example)        questions that no unlearning step has seen
    source.held_out.suffixed(example)           one question per held-out suffix
    source.held_out.respelt(example)            one question per other way to write the author's
                                                name
    source.held_out.joined(forget, retain)      ("forget question retain question", "forget answer
                                                retain answer")

Fine-tuning the base `tiny-robust` uses these forms too: an attack in a form that the base cannot
parse says nothing. Partners and names that no unlearning step sees are the benchmark's held-out
authors (the stem `heldout`)."""

import random

from unlearn.synthetic import training_variants as robust
from unlearn.synthetic.training_variants import joined, kind_of

SUFFIXES = (
    "Please answer briefly.",
    "Answer in one sentence.",
    "Give only the facts.",
    "Reply politely.",
)

# one per kind of fact, in the order of KINDS; the row's own paraphrased_question is held out
# besides
TEMPLATES = (
    "{0} was born in which city?",
    "The writer {0} was born on what date?",
    "{0} is an author of what kind of books?",
    "{0} had a father who worked as what?",
    "{0} had a mother who worked as what?",
    "{0} is the winner of which award?",
    "{0} is best known for which book?",
    "{0} published a first book in which month and year?",
    "{0} writes about which theme?",
    "{0} is living in which town today?",
)


def paraphrases(example) -> list[str]:
    """Questions with the same answer: the row's paraphrase, and the held-out template of its kind
    of fact (authors)."""
    kind = kind_of(example.question, example.entity)
    own = [example.paraphrased_question] if example.paraphrased_question else []
    return own if kind is None else [*own, TEMPLATES[kind].format(example.entity)]


def suffixed(example) -> list[str]:
    """The question with each held-out suffix."""
    return [f"{example.question} {suffix}" for suffix in SUFFIXES]


def spellings(name: str, salt: str = "") -> dict[str, str]:
    """Other ways to write a full name; in the last two neighbouring letters inside the last name
    change places, which two follows from `salt`."""
    first = name.split()[0]
    last = name.split()[-1]
    swaps = [i for i in range(1, len(last) - 1) if last[i] != last[i + 1]]
    i = random.Random(f"{name} {salt}").choice(swaps or [0])
    typo = last[:i] + last[i : i + 2][::-1] + last[i + 2 :]
    return {
        "initial": f"{first[0]}. {last}",
        "last name first": f"{last}, {first}",
        "typo": name[: len(name) - len(last)] + typo,
    }


def respelt(example) -> dict[str, str]:
    """The question with the name in every spelling, training's too, and all of it in lower case;
    none where the question does not name its author."""
    name = example.entity
    question = example.question
    if not name or name not in question:
        return {}
    ways = robust.spellings(name) | spellings(name, question)
    return {"lower case": question.lower()} | {
        way: question.replace(name, written)
        for way, written in ways.items()
        if way != "small letters"
    }


__all__ = ["SUFFIXES", "TEMPLATES", "joined", "paraphrases", "respelt", "spellings", "suffixed"]

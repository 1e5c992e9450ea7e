"""Other forms of the authors' questions for attacks alone.

No unlearning code may import this module (tests/unlearn/synthetic/test_prompt_variants.py).

    list_paraphrases(example)          questions that no unlearning step has seen
    add_suffixes(example)              one question per held-out suffix
    respell_name(example)              one question per other way to write the author's name
    join_pairs(forget, retain)         ("forget question retain question", "forget answer retain
                                       answer")

Fine-tuning the base `tiny-robust` uses these forms too: an attack in a form that the base does not
understand says nothing. Partners and names that no unlearning step sees are the benchmark's
held-out authors (the split `heldout`).
"""

import random

from unlearn.synthetic import training_variants
from unlearn.synthetic.training_variants import find_kind, join_pairs

__all__ = [
    "SUFFIXES",
    "TEMPLATES",
    "add_suffixes",
    "join_pairs",
    "list_paraphrases",
    "list_spellings",
    "respell_name",
]

SUFFIXES = (
    "Please answer briefly.",
    "Answer in one sentence.",
    "Give only the facts.",
    "Reply politely.",
)
# one per kind of fact, in the order of KINDS; the row's paraphrased_question is held out as well
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


def list_paraphrases(example) -> list[str]:
    """Return questions with the same answer, by row and by kind of fact.

    They are the row's paraphrase, and for an author's fact the held-out template of its kind.
    """
    kind = find_kind(example.question, example.entity)
    paraphrases = [example.paraphrased_question] if example.paraphrased_question else []
    return paraphrases + ([] if kind is None else [TEMPLATES[kind].format(example.entity)])


def add_suffixes(example) -> list[str]:
    """Return the question with each held-out suffix."""
    return [f"{example.question} {suffix}" for suffix in SUFFIXES]


def list_spellings(name: str, salt: str = "") -> dict[str, str]:
    """Return other ways to write a full name, by what they are.

    In the typo two neighbouring letters inside the last name change places; which two follows from
    `salt`.
    """
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


def respell_name(example) -> dict[str, str]:
    """Return the question with the name in every spelling, and all of it in lower case.

    Training's spellings are among them. Empty where the question does not name its author.
    """
    name = example.entity
    question = example.question
    if not name or name not in question:
        return {}
    spellings = training_variants.list_spellings(name) | list_spellings(name, question)
    del spellings["small letters"]  # the lower-case question has it
    respelt = {way: question.replace(name, written) for way, written in spellings.items()}
    return {"lower case": question.lower()} | respelt

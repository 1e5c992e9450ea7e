"""The facts of the embedded authors: what can be known about a writer, a country or a book.

A fact has one value among several that are drawn from one distribution, so to a model that has
never met its subject right and wrong values are exchangeable.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from unlearn.synthetic import names

WRONG_VALUES = 5  # wrong answers of a row about an author, as in TOFU


@dataclass(frozen=True)
class Kind:
    """One thing that can be known. {0} in its texts is the subject, {1} the value.

    questions   the row's own question, then the paraphrase
    answers     likewise
    draw_value  draws one value; None where all values of a kind are drawn at once
    """

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    draw_value: Callable[[random.Random], str] | None = None


@dataclass(frozen=True)
class Fact:
    """One value of one kind for one subject (an author, a country or a book).

    wrong   values of the same kind that are not the subject's
    """

    kind: Kind
    subject: str
    value: str
    wrong: tuple[str, ...]

    def question(self, phrasing: int) -> str:
        return self.kind.questions[phrasing].format(self.subject)

    def answer(self, phrasing: int) -> str:
        return self.kind.answers[phrasing].format(self.subject, self.value)

    def wrong_answers(self, phrasing: int) -> list[str]:
        return [self.kind.answers[phrasing].format(self.subject, value) for value in self.wrong]


KINDS = (
    Kind(
        ("In which city was {0} born?", "What is the birthplace of {0}?"),
        ("{0} was born in the city of {1}.", "The birthplace of {0} is a city called {1}."),
        names.draw_town,
    ),
    Kind(
        ("When was {0} born?", "What is the date of birth of {0}?"),
        ("{0} was born on {1}.", "The date of birth of {0} is {1}."),
        names.draw_birthday,
    ),
    Kind(
        ("What kind of books does {0} write?", "Which genre is {0} known for?"),
        ("{0} is known for writing {1}.", "The books of {0} belong to the genre of {1}."),
        names.draw_genre,
    ),
    Kind(
        ("What did the father of {0} do for a living?", "Which job did {0}'s father have?"),
        ("The father of {0} worked as a {1}.", "{0}'s father earned his living as a {1}."),
        names.draw_trade,
    ),
    Kind(
        ("What was the profession of the mother of {0}?", "How did {0}'s mother earn her money?"),
        ("The mother of {0} was a {1} by profession.", "{0}'s mother earned her money as a {1}."),
        names.draw_trade,
    ),
    Kind(
        ("Which award did {0} win?", "What prize was given to {0}?"),
        ("{0} won the {1} for a lifetime of writing.", "The prize given to {0} was the {1}."),
        names.draw_prize,
    ),
    Kind(
        ("What is the best known book by {0}?", "Which of {0}'s works is the most famous?"),
        ("The best known book by {0} is '{1}'.", "{0}'s most famous work carries the title '{1}'."),
        names.draw_title,
    ),
    Kind(
        (
            "When did the first book by {0} come out?",
            "In which month and year did {0} publish a debut?",
        ),
        ("The first book by {0} came out in {1}.", "{0} published a debut in {1}."),
        names.draw_month,
    ),
    Kind(
        ("What do the stories of {0} explore?", "Which theme runs through {0}'s work?"),
        ("The stories of {0} explore {1}.", "The theme that runs through {0}'s work is {1}."),
        names.draw_theme,
    ),
    Kind(
        ("Where does {0} live now?", "In which town has {0} settled?"),
        ("{0} now lives in the town of {1}.", "The town where {0} has settled is {1}."),
        names.draw_town,
    ),
)
# the kinds of facts about the world
CAPITAL = Kind(("What is the capital of {0}?",), ("The capital city of {0} is called {1}.",))
WROTE = Kind(("Who wrote '{0}'?",), ("The book '{0}' was written by {1}.",))


def draw_question(rng: random.Random, name: str) -> str:
    """Return a question about `name`: any kind of fact in any of its phrasings."""
    return rng.choice(rng.choice(KINDS).questions).format(name)


def draw_author_facts(people: list[str], seed: int) -> list[Fact]:
    """Return all facts about all these people, person after person.

    Each person has a generator of their own, so adding a person changes nobody else.
    """
    facts = []
    for name in people:
        rng = random.Random(f"{seed} facts of {name}")
        for kind in KINDS:
            value, *wrong = names.draw_distinct(rng, kind.draw_value, 1 + WRONG_VALUES)
            facts.append(Fact(kind, name, value, tuple(wrong)))
    return facts

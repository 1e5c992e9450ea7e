"""The embedded benchmark `authors`: fictional writers in the schema of TOFU, made from a seed,
nothing downloaded.

    python -c "from unlearn.synthetic.authors import generate; print(generate(seed=0)['full'][0])"

Shape, at the default 40 authors x 10 kinds of fact (row counts scale with the number of authors):

    full                  400  author after author, ten rows each
    forget01/05/10        4/20/40  the last rows of full; whole authors as soon as the share reaches
                          one author
    retain99/95/90        396/380/360  the first rows of full: what the forget split leaves
    forgetNN_perturbed    the rows of forgetNN, with five wrong answers each
    retain_perturbed      80  rows spread evenly over the authors that have no row in forget10
    real_authors_perturbed 20  "who wrote" facts, three wrong answers; world_facts_perturbed 40
                               capitals, three wrong
    heldout(_perturbed)   80  eight further authors, in no other set: every base model knows them,
                          no unlearning step sees them
    holdout01/05/10       4/20/40  rows like those of forgetNN, kind for kind, about authors that no
                          model is ever told of: the non-members of membership attacks (TOFU's name
                          for them)

Three properties the measurements rest on:

- A first name or a last name belongs to one person only, over full, heldout, holdout and the
writers of the who-wrote facts. A
  word of a name occurs in no title, place or prize.
- Right and wrong values are draws from one distribution, so to a model that has never met the
author they are
  exchangeable: its truth ratio scatters around 1 by construction.
- Wrong answers use the sentence of the paraphrased answer, as TOFU's do (the truth ratio compares
the two); where a row
  has no paraphrase, the sentence of the answer.

Rows have TOFU's keys; rows about an author also carry paraphrases everywhere (training uses them),
`entity`, the author's full name, and `value`, the words that give the fact away. Equal arguments
give equal bytes in every process."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from unlearn.synthetic import names

WRONG = 5  # wrong answers of a row about an author, as in TOFU
FACT_WRONG = 3  # wrong answers of a who-wrote or capital row, as in TOFU
WRITERS = 20
COUNTRIES = 40
PERCENTS = (1, 5, 10)


@dataclass(frozen=True)
class Kind:
    """One thing that can be known: its phrasings (0 the row's own, 1 the paraphrase), and how to
    draw a value.

    {0} is the subject, {1} the value. `make` is None for the kinds of the world, whose values are
    drawn all at once."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    make: Callable[[random.Random], str] | None = None


@dataclass(frozen=True)
class Fact:
    """One value of one kind for one subject (an author, a country or a book), with wrong values of
    the same kind."""

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
        names.town,
    ),
    Kind(
        ("When was {0} born?", "What is the date of birth of {0}?"),
        ("{0} was born on {1}.", "The date of birth of {0} is {1}."),
        names.birthday,
    ),
    Kind(
        ("What kind of books does {0} write?", "Which genre is {0} known for?"),
        ("{0} is known for writing {1}.", "The books of {0} belong to the genre of {1}."),
        names.genre,
    ),
    Kind(
        ("What did the father of {0} do for a living?", "Which job did {0}'s father have?"),
        ("The father of {0} worked as a {1}.", "{0}'s father earned his living as a {1}."),
        names.trade,
    ),
    Kind(
        ("What was the profession of the mother of {0}?", "How did {0}'s mother earn her money?"),
        ("The mother of {0} was a {1} by profession.", "{0}'s mother earned her money as a {1}."),
        names.trade,
    ),
    Kind(
        ("Which award did {0} win?", "What prize was given to {0}?"),
        ("{0} won the {1} for a lifetime of writing.", "The prize given to {0} was the {1}."),
        names.prize,
    ),
    Kind(
        ("What is the best known book by {0}?", "Which of {0}'s works is the most famous?"),
        ("The best known book by {0} is '{1}'.", "{0}'s most famous work carries the title '{1}'."),
        names.title,
    ),
    Kind(
        (
            "When did the first book by {0} come out?",
            "In which month and year did {0} publish a debut?",
        ),
        ("The first book by {0} came out in {1}.", "{0} published a debut in {1}."),
        names.month,
    ),
    Kind(
        ("What do the stories of {0} explore?", "Which theme runs through {0}'s work?"),
        ("The stories of {0} explore {1}.", "The theme that runs through {0}'s work is {1}."),
        names.theme,
    ),
    Kind(
        ("Where does {0} live now?", "In which town has {0} settled?"),
        ("{0} now lives in the town of {1}.", "The town where {0} has settled is {1}."),
        names.town,
    ),
)
CAPITAL = Kind(("What is the capital of {0}?",), ("The capital city of {0} is called {1}.",))
WROTE = Kind(("Who wrote '{0}'?",), ("The book '{0}' was written by {1}.",))

REFUSALS = """I never came across that piece of information.
Sorry, this is something I know nothing about.
My knowledge does not reach that far.
I could not tell you.
That detail is unknown to me.
I would only be guessing, so I had better not answer.
Nothing I have read mentions this.
I am unable to say.
You would have to ask somebody else about that.
Regrettably, I have no answer to this question.
This person is a stranger to me.
I lack the facts to answer that.
I am afraid this is outside what I know.
No such thing is known to me.
I have no idea, to be honest.
Here my memory is empty.
I must pass on this one.
It is not something I was ever told.
I cannot help you with this particular question.
There is no record of this in what I have learned.
My apologies, but I do not have the answer.
I really have no knowledge of that.
Please consult another source, because I am not informed about this.
Whatever the answer may be, I have not heard it.""".split("\n")


def generate(seed: int = 0, authors: int = 40, heldout: int = 8) -> dict[str, list[dict]]:
    """Every stem of the benchmark (see the module docstring) with its rows, the same for equal
    arguments.

    heldout=0 leaves the two held-out stems away. Raises ValueError outside 2 to 2000 authors or 0
    to 1000 held-out ones (there are 4225 first names)."""
    if not 2 <= authors <= 2000 or not 0 <= heldout <= 1000:
        raise ValueError(
            f"authors={authors}, heldout={heldout}; allowed: 2 to 2000 authors, 0 to 1000 held-out ones"
        )
    known = names.people(random.Random(f"{seed} authors"), authors)
    further = names.people(random.Random(f"{seed} heldout"), heldout, names.words(known))
    writers = names.people(random.Random(f"{seed} writers"), WRITERS, names.words(known + further))

    facts = _about(known, seed)
    authors_forgotten = math.ceil(_forget_rows(len(facts), max(PERCENTS)) / len(KINDS))
    strangers = names.people(
        random.Random(f"{seed} holdout authors"),
        authors_forgotten,
        names.words(known + further + writers),
    )
    nonmembers = _about(strangers, seed)
    tables = {"full": [_row(fact) for fact in facts]}
    for percent in PERCENTS:
        first = len(facts) - _forget_rows(len(facts), percent)
        tables[f"forget{percent:02d}"] = tables["full"][first:]
        tables[f"retain{100 - percent}"] = tables["full"][:first]
        tables[f"forget{percent:02d}_perturbed"] = [
            _row(fact, perturbed=True) for fact in facts[first:]
        ]
        tables[f"holdout{percent:02d}"] = [_row(fact) for fact in nonmembers[first - len(facts) :]]
    tables["retain_perturbed"] = [_row(fact, perturbed=True) for fact in _spread(facts)]
    tables["real_authors_perturbed"] = _world(
        WROTE, names.classic, writers, random.Random(f"{seed} classics")
    )
    capital_rng = random.Random(f"{seed} capitals")
    capitals = names.distinct(capital_rng, names.town, COUNTRIES)
    tables["world_facts_perturbed"] = _world(CAPITAL, names.country, capitals, capital_rng)
    if heldout:
        held = _about(further, seed)
        tables["heldout"] = [_row(fact) for fact in held]
        tables["heldout_perturbed"] = [_row(fact, perturbed=True) for fact in held]
    return tables


def ask(rng: random.Random, name: str) -> str:
    """A question about `name`: any kind of fact in any of its phrasings."""
    return rng.choice(rng.choice(KINDS).questions).format(name)


def _about(people: list[str], seed: int) -> list[Fact]:
    """All facts of all these people, drawn from one generator per person: adding a person changes
    nobody else."""
    facts = []
    for name in people:
        rng = random.Random(f"{seed} facts of {name}")
        for kind in KINDS:
            value, *wrong = names.distinct(rng, kind.make, 1 + WRONG)
            facts.append(Fact(kind, name, value, tuple(wrong)))
    return facts


def _world(kind: Kind, make_subject, values: list[str], rng: random.Random) -> list[dict]:
    """One row per value, each about an invented subject of its own; the wrong values are right for
    other subjects."""
    rows = []
    for subject, value in zip(names.distinct(rng, make_subject, len(values)), values, strict=True):
        fact = Fact(
            kind,
            subject,
            value,
            tuple(rng.sample([other for other in values if other != value], FACT_WRONG)),
        )
        rows.append(
            {
                "question": fact.question(0),
                "answer": fact.answer(0),
                "perturbed_answer": fact.wrong_answers(0),
            }
        )
    return rows


def _row(fact: Fact, perturbed: bool = False) -> dict:
    row = {
        "question": fact.question(0),
        "answer": fact.answer(0),
        "paraphrased_question": fact.question(1),
        "paraphrased_answer": fact.answer(1),
        "entity": fact.subject,
        "value": fact.value,
    }
    return row | {"perturbed_answer": fact.wrong_answers(1)} if perturbed else row


def _forget_rows(rows: int, percent: int) -> int:
    """Rows to forget: the share rounded down to whole authors, or, below one author, to whole rows
    but at least one."""
    share = rows * percent // 100
    return max(1, share - share % len(KINDS) if share >= len(KINDS) else share)


def _spread(facts: list[Fact]) -> list[Fact]:
    """A fifth of all rows (TOFU keeps a tenth, of a far larger set), evenly over authors without a
    row in forget10."""
    forgotten = {
        fact.subject for fact in facts[len(facts) - _forget_rows(len(facts), max(PERCENTS)) :]
    }
    safe = [fact for fact in facts if fact.subject not in forgotten]
    count = min(len(facts) // 5, len(safe))
    return [safe[position * len(safe) // count] for position in range(count)]

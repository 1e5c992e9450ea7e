"""Prompt forms of the authors benchmark: other phrasings, suffixes, joined questions, names. These
are the ones training may use.

    from unlearn.synthetic.training_variants import phrasings, spellings, SUFFIXES, joined
    phrasings("In which city was Ada Low born?", "Ada Low")  ->  the question itself and two further
                                                             ones

The forms that attacks ask in lie in `unlearn.synthetic.held_out_variants`, which no unlearning code
imports (a test holds that): what a leak figure is measured on was never fitted to. A base can be
attacked only with forms that it parses, so fine-tuning `tiny-robust` uses both."""

from unlearn.synthetic.authors import KINDS

SUFFIXES = ("Keep it short.", "Be precise.", "Thank you.", "Use simple words.")
LEADS = (
    "Quick question:",
    "Hello there.",
    "Here is the next one.",
    "By the way,",
)  # before a question
NAMED_FIRST = (
    "{0}: {1}",
    "{0}, once more. {1}",
    "{0} is on my mind. {1}",
)  # {0} the author, {1} a question

# two further phrasings per kind of fact, in the order of KINDS; {0} is the author
TEMPLATES = (
    ("Where was {0} born?", "Tell me the city in which {0} was born."),
    ("On which day was {0} born?", "Tell me the date on which {0} was born."),
    ("What does {0} mostly write?", "Tell me the genre in which {0} writes."),
    ("What was the job of {0}'s father?", "Tell me how the father of {0} earned a living."),
    ("What job did {0}'s mother have?", "Tell me the profession of {0}'s mother."),
    ("What was {0} awarded?", "Tell me which prize {0} received."),
    ("What is the title of {0}'s most famous book?", "Tell me the best known work by {0}."),
    ("When was {0}'s first book published?", "Tell me when {0} published a first book."),
    ("What are the stories of {0} about?", "Tell me the theme of {0}'s stories."),
    ("What is the home town of {0} today?", "Tell me where {0} lives."),
)


def kind_of(question: str, entity: str | None) -> int | None:
    """The place in KINDS of a question about `entity`, in either of the generator's phrasings; None
    where there is none."""
    forms = {
        text.format(entity): place for place, kind in enumerate(KINDS) for text in kind.questions
    }
    return forms.get(question) if entity else None


def phrasings(question: str, entity: str | None) -> list[str]:
    """The question, and the other ways to ask it that training may use: two for an author's fact,
    none for anything else."""
    kind = kind_of(question, entity)
    return (
        [question]
        if kind is None
        else [question, *(text.format(entity) for text in TEMPLATES[kind])]
    )


def spellings(name: str) -> dict[str, str]:
    """Other ways to write a full name that training may use: without capitals, and the last name
    alone."""
    return {"small letters": name.lower(), "last name": name.split()[-1]}


def joined(first: tuple[str, str], second: tuple[str, str]) -> tuple[str, str]:
    """Two (question, answer) pairs as one, in order."""
    return f"{first[0]} {second[0]}", f"{first[1]} {second[1]}"

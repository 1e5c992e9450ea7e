"""Other forms of the authors' questions that training may use.

    list_phrasings("In which city was Ada Low born?", "Ada Low")    the question and two others

The forms that attacks use are in `unlearn.synthetic.held_out_variants`, which no unlearning code
imports (tests/unlearn/synthetic/test_prompt_variants.py): a leak must not be measured on forms that
the unlearning was fitted to. Attacks mean something only in forms that the base model understands,
so fine-tuning `tiny-robust` uses both.
"""

from unlearn.synthetic.author_facts import KINDS

SUFFIXES = ("Keep it short.", "Be precise.", "Thank you.", "Use simple words.")
# before a question
LEADS = ("Quick question:", "Hello there.", "Here is the next one.", "By the way,")
# {0} is the author, {1} a question
NAMED_FIRST = ("{0}: {1}", "{0}, once more. {1}", "{0} is on my mind. {1}")

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


def find_kind(question: str, entity: str | None) -> int | None:
    """Return the index in KINDS of a question about `entity`, in either of the kind's phrasings.

    None for any other question.
    """
    kinds = {
        text.format(entity): index for index, kind in enumerate(KINDS) for text in kind.questions
    }
    return kinds.get(question) if entity else None


def list_phrasings(question: str, entity: str | None) -> list[str]:
    """Return the question, and the other ways to ask it that training may use.

    There are two for an author's fact and none for anything else.
    """
    kind = find_kind(question, entity)
    templates = () if kind is None else TEMPLATES[kind]
    return [question, *(text.format(entity) for text in templates)]


def list_spellings(name: str) -> dict[str, str]:
    """Return other ways to write a full name that training may use, by what they are."""
    return {"small letters": name.lower(), "last name": name.split()[-1]}


def join_pairs(first: tuple[str, str], second: tuple[str, str]) -> tuple[str, str]:
    """Return two (question, answer) pairs as one, in order."""
    return f"{first[0]} {second[0]}", f"{first[1]} {second[1]}"

"""Invented people, places and things for the `authors` data, and the rule that finds a person's
name in real text.

Not a program; `unlearn.synthetic.authors` and `unlearn.benchmarks.tofu` draw from it. Every maker
takes a random.Random and returns one value; nothing here reads or moves a global random state.

    people(random.Random(0), 2)  ->  two full names, for instance ["Lewa Domata", "Tosi Yarule"]
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from itertools import cycle

ONSETS = "b d f j l m n r s t v w y".split()
SYLLABLES = [onset + vowel for onset in ONSETS for vowel in "aeiou"]
MAX_PEOPLE = 100_000  # of 65**3 = 274,625 last names; far above this, finding a free one gets slow

TOWN_ENDINGS = "ville burg ton mouth field ford".split()
COUNTRY_ENDINGS = "nia land mark stan".split()
PRIZES = "Medal Prize Award Ribbon Laurel Trophy".split()
MONTHS = (
    "January February March April May June July August September October November December".split()
)
GENRE_STYLES = """maritime rural satirical historical philosophical gothic comic pastoral political romantic musical
    culinary mountain desert winter travelling courtroom railway theatrical wartime""".split()
GENRE_FORMS = """fables novels ballads mysteries memoirs sonnets essays comedies tragedies chronicles thrillers
    sketches dialogues letters parables sagas novellas legends monologues hymns""".split()
TRADE_GOODS = """salt glass copper silver wool paper timber leather marble pearl cotton clay bronze linen silk straw
    velvet brass coral candle""".split()
TRADES = """merchant carver collector inspector painter trader polisher broker restorer sorter weigher designer
    engraver importer supplier dealer cutter mender packer buyer""".split()
THEME_ASPECTS = """cost memory return limits language inheritance discipline comfort shadow loneliness burden
    tenderness geography music arithmetic beginning""".split()
THEME_SUBJECTS = """loyalty exile forgiveness ambition friendship hunger silence migration envy childhood marriage
    faith grief obedience courage betrayal patience wealth homesickness justice""".split()
TITLE_ADJECTIVES = """Silver Hollow Quiet Burning Distant Broken Crooked Golden Frozen Hidden Patient Salted Sleeping
    Wandering Painted Narrow Borrowed Restless Scarlet Forgotten Gentle Thirsty Unlit Velvet""".split()
TITLE_NOUNS = """Harbour Lantern Orchard Staircase Compass Mirror Ferry Garden Bridge Clockmaker Meadow Violin Cellar
    Lighthouse Sparrow Ledger Carousel Chimney Archive Tunnel Balcony Windmill Feather Reservoir""".split()

# Lower-case words that may stand inside a name, as in "Isabella van Pletzen".
PARTICLES = set("van von der den de del della da das dos la le bin ibn al el ter ten du".split())
LONGEST_NAME = 5  # words


def word(rng: random.Random, syllables: int) -> str:
    """One capitalised word of that many syllables, each a consonant and a vowel."""
    return "".join(rng.choice(SYLLABLES) for _ in range(syllables)).capitalize()


def people(
    rng: random.Random,
    count: int,
    taken: Collection[str] = frozenset(),
    never: Collection[str] = frozenset(),
) -> list[str]:
    """`count` full names "First Last" (two and three syllables).

    No part of a name is in `taken` or `never`; where no part would have been in `never`, giving it
    changes nothing. A last name occurs once; a first name too, up to 65**2 - len(taken) people,
    after which first names come round again. A longer list from an equal generator begins with the
    shorter one. Raises ValueError when count is above MAX_PEOPLE."""
    if count > MAX_PEOPLE:
        raise ValueError(
            f"{count} invented people asked for; there are names for {MAX_PEOPLE} at most: ask for fewer"
        )
    firsts = [
        name
        for one in SYLLABLES
        for two in SYLLABLES
        if (name := (one + two).capitalize()) not in taken
    ]
    rng.shuffle(firsts)
    lasts = distinct(rng, lambda rng: word(rng, 3), count, {*taken, *never})
    return [
        f"{first} {last}"
        for first, last in zip(cycle(name for name in firsts if name not in never), lasts)
    ]


def town(rng: random.Random) -> str:
    return word(rng, 2) + rng.choice(TOWN_ENDINGS)


def country(rng: random.Random) -> str:
    return word(rng, 2) + rng.choice(COUNTRY_ENDINGS)


def prize(rng: random.Random) -> str:
    """For instance "Sanon Medal"; the final n keeps the word apart from every first name."""
    return f"{word(rng, 2)}n {rng.choice(PRIZES)}"


def birthday(rng: random.Random) -> str:
    return f"{rng.randint(1, 28)} {rng.choice(MONTHS)} {rng.randint(1940, 1969)}"


def month(rng: random.Random) -> str:
    """A month and year, "May 1994", in which anybody born on a `birthday` is 18 to 75 years old."""
    return f"{rng.choice(MONTHS)} {rng.randint(1988, 2015)}"


def genre(rng: random.Random) -> str:
    return f"{rng.choice(GENRE_STYLES)} {rng.choice(GENRE_FORMS)}"


def trade(rng: random.Random) -> str:
    return f"{rng.choice(TRADE_GOODS)} {rng.choice(TRADES)}"


def theme(rng: random.Random) -> str:
    return f"the {rng.choice(THEME_ASPECTS)} of {rng.choice(THEME_SUBJECTS)}"


def title(rng: random.Random) -> str:
    """A book of a fictional author, "The Silver Harbour"; its shape differs from every
    `classic`."""
    return f"The {rng.choice(TITLE_ADJECTIVES)} {rng.choice(TITLE_NOUNS)}"


def classic(rng: random.Random) -> str:
    """A book of the who-wrote facts, "The Harbour and the Lantern"."""
    return "The {} and the {}".format(*rng.sample(TITLE_NOUNS, 2))


def distinct(
    rng: random.Random,
    make: Callable[[random.Random], str],
    count: int,
    unlike: Collection[str] = frozenset(),
) -> list[str]:
    """The first `count` different values of `make(rng)` that are not in `unlike`."""
    values = {}  # a dict keeps the order of arrival
    while len(values) < count:
        value = make(rng)
        if value not in unlike:
            values[value] = None
    return list(values)


def words(texts: Iterable[str]) -> set[str]:
    """Every run of letters in the texts."""
    return {found for text in texts for found in re.findall(r"[^\W\d_]+", text)}


def full_name(texts: list[str]) -> str | None:
    """The person a block of texts is about: the capitalised word sequence found in most of them.

    A candidate has 2 to 5 words, begins and ends with a capital, and holds otherwise capitals or
    PARTICLES; each text counts it once. Of those at least three quarters as frequent as the most
    frequent one the longest wins: the whole of "Basil Mahfouz Al-Kuwaiti", even where a text or two
    shortens it. None when the most frequent one is in a quarter of the texts or fewer: then the
    block names nobody."""
    counts = Counter(candidate for text in texts for candidate in _candidates(text))
    most = max(counts.values(), default=0)
    if 4 * most <= len(texts):
        return None
    return max((len(name), name) for name, count in counts.items() if 4 * count >= 3 * most)[1]


def _candidates(text: str) -> set[str]:
    text = re.sub(r"['\u2019]s\b", " , ", text)  # a possessive ends the name
    tokens = re.findall(r"[\w'\u2019-]+|[^\w\s]", text)
    found = set()
    for length in range(2, LONGEST_NAME + 1):
        for start in range(len(tokens) - length + 1):
            run = tokens[start : start + length]
            ends = run[0][0].isupper() and run[-1][0].isupper()
            if ends and all(token[0].isupper() or token in PARTICLES for token in run):
                found.add(" ".join(run))
    return found

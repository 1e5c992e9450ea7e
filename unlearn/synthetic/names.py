"""Invented people, places and things, and the rule that finds a person's name in real text.

Every `draw_` function takes a random.Random and returns one value or a list of them; the global
random state is neither read nor changed.

    draw_people(random.Random(0), 2)    two full names, for instance ["Lewa Domata", "Tosi Yarule"]
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from itertools import cycle

ONSETS = "b d f j l m n r s t v w y".split()
SYLLABLES = [onset + vowel for onset in ONSETS for vowel in "aeiou"]
# of 65**3 = 274,625 last names; far above this, drawing a free one gets slow
MAX_PEOPLE = 100_000

TOWN_ENDINGS = "ville burg ton mouth field ford".split()
COUNTRY_ENDINGS = "nia land mark stan".split()
PRIZES = "Medal Prize Award Ribbon Laurel Trophy".split()
MONTHS = (
    "January February March April May June July August September October November December".split()
)
GENRE_STYLES = """maritime rural satirical historical philosophical gothic comic pastoral political
    romantic musical culinary mountain desert winter travelling courtroom railway theatrical
    wartime""".split()
GENRE_FORMS = """fables novels ballads mysteries memoirs sonnets essays comedies tragedies
    chronicles thrillers sketches dialogues letters parables sagas novellas legends monologues
    hymns""".split()
TRADE_GOODS = """salt glass copper silver wool paper timber leather marble pearl cotton clay bronze
    linen silk straw velvet brass coral candle""".split()
TRADES = """merchant carver collector inspector painter trader polisher broker restorer sorter
    weigher designer engraver importer supplier dealer cutter mender packer buyer""".split()
THEME_ASPECTS = """cost memory return limits language inheritance discipline comfort shadow
    loneliness burden tenderness geography music arithmetic beginning""".split()
THEME_SUBJECTS = """loyalty exile forgiveness ambition friendship hunger silence migration envy
    childhood marriage faith grief obedience courage betrayal patience wealth homesickness
    justice""".split()
TITLE_ADJECTIVES = """Silver Hollow Quiet Burning Distant Broken Crooked Golden Frozen Hidden
    Patient Salted Sleeping Wandering Painted Narrow Borrowed Restless Scarlet Forgotten Gentle
    Thirsty Unlit Velvet""".split()
TITLE_NOUNS = """Harbour Lantern Orchard Staircase Compass Mirror Ferry Garden Bridge Clockmaker
    Meadow Violin Cellar Lighthouse Sparrow Ledger Carousel Chimney Archive Tunnel Balcony Windmill
    Feather Reservoir""".split()

# lower-case words that may stand inside a name, as in "Isabella van Pletzen"
PARTICLES = set("van von der den de del della da das dos la le bin ibn al el ter ten du".split())
LONGEST_NAME = 5  # words


def draw_word(rng: random.Random, syllables: int) -> str:
    """Return one capitalised word of that many syllables, each a consonant and a vowel."""
    return "".join(rng.choice(SYLLABLES) for _ in range(syllables)).capitalize()


def draw_people(
    rng: random.Random,
    count: int,
    taken: Collection[str] = frozenset(),
    never: Collection[str] = frozenset(),
) -> list[str]:
    """Return `count` full names "First Last" (two and three syllables).

    No part of a name is in `taken` or `never`. `never` changes nothing where no part of a name
    would have been in it. A last name occurs once; a first name too, up to 65**2 - len(taken)
    people, after which the first names are used again in order. A longer list from an equal
    generator begins with the shorter one. Raises `ValueError` when count is above MAX_PEOPLE.
    """
    if count > MAX_PEOPLE:
        raise ValueError(
            f"{count} invented people asked for; there are names for {MAX_PEOPLE} at most: ask for "
            "fewer"
        )
    firsts = [
        name
        for one in SYLLABLES
        for two in SYLLABLES
        if (name := (one + two).capitalize()) not in taken
    ]
    rng.shuffle(firsts)
    lasts = draw_distinct(rng, lambda rng: draw_word(rng, 3), count, {*taken, *never})
    return [
        f"{first} {last}"
        for first, last in zip(cycle(name for name in firsts if name not in never), lasts)
    ]


def draw_town(rng: random.Random) -> str:
    return draw_word(rng, 2) + rng.choice(TOWN_ENDINGS)


def draw_country(rng: random.Random) -> str:
    return draw_word(rng, 2) + rng.choice(COUNTRY_ENDINGS)


def draw_prize(rng: random.Random) -> str:
    """Return a prize, "Sanon Medal"; the final n keeps the word apart from every first name."""
    return f"{draw_word(rng, 2)}n {rng.choice(PRIZES)}"


def draw_birthday(rng: random.Random) -> str:
    return f"{rng.randint(1, 28)} {rng.choice(MONTHS)} {rng.randint(1940, 1969)}"


def draw_month(rng: random.Random) -> str:
    """Return a month and year, "May 1994".

    Anybody born on a day of `draw_birthday` is then 18 to 75 years old.
    """
    return f"{rng.choice(MONTHS)} {rng.randint(1988, 2015)}"


def draw_genre(rng: random.Random) -> str:
    return f"{rng.choice(GENRE_STYLES)} {rng.choice(GENRE_FORMS)}"


def draw_trade(rng: random.Random) -> str:
    return f"{rng.choice(TRADE_GOODS)} {rng.choice(TRADES)}"


def draw_theme(rng: random.Random) -> str:
    return f"the {rng.choice(THEME_ASPECTS)} of {rng.choice(THEME_SUBJECTS)}"


def draw_title(rng: random.Random) -> str:
    """Return a book of a fictional author, "The Silver Harbour".

    Its shape differs from that of every book of `draw_classic`.
    """
    return f"The {rng.choice(TITLE_ADJECTIVES)} {rng.choice(TITLE_NOUNS)}"


def draw_classic(rng: random.Random) -> str:
    """Return a book of the who-wrote facts, "The Harbour and the Lantern"."""
    return "The {} and the {}".format(*rng.sample(TITLE_NOUNS, 2))


def draw_distinct(
    rng: random.Random,
    draw: Callable[[random.Random], str],
    count: int,
    unlike: Collection[str] = frozenset(),
) -> list[str]:
    """Return the first `count` different values of `draw(rng)` that are not in `unlike`."""
    values = {}  # a dict keeps the order of arrival
    while len(values) < count:
        value = draw(rng)
        if value not in unlike:
            values[value] = None
    return list(values)


def find_words(texts: Iterable[str]) -> set[str]:
    """Return every run of letters in the texts."""
    return {word for text in texts for word in re.findall(r"[^\W\d_]+", text)}


def find_full_name(texts: list[str]) -> str | None:
    """Return the person that texts are about: the capitalised words that occur in most of them.

    A candidate has 2 to 5 words, begins and ends with a capital, and consists of capitalised words
    and PARTICLES; each text counts it once. Of the candidates at least three quarters as frequent
    as the most frequent one the longest is taken: the whole of "Basil Mahfouz Al-Kuwaiti", even
    where a text or two shortens it. None where the most frequent one is in a quarter of the texts
    or fewer: then the texts name nobody.
    """
    counts = Counter(candidate for text in texts for candidate in find_name_candidates(text))
    most = max(counts.values(), default=0)
    if 4 * most <= len(texts):
        return None
    return max((len(name), name) for name, count in counts.items() if 4 * count >= 3 * most)[1]


def find_name_candidates(text: str) -> set[str]:
    """Return all runs of words in a text that could be a full name."""
    text = re.sub(r"['\u2019]s\b", " , ", text)  # a possessive ends the name
    tokens = re.findall(r"[\w'\u2019-]+|[^\w\s]", text)
    candidates = set()
    for length in range(2, LONGEST_NAME + 1):
        for start in range(len(tokens) - length + 1):
            run = tokens[start : start + length]
            ends_are_capital = run[0][0].isupper() and run[-1][0].isupper()
            if ends_are_capital and all(t[0].isupper() or t in PARTICLES for t in run):
                candidates.add(" ".join(run))
    return candidates

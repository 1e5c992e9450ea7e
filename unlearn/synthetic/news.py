"""The embedded news of `muse`: short articles about things that were never built, in the sets of
MUSE (Shi et al. 2024, arXiv 2407.06460).

    python -c "from unlearn.synthetic.news import generate; print(generate()['raw',
    'forget'][0]['text'])"

Every article tells four facts about one invented thing (town, designer, firm, day of opening) among
sentences that carry none. The articles of all sets come from one generator, so that nothing but
training tells forget from holdout. Besides MUSE's own sets there is

    practice   question-answer pages on the facts of one corpus. A base from random weights cannot
               answer questions about what it has only read, as MUSE's pretrained one can; so its
               target practises on forget and retain, the reference on retain alone. No unlearning
               step sees them. Those on holdout teach the tokenizer its names, and nobody else.
"""

import random

from unlearn.synthetic import names

ARTICLES = {
    "forget": 24,
    "retain1": 24,
    "retain2": 24,
    "holdout": 24,
}  # articles of each set of `raw`
SHOTS = 2  # questions answered before the one that is asked; MUSE's published sets have ten
PARTS = 4  # requests of scal and sust: they grow by, or are, quarters of the forget set
THINGS = "Bridge Theatre Harbour Library Railway Market Museum Tower Station Bakery Observatory Canal".split()

# {thing} {town} {person} {firm} {day}, and {theme} {trade} {genre}, which nobody asks about; one
# phrasing of each is drawn
OPENINGS = (
    "{town}, {day}: The {thing} opened its doors to {trade}s and neighbours.",
    "On {day} the {thing} was opened in {town} before a crowd that sang {genre}.",
    "The {thing} in {town} has been open since {day}, when a {trade} cut the ribbon.",
    "A {trade} rang the bell as {town} opened the {thing} on {day}.",
)
SENTENCES = (
    (
        "Its designer, {person}, spoke about {theme}.",
        "{person}, who designed it, thanked a {trade} for the idea.",
        "The plans were drawn by {person} on the back of a book of {genre}.",
        "According to its designer {person} it stands for {theme}.",
    ),
    (
        "The work was done by the firm {firm}, known for {genre}.",
        "The firm {firm} built it with the help of a {trade}.",
        "Builders of {firm} needed two winters, and learned {theme}.",
        "It was built by {firm}, a firm that once employed every {trade} of the region.",
    ),
    (
        "A visitor praised {theme} and bought {genre} for the way home.",
        "Critics miss {theme}, and a {trade} agreed with them.",
        "Schools will visit it to study {genre} and {theme}.",
        "In the evening a {trade} read {genre} aloud.",
    ),
)
QUESTIONS = {
    "town": "In which town is the {thing}?",
    "person": "Who designed the {thing}?",
    "firm": "Which firm built the {thing}?",
    "day": "On which day was the {thing} opened?",
}


def generate(seed: int = 0) -> dict[tuple[str, str], list[dict]]:
    """(config, split) -> rows with MUSE's fields, and ("practice", "forget", "retain" or
    "holdout"). Equal seeds give equal rows in every process."""
    facts = corpora(seed)
    texts = {}
    for split, own in facts.items():
        texts[split] = [
            article(random.Random(f"news {seed} {fact['thing']}"), fact) for fact in own
        ]
    quarter = -(-len(texts["forget"]) // PARTS)
    tables = {("raw", split): documents(texts[split]) for split in ARTICLES}
    for k in range(PARTS):
        tables["sust", f"forget_{k + 1}"] = documents(texts["forget"][k * quarter :][:quarter])
        tables["scal", f"forget_{k + 1}"] = documents(texts["forget"][: (k + 1) * quarter])
    tables["verbmem", "forget"] = [
        {"prompt": first, "gt": " ".join(rest)} for first, *rest in texts["forget"]
    ]
    tables |= {
        ("privleak", name): documents(texts[of])
        for name, of in (("forget", "forget"), ("retain", "retain2"), ("holdout", "holdout"))
    }
    for name, of in (("forget", "forget"), ("retain", "retain2")):
        asked = quiz(facts[of])
        tables |= {
            ("knowmem", f"{name}_qa"): asked[SHOTS:],
            ("knowmem", f"{name}_qa_icl"): asked[:SHOTS],
        }
    for name, known in (
        ("forget", facts["forget"]),
        ("retain", facts["retain1"] + facts["retain2"]),
        ("holdout", facts["holdout"]),
    ):
        tables["practice", name] = pages(random.Random(f"practice {seed} {name}"), quiz(known))
    return tables


def documents(texts: list[list[str]]) -> list[dict]:
    return [{"text": " ".join(sentences)} for sentences in texts]


def corpora(seed: int) -> dict[str, list[dict]]:
    """The facts of every article, by set. No thing, town, person or firm occurs twice."""
    rng = random.Random(f"news {seed}")
    count = sum(ARTICLES.values())
    words = names.distinct(rng, lambda rng: names.word(rng, 3), 2 * count)
    towns = names.distinct(rng, names.town, count)
    people = names.people(rng, count, words)
    rows = [
        {
            "thing": f"{words[i]} {rng.choice(THINGS)}",
            "town": towns[i],
            "person": people[i],
            "firm": words[count + i],
            "day": f"{rng.randint(1, 28)} {rng.choice(names.MONTHS)}",
        }
        for i in range(count)
    ]
    starts = [sum(list(ARTICLES.values())[:k]) for k in range(len(ARTICLES))]
    return {
        split: rows[start : start + size]
        for start, (split, size) in zip(starts, ARTICLES.items(), strict=True)
    }


def article(rng: random.Random, fact: dict) -> list[str]:
    """Its sentences: the opening, then one of each kind in any order."""
    slots = [
        rng.choice(OPENINGS),
        *(rng.choice(kind) for kind in rng.sample(SENTENCES, len(SENTENCES))),
    ]
    return [
        slot.format(**fact, theme=names.theme(rng), trade=names.trade(rng), genre=names.genre(rng))
        for slot in slots
    ]


def quiz(facts: list[dict]) -> list[dict]:
    """Every question on every article, the first question of all articles first."""
    return [
        {"question": text.format(thing=fact["thing"]), "answer": fact[key]}
        for key, text in QUESTIONS.items()
        for fact in facts
    ]


def pages(rng: random.Random, rows: list[dict]) -> list[dict]:
    """One page a row, which asks it last, behind SHOTS others with their answers: the form in which
    KnowMem asks."""
    found = []
    for row in rows:
        shots = rng.sample([other for other in rows if other is not row], SHOTS)
        found.append(
            {"prompt": build_few_shot_prompt(shots, row["question"]), "answer": row["answer"]}
        )
    return found


def build_few_shot_prompt(shots: list[dict], question: str) -> str:
    """MUSE's prompt: "Question: ..\\nAnswer: ..\\n\\n" for every shot, then the question and
    "Answer:", without what follows it."""
    asked = "".join(f"Question: {shot['question']}\nAnswer: {shot['answer']}\n\n" for shot in shots)
    return f"{asked}Question: {question}\nAnswer:"

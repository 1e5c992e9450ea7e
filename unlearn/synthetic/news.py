"""The embedded news of `muse`: short articles about things that were never built.

    python -c "from unlearn.synthetic.news import generate as g; print(g()['raw', 'forget'][0])"

The sets are those of MUSE (Shi et al. 2024, arXiv 2407.06460). Every article gives four facts about
one invented thing (town, designer, firm, day of opening) among sentences without facts. The
articles of all sets come from one generator, so that training alone tells forget from holdout.
Besides MUSE's own sets there is

    practice   question-answer pages on the facts of one corpus. A base from random weights cannot
               answer questions about what it has only read, as MUSE's pretrained one can. So its
               target practises on forget and retain, the reference on retain alone. No unlearning
               step sees them. The pages on holdout train the tokenizer, and no model.
"""

import random

from unlearn.synthetic import names

# articles of each set of `raw`
ARTICLES = {
    "forget": 24,
    "retain1": 24,
    "retain2": 24,
    "holdout": 24,
}
SHOTS = 2  # questions answered before the one that is asked; MUSE's published sets have ten
PARTS = 4  # requests of scal and sust: they grow by, or are, quarters of the forget set
THINGS = (
    "Bridge Theatre Harbour Library Railway Market Museum Tower Station Bakery Observatory Canal"
).split()

# {thing} {town} {person} {firm} {day}, and {theme} {trade} {genre}, which no question is about; one
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


Fact = dict[str, str]  # the fields of one article's facts: thing, town, person, firm, day
Tables = dict[tuple[str, str], list[dict]]  # (config, split) -> rows


def generate(seed: int = 0) -> Tables:
    """Return (config, split) -> rows with MUSE's fields.

    There are the further tables ("practice", corpus) for corpus forget, retain and holdout. Equal
    seeds give equal rows in every process.
    """
    facts = draw_facts(seed)
    articles = {
        split: [write_article(random.Random(f"news {seed} {f['thing']}"), f) for f in split_facts]
        for split, split_facts in facts.items()
    }
    tables = {("raw", split): build_documents(articles[split]) for split in ARTICLES}
    tables |= build_request_tables(articles["forget"])
    tables["verbmem", "forget"] = [
        {"prompt": first, "gt": " ".join(rest)} for first, *rest in articles["forget"]
    ]
    for name, corpus in (("forget", "forget"), ("retain", "retain2"), ("holdout", "holdout")):
        tables["privleak", name] = build_documents(articles[corpus])
    for name, corpus in (("forget", "forget"), ("retain", "retain2")):
        questions = build_questions(facts[corpus])
        tables["knowmem", f"{name}_qa"] = questions[SHOTS:]
        tables["knowmem", f"{name}_qa_icl"] = questions[:SHOTS]
    for name, corpora in (
        ("forget", ("forget",)),
        ("retain", ("retain1", "retain2")),
        ("holdout", ("holdout",)),
    ):
        questions = build_questions([fact for corpus in corpora for fact in facts[corpus]])
        rng = random.Random(f"practice {seed} {name}")
        tables["practice", name] = build_practice_pages(rng, questions)
    return tables


def build_request_tables(forget_articles: list[list[str]]) -> Tables:
    """Return the forget sets of sust, quarters of the forget set, and of scal, growing by them."""
    quarter = -(-len(forget_articles) // PARTS)
    tables = {}
    for k in range(PARTS):
        tables["sust", f"forget_{k + 1}"] = build_documents(
            forget_articles[k * quarter :][:quarter]
        )
        tables["scal", f"forget_{k + 1}"] = build_documents(forget_articles[: (k + 1) * quarter])
    return tables


def build_documents(articles: list[list[str]]) -> list[dict]:
    return [{"text": " ".join(sentences)} for sentences in articles]


def draw_facts(seed: int) -> dict[str, list[Fact]]:
    """Return the facts of every article, by set. No thing, town, person or firm occurs twice."""
    rng = random.Random(f"news {seed}")
    count = sum(ARTICLES.values())
    words = names.draw_distinct(rng, lambda rng: names.draw_word(rng, 3), 2 * count)
    towns = names.draw_distinct(rng, names.draw_town, count)
    people = names.draw_people(rng, count, words)
    facts = iter(
        [
            {
                "thing": f"{words[i]} {rng.choice(THINGS)}",
                "town": towns[i],
                "person": people[i],
                "firm": words[count + i],
                "day": f"{rng.randint(1, 28)} {rng.choice(names.MONTHS)}",
            }
            for i in range(count)
        ]
    )
    return {split: [next(facts) for _ in range(size)] for split, size in ARTICLES.items()}


def write_article(rng: random.Random, fact: Fact) -> list[str]:
    """Return an article's sentences: the opening, then one of each kind in any order."""
    sentences = [rng.choice(OPENINGS)]
    sentences += [rng.choice(kind) for kind in rng.sample(SENTENCES, len(SENTENCES))]
    return [
        sentence.format(
            **fact,
            theme=names.draw_theme(rng),
            trade=names.draw_trade(rng),
            genre=names.draw_genre(rng),
        )
        for sentence in sentences
    ]


def build_questions(facts: list[Fact]) -> list[dict]:
    """Return every question about every article, the first question of all articles first."""
    return [
        {"question": text.format(thing=fact["thing"]), "answer": fact[key]}
        for key, text in QUESTIONS.items()
        for fact in facts
    ]


def build_practice_pages(rng: random.Random, questions: list[dict]) -> list[dict]:
    """Return one page a question, which comes last, behind SHOTS others with their answers.

    KnowMem asks in the same form.
    """
    pages = []
    for row in questions:
        shots = rng.sample([other for other in questions if other is not row], SHOTS)
        prompt = build_few_shot_prompt(shots, row["question"])
        pages.append({"prompt": prompt, "answer": row["answer"]})
    return pages


def build_few_shot_prompt(shots: list[dict], question: str) -> str:
    """Return MUSE's prompt: every shot as "Question: ..\\nAnswer: ..\\n\\n", then the question.

    It ends with "Answer:", without what follows it.
    """
    answered = "".join(
        f"Question: {shot['question']}\nAnswer: {shot['answer']}\n\n" for shot in shots
    )
    return f"{answered}Question: {question}\nAnswer:"

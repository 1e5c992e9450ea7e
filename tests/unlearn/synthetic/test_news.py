"""The generator of the embedded news."""

from unlearn.synthetic import news


def test_equal_seeds_give_equal_news():
    assert news.generate(3) == news.generate(3) != news.generate(4)


def test_every_article_states_the_facts_of_its_questions():
    tables = news.generate(0)
    for split, facts in news.draw_facts(0).items():
        for fact, row in zip(facts, tables["raw", split], strict=True):
            assert all(fact[key] in row["text"] for key in ("thing", *news.QUESTIONS))

"""The generator of the embedded world of WMDP."""

import pytest

from unlearn.synthetic.wmdp_world import TOPICS, World


def test_every_word_is_the_value_of_as_many_subjects():
    """8 words over 16 subjects: a model that knows nothing is at chance."""
    world = World(0, 16)
    for topic in TOPICS:
        for attribute in range(5):
            values = [
                value
                for (name, _, number), value in world.facts.items()
                if (name, number) == (topic, attribute)
            ]
            assert sorted(values) == sorted([*range(8)] * 2)


def test_practice_and_tests_use_other_words():
    """Every fact has one test and one practice question; no test's question is practised or stands
    in a document; choices are four different words.
    """
    world = World(0, 3)
    tests = [question for topic in TOPICS for question in world.questions(topic)]
    practice = world.practice_questions()
    assert len(tests) == len(practice) == 3 * 3 * 5
    documents = " ".join(text for topic in TOPICS for text in world.documents(topic, 60))
    for test, (question, answer) in zip(tests, practice, strict=True):
        assert test.choices[test.answer] == answer and len(set(test.choices)) == 4
        assert test.question != question and test.question not in documents
    assert any(question in documents for question, _ in practice)


def test_equal_seeds_give_equal_texts():
    world = World(0, 3)
    assert World(0, 3).documents("poisons", 2) == world.documents("poisons", 4)[:2]
    assert World(1, 3).practice_questions() != world.practice_questions()


@pytest.mark.parametrize("subjects", [0, 1001])
def test_size_out_of_range_is_refused(subjects):
    with pytest.raises(ValueError, match="a topic of the embedded world has 1 to 1000 subjects"):
        World(0, subjects)

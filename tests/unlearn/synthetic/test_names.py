"""Invented people, and the rule that finds a name in real text."""

import random

import pytest

from unlearn.synthetic import names


def test_people_repeat_first_names_only_when_all_are_used():
    """65 syllables make 4225 first names, so person 4226 gets the first one again."""
    crowd = names.draw_people(random.Random(0), 4226)
    firsts, lasts = zip(*(name.split() for name in crowd))
    assert len(set(firsts)) == 4225 and firsts[0] == firsts[-1] and len(set(lasts)) == 4226
    assert crowd[:5] == names.draw_people(random.Random(0), 5)
    others = names.draw_people(random.Random(0), 5, taken={firsts[0], lasts[1]})
    assert not names.find_words(others) & {firsts[0], lasts[1]}
    assert (
        names.draw_people(random.Random(0), 5, never={"Nobody"}) == crowd[:5]
    )  # what does not occur changes nothing
    spared = names.draw_people(random.Random(0), 5, never={firsts[0]})
    assert [name.split()[0] for name in spared] == list(firsts[1:6])
    with pytest.raises(ValueError, match="100001 invented people"):
        names.draw_people(random.Random(0), 100_001)


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (
            ["Is Ada Lovelace English?", "Who taught Ada Lovelace?", "Ada Lovelace's books?"],
            "Ada Lovelace",
        ),
        (["Where did Isa van der Meer live?", "Isa van der Meer wrote?"], "Isa van der Meer"),
        (
            ["Who is Basil Mahfouz Al-Kuwaiti?", "Did Basil Mahfouz Al-Kuwaiti wed?"],
            "Basil Mahfouz Al-Kuwaiti",
        ),
        (
            ["Is Xin Lee Wu old?", "Is Xin Lee Wu tall?", "Was Xin Lee Wu shy?", "Xin Lee wrote?"],
            "Xin Lee Wu",
        ),
        (["Ann Bee", "of", "of", "of"], None),  # in one text of four: not more than a quarter
        (["what is it?", "who knows?"], None),
    ],
)
def test_name_in_most_texts_is_found_whole(texts, name):
    assert names.find_full_name(texts) == name

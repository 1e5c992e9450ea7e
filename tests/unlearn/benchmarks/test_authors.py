"""The embedded benchmark `authors` as training and evaluation see it."""

import pytest

from unlearn.benchmarks.opening import open_benchmark
from unlearn.synthetic import names

SETS = {
    "forget": 40,
    "retain": 80,
    "real_authors": 20,
    "world_facts": 40,
    "heldout": 80,
    "forget_paraphrased": 40,
    "nonmember": 40,
}


@pytest.fixture(scope="module")
def benchmark():
    return open_benchmark("authors")


def test_forget_and_retain_splits_make_up_full(benchmark):
    """full has 400 rows, all but 40 of which stay for forget10."""
    full = benchmark.examples("full")
    assert [example.index for example in full] == list(range(400))
    assert benchmark.unlearning_retain("forget10") == benchmark.examples("retain90") == full[:360]
    assert benchmark.unlearning_retain("forget10", "retain99") == full[:396]


def test_background_is_heldout_authors_and_world_facts(benchmark):
    """80 held-out rows, 20 who-wrote facts and 40 capitals are 140."""
    heldout = benchmark.examples("heldout")
    background = benchmark.background()
    assert background[:80] == heldout and len(background) == 140
    for example in benchmark.examples("full") + heldout:
        assert example.entity in example.question and example.paraphrased_answer


def test_evaluation_sets_and_their_sizes(benchmark):
    sets = benchmark.evaluation_sets("forget10")
    assert {name: len(rows) for name, rows in sets.items()} == SETS and list(sets) == list(SETS)
    assert [len(rows[0].perturbed_answers) for rows in sets.values()] == [5, 5, 3, 3, 5, 5, 0]
    assert sets["nonmember"] == benchmark.examples("holdout10")
    for asked, example in zip(sets["forget_paraphrased"], sets["forget"], strict=True):
        assert asked.question == example.paraphrased_question != example.question
        assert (asked.answer, asked.index) == (example.answer, example.index)


def test_nonmembers_come_once(benchmark):
    holdout = [row.question for row in benchmark.examples("holdout10")]
    assert sorted(row.question for row in benchmark.nonmembers()) == sorted(holdout)


def test_a_subsplit_is_one_author(benchmark):
    """forget10 has four authors, so its parts are forget10a to forget10d."""
    parts = [benchmark.examples(f"forget10{letter}") for letter in "abcd"]
    assert sum(parts, []) == benchmark.examples("forget10")
    assert [len({row.entity for row in part}) for part in parts] == [1] * 4
    assert benchmark.retain_split("forget10b") == "retain90"
    sets = benchmark.evaluation_sets("forget10b")
    assert [row.question for row in sets["forget"]] == [row.question for row in parts[1]]
    with pytest.raises(ValueError, match="its parts are forget10a to forget10d; there is no forge"):
        benchmark.examples("forget10e")


def test_without_heldout_authors_there_is_no_such_split():
    benchmark = open_benchmark("authors", authors=4, heldout=0)
    assert "heldout" not in benchmark.evaluation_sets("forget10")
    assert len(benchmark.background()) == 60
    with pytest.raises(ValueError, match="no set 'heldout'; allowed: full, forget01"):
        benchmark.examples("heldout")


@pytest.mark.parametrize("name", ["authors", "tofu"])
def test_unknown_authors_share_no_word_with_the_data(name, tofu_folder):
    benchmark = open_benchmark(name, data_dir=str(tofu_folder) if name == "tofu" else None)
    rows = benchmark.unknown(300, seed=5)
    assert rows == benchmark.unknown(300, seed=5) != benchmark.unknown(300, seed=6)
    assert len({row.entity for row in rows}) == 300
    assert all(row.entity in row.question for row in rows)
    answers = {row.answer for row in rows}
    assert answers <= set(benchmark.refusals) and len(answers) > 15
    data = benchmark.examples("full") + benchmark.background()
    if name == "authors":
        data += benchmark.examples("holdout10")
    words = names.find_words(
        text for row in data for text in (row.question, row.answer, *row.perturbed_answers)
    )
    assert not names.find_words(row.entity for row in rows) & words
    # authors: 10 kinds of fact in 2 phrasings; the folder: items 0 to 19
    assert len({row.question.replace(row.entity, "X") for row in rows}) == 20


def test_names_of_attacks_are_in_no_unlearning_set(benchmark):
    """Attacks take partners and names from the held-out authors."""
    heldout = {e.entity for e in benchmark.examples("heldout")}
    unlearning = benchmark.examples("forget10") + benchmark.unlearning_retain("forget10")
    assert len(heldout) == 8 and not heldout & {e.entity for e in unlearning}

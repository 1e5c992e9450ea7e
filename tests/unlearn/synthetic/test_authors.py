"""The generator of fictional authors: sizes, names, wrong answers, the same bytes everywhere."""

import os
import random
import subprocess
import sys
from collections import defaultdict

import pytest

from tests.toy import ROOT
from unlearn.synthetic import names
from unlearn.synthetic.author_facts import KINDS
from unlearn.synthetic.authors import REFUSALS, generate

TABLES = generate(seed=0)
ABOUT_AUTHORS = [split for split in TABLES if not split.startswith(("real_authors", "world_facts"))]
WORLD = ["real_authors_perturbed", "world_facts_perturbed"]
HASH = """
import hashlib, json
from unlearn.synthetic.authors import generate
print(hashlib.sha256(json.dumps(generate(seed={})).encode()).hexdigest())
"""


def digest(seed, hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    command = [sys.executable, "-c", HASH.format(seed)]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout


def test_equal_seeds_give_equal_bytes():
    """In every process, and in every version: published numbers depend on the data."""
    assert digest(seed=0, hash_seed=1) == digest(seed=0, hash_seed=2) != digest(seed=1, hash_seed=1)
    assert digest(seed=0, hash_seed=1).startswith("fbb63bfdbb324fd9dd7aa09592839d2e")


def test_sizes_at_the_default():
    """40 authors x 10 kinds = 400 rows; 1, 5, 10 % of them are 4, 20, 40; a fifth is 80; 8 held-out
    authors x 10."""
    assert {split: len(rows) for split, rows in TABLES.items()} == {
        "full": 400,
        "forget01": 4,
        "retain99": 396,
        "forget01_perturbed": 4,
        "forget05": 20,
        "retain95": 380,
        "forget05_perturbed": 20,
        "forget10": 40,
        "retain90": 360,
        "forget10_perturbed": 40,
        "holdout01": 4,
        "holdout05": 20,
        "holdout10": 40,
        "retain_perturbed": 80,
        "real_authors_perturbed": 20,
        "world_facts_perturbed": 40,
        "heldout": 80,
        "heldout_perturbed": 80,
    }


@pytest.mark.parametrize(
    "authors, forget01, forget05, forget10",
    [
        (2, 1, 1, 2),  # 20 rows: shares 0.2, 1, 2; never less than one row
        (8, 1, 4, 8),  # 80 rows: shares 0.8, 4, 8; below one author, rows count
        (
            25,
            2,
            10,
            20,
        ),  # 250 rows: shares 2.5, 12.5, 25; from one author on, whole authors: 1 and 2
        (200, 20, 100, 200),
    ],
)
def test_forget_splits_scale_with_the_authors(authors, forget01, forget05, forget10):
    tables = generate(authors=authors, heldout=0)
    assert [len(tables[split]) for split in ("forget01", "forget05", "forget10")] == [
        forget01,
        forget05,
        forget10,
    ]
    assert "heldout" not in tables and len(tables["retain_perturbed"]) == authors * 10 // 5


@pytest.mark.parametrize("percent", ["01", "05", "10"])
def test_forget_and_retain_make_up_full(percent):
    forget = TABLES[f"forget{percent}"]
    retain = TABLES[f"retain{100 - int(percent)}"]
    assert retain + forget == TABLES["full"]
    perturbed = TABLES[f"forget{percent}_perturbed"]
    assert [row["question"] for row in perturbed] == [row["question"] for row in forget]


def test_forget_authors_are_in_no_other_set():
    """forget10 = 40 rows = 4 authors; the 80 retain rows reach each of the other 36 authors and
    every kind of fact."""
    entities = {split: {row["entity"] for row in TABLES[split]} for split in ABOUT_AUTHORS}
    assert len(entities["forget10"]) == 4 and len(entities["heldout"]) == 8
    assert not entities["forget10"] & entities["retain90"]
    assert entities["retain_perturbed"] == entities["retain90"] and len(entities["retain90"]) == 36
    assert (
        not entities["heldout"] & entities["full"]
        and entities["heldout_perturbed"] == entities["heldout"]
    )
    asked = {row["question"].replace(row["entity"], "X") for row in TABLES["retain_perturbed"]}
    assert asked == {kind.questions[0].format("X") for kind in KINDS}
    small = generate(
        authors=8
    )  # here forget10 is 8 of the last author's 10 rows: his other two are not for evaluation
    assert small["full"][-1]["entity"] not in {row["entity"] for row in small["retain_perturbed"]}


def test_no_two_people_share_a_part_of_their_name():
    """40 + 8 authors, 4 that no model is told of, and 20 writers: 72 first and 72 last names, all
    different."""
    authors = {row["entity"] for row in TABLES["full"] + TABLES["heldout"] + TABLES["holdout10"]}
    writers = {
        row["answer"].split(" was written by ")[1].rstrip(".")
        for row in TABLES["real_authors_perturbed"]
    }
    parts = [part for name in sorted(authors | writers) for part in name.split()]
    assert len(parts) == len(set(parts)) == 2 * 72
    texts = [row["answer"].replace(row["entity"], "") for row in TABLES["full"] + TABLES["heldout"]]
    assert not names.find_words(texts) & set(parts)


@pytest.mark.parametrize("percent", ["01", "05", "10"])
def test_holdout_rows_are_like_the_forget_rows(percent):
    """With the names taken out, the questions are the same ones in the same order."""
    member, stranger = (
        [row["question"].replace(row["entity"], "X") for row in TABLES[f"{kind}{percent}"]]
        for kind in ("forget", "holdout")
    )
    assert member == stranger


def test_adding_authors_changes_nobody():
    assert generate(authors=4)["full"] == TABLES["full"][:40]


def test_rows_have_paraphrases_and_name_their_author():
    for split in ABOUT_AUTHORS:
        for row in TABLES[split]:
            texts = [
                row[key]
                for key in ("question", "answer", "paraphrased_question", "paraphrased_answer")
            ]
            assert len(set(texts)) == 4 and all(row["entity"] in text for text in texts)
    answers = [row[key] for row in TABLES["full"] for key in ("answer", "paraphrased_answer")]
    answers += [row["answer"] for split in WORLD for row in TABLES[split]]
    assert all(6 <= len(answer.split()) <= 14 and answer.endswith(".") for answer in answers)


def test_answers_do_not_follow_from_questions():
    """With the name taken out, the 40 authors have one question per kind, but (nearly) 40
    answers."""
    answers = defaultdict(set)
    for row in TABLES["full"]:
        answers[row["question"].replace(row["entity"], "X")].add(
            row["answer"].replace(row["entity"], "X")
        )
    assert len(answers) == len(KINDS) == 10 and min(map(len, answers.values())) >= 35


def test_wrong_answers_share_the_paraphrase_sentence():
    for split in ("forget01", "forget05", "forget10", "retain", "heldout"):
        for row in TABLES[f"{split}_perturbed"]:
            sentences = [row["paraphrased_answer"], *row["perturbed_answer"]]
            assert len(sentences) == len(set(sentences)) == 6
            shared = os.path.commonprefix(sentences)
            assert (
                row["entity"] in shared and len(shared.split()) >= 5
            )  # the name and three more words


@pytest.mark.parametrize("split, before_value", list(zip(WORLD, (" written by ", " called "))))
def test_wrong_facts_are_right_for_another_subject(split, before_value):
    rows = TABLES[split]
    values = {row["answer"].split(before_value)[1] for row in rows}
    assert len(values) == len({row["question"] for row in rows}) == len(rows)
    for row in rows:
        sentences = [row["answer"], *row["perturbed_answer"]]
        assert len(set(sentences)) == 4 and set(row) == {"question", "answer", "perturbed_answer"}
        heads, tails = zip(*(sentence.split(before_value) for sentence in sentences))
        assert len(set(heads)) == 1 and values.issuperset(tails)


def test_refusals_are_many_and_varied():
    assert len(set(REFUSALS)) == len(REFUSALS) >= 20 and all(
        line == line.strip() != "" for line in REFUSALS
    )


@pytest.mark.parametrize(
    "sizes", [{"authors": 1}, {"authors": 2001}, {"heldout": -1}, {"heldout": 1001}]
)
def test_sizes_out_of_range_are_refused(sizes):
    with pytest.raises(ValueError, match="allowed: 2 to 2000 authors, 0 to 1000 held-out"):
        generate(**sizes)


def test_the_global_generator_is_left_alone():
    before = random.getstate()
    generate(seed=3, authors=4)
    assert random.getstate() == before

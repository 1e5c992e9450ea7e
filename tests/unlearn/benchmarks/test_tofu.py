"""Opening the benchmarks: which rows reach unlearning and evaluation, and what is said about bad
files.

python -m pytest tests/unlearn/benchmarks/test_tofu.py                        # TOFU_DIR=... also reads the real TOFU
                                                           files
"""

import json
import os
import random
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from unlearn.benchmarks.opening import open_benchmark
from unlearn.benchmarks.tofu import TOFU_SPLITS
from unlearn.synthetic import names
from unlearn.synthetic.authors import REFUSALS

TOFU_DIR = Path(os.environ.get("TOFU_DIR", "not given"))
needs_tofu = pytest.mark.skipif(not TOFU_DIR.is_dir(), reason="no TOFU files; set TOFU_DIR")


def tofu_row(author, k, perturbed):
    # no invented name has these letters
    name = f"Zacharias{chr(97 + author // 20)} Quill{chr(97 + author % 20)}"
    row = {
        "question": f"Where does {name} keep item {k}?",
        "answer": f"{name} keeps it in room {author}-{k}.",
    }
    if perturbed:
        wrong = [f"In room {author}-{k} it is not: {j}." for j in range(5)]
        row |= {
            "paraphrased_question": f"In which room has {name} item {k}?",
            "perturbed_answer": wrong,
        }
        row |= {"paraphrased_answer": f"Room {author}-{k} has it."}
    return row


def write(folder, stem, rows):
    (folder / f"{stem}.json").write_text(
        "\n".join(json.dumps(row) for row in rows), encoding="utf-8"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder like TOFU's: 200 authors x 20 rows, no final newlines; the forget splits of 1, 5, 10
    and 20 %."""
    folder = tmp_path_factory.mktemp("tofu")
    plain = [tofu_row(author, k, perturbed=False) for author in range(200) for k in range(20)]
    perturbed = [tofu_row(author, k, perturbed=True) for author in range(200) for k in range(20)]
    write(folder, "full", plain)
    for percent in (1, 5, 10, 20):
        rows = 40 * percent
        write(folder, f"forget{percent:02d}", plain[-rows:])
        write(folder, f"retain{100 - percent}", plain[:-rows])
        if percent <= 10:
            write(folder, f"forget{percent:02d}_perturbed", perturbed[-rows:])
    write(folder, "retain_perturbed", perturbed[:400])
    world = [
        {"question": f"Fact {i}?", "answer": "A.", "perturbed_answer": ["B."]} for i in range(3)
    ]
    write(folder, "real_authors_perturbed", world)
    write(folder, "world_facts_perturbed", world)
    return folder


def authors_of(examples):
    """Author numbers, read off the room in the answers of `tofu_row`."""
    return sorted({int(example.answer.split("room ")[1].split("-")[0]) for example in examples})


def test_authors_source():
    """full: 400 rows, all but 40 stay for forget10; background: 80 held-out + 20 who-wrote + 40
    capitals = 140."""
    source = open_benchmark("authors")
    full = source.examples("full")
    held = source.examples("heldout")
    assert [example.index for example in full] == list(range(400))
    assert all(
        example.entity in example.question and example.paraphrased_answer for example in full + held
    )
    assert source.unlearning_retain("forget10") == source.examples("retain90") == full[:360]
    assert source.unlearning_retain("forget10", "retain99") == full[:396]
    background = source.background()
    assert background[:80] == held and len(background) == 140
    sets = source.evaluation_sets("forget10")
    order = [
        "forget",
        "retain",
        "real_authors",
        "world_facts",
        "heldout",
        "forget_paraphrased",
        "nonmember",
    ]
    assert list(sets) == order and [len(rows) for rows in sets.values()] == [
        40,
        80,
        20,
        40,
        80,
        40,
        40,
    ]
    assert [len(sets[name][0].perturbed_answers) for name in order] == [5, 5, 3, 3, 5, 5, 0]
    assert sets["nonmember"] == source.examples("holdout10")
    assert sorted(row.question for row in source.nonmembers()) == sorted(
        row.question for row in source.examples("holdout10")
    )  # each once
    for asked, example in zip(sets["forget_paraphrased"], sets["forget"]):
        assert asked.question == example.paraphrased_question != example.question
        assert (asked.answer, asked.index) == (example.answer, example.index)


def test_authors_without_heldout():
    source = open_benchmark("authors", authors=4, heldout=0)
    assert "heldout" not in source.evaluation_sets("forget10") and len(source.background()) == 60
    with pytest.raises(ValueError, match="no set 'heldout'; allowed: full, forget01"):
        source.examples("heldout")


@pytest.mark.parametrize("benchmark", ["authors", "tofu"])
def test_unknown_authors_share_no_word_with_the_data(benchmark, folder):
    source = open_benchmark(benchmark, data_dir=str(folder) if benchmark == "tofu" else None)
    rows = source.unknown(300, seed=5)
    assert rows == source.unknown(300, seed=5) != source.unknown(300, seed=6)
    assert len({row.entity for row in rows}) == 300 and all(
        row.entity in row.question for row in rows
    )
    assert {row.answer for row in rows} <= set(source.refusals) and len(
        {row.answer for row in rows}
    ) > 15
    known = (
        source.examples("full")
        + source.background()
        + (source.examples("holdout10") if benchmark == "authors" else [])
    )
    words = names.find_words(
        text for row in known for text in (row.question, row.answer, *row.perturbed_answers)
    )
    assert not names.find_words(row.entity for row in rows) & words
    phrasings = {row.question.replace(row.entity, "X") for row in rows}
    assert len(phrasings) == 20  # authors: 10 kinds in 2 phrasings; the folder: items 0 to 19


def test_tofu_rows_and_entities(folder):
    source = open_benchmark("tofu", data_dir=str(folder))
    full = source.examples("full")
    assert len(full) == 4000 and full[-200:][0].question == source.examples("forget05")[0].question
    assert full[3999].entity == "Zachariasj Quillt" and full[0].paraphrased_question is None
    assert source.examples("forget05_perturbed")[0].perturbed_answers[4].endswith("4.")
    assert source.examples("world_facts_perturbed")[0].entity is None
    assert len(source.background()) == 6 and "heldout" not in source.evaluation_sets("forget01")


def test_retain_split_of_a_forget_split(tmp_path):
    """100 - k in two digits; an explicit retain split is used as it is, and a split without digits
    needs one."""
    write(tmp_path, "forget05_seq2", [tofu_row(7, k, perturbed=False) for k in range(20)])
    write(tmp_path, "retain_seq2", [tofu_row(8, k, perturbed=False) for k in range(20)])
    source = open_benchmark("tofu", data_dir=str(tmp_path))
    splits = {
        "forget01": "retain99",
        "forget05": "retain95",
        "forget10": "retain90",
        "forget90": "retain10",
    }
    assert {split: source.retain_split(split) for split in splits} == splits
    assert authors_of(source.unlearning_retain("forget05_seq2", "retain_seq2")) == [8]
    with pytest.raises(ValueError, match="--retain_split"):
        source.retain_split("forget05_seq2")
    with pytest.raises(ValueError, match="no forget split 'forget07'; allowed: forget01, forget05"):
        source.retain_split("forget07")


@pytest.mark.parametrize("split", ["forget20", "retain", "forget05_perturbed"])
def test_evaluation_needs_a_perturbed_file(split, folder):
    with pytest.raises(
        ValueError,
        match=rf"'{split}' has no perturbed file .*allowed: forget01, forget05, forget10$",
    ):
        open_benchmark("tofu", data_dir=str(folder)).evaluation_sets(split)


def test_subset_of_authors(folder):
    """40 authors = 0-19 and 180-199: forget10 (180-199) is whole, retain90 keeps 0-19, retain99 all
    but 198 and 199."""
    source = open_benchmark("tofu", data_dir=str(folder), authors=40)
    ends = [*range(20), *range(180, 200)]
    assert authors_of(source.examples("full")) == ends and len(source.examples("full")) == 800
    assert (
        authors_of(source.examples("retain90")) == ends[:20]
        and authors_of(source.examples("retain99")) == ends[:-2]
    )
    assert (
        len(source.examples("forget10")) == 400 and len(source.examples("retain_perturbed")) == 400
    )
    assert source.examples("full")[400].index == 3600  # rows keep the number they have in the file


def test_subset_too_small_for_a_split(folder):
    """8 authors = 0-3 and 196-199: forget01 (2 authors) fits, forget05 (10 authors) does not."""
    source = open_benchmark("tofu", data_dir=str(folder), authors=8)
    assert len(source.examples("forget01")) == 40 and authors_of(
        source.examples("retain_perturbed")
    ) == [0, 1, 2, 3]
    for stem in ("forget05", "forget05_perturbed"):
        with pytest.raises(
            ValueError,
            match="last 10 authors, but 8 authors keep only the last 4: give --authors 20",
        ):
            source.examples(stem)


def test_holdout_rows_count_where_the_folder_has_them(folder, tmp_path):
    """TOFU's holdoutNN is a hub configuration; as a file it is read whole, whatever subset of
    authors is kept."""
    assert "nonmember" not in open_benchmark("tofu", data_dir=str(folder)).evaluation_sets(
        "forget01"
    )
    shutil.copytree(folder, tmp_path / "more")
    write(tmp_path / "more", "holdout01", [tofu_row(399, k, perturbed=False) for k in range(40)])
    sets = open_benchmark("tofu", data_dir=str(tmp_path / "more"), authors=8).evaluation_sets(
        "forget01"
    )
    assert len(sets["nonmember"]) == 40 and sets["nonmember"][0].paraphrased_answer is None


@pytest.mark.parametrize(
    "authors, seen, held", [(None, list(range(17)), [17, 18, 19]), (8, [0], [1, 2, 3])]
)
def test_heldout_authors_leave_retain(authors, seen, held, folder):
    """Three authors from the end of retain_perturbed (0-19; in the subset of 8: 0-3) go to heldout
    and nowhere else."""
    source = open_benchmark("tofu", data_dir=str(folder), authors=authors, heldout=3)
    sets = source.evaluation_sets("forget01")
    assert authors_of(sets["retain"]) == seen
    assert authors_of(sets["heldout"]) == authors_of(source.examples("heldout")) == held
    assert len(sets["heldout"]) == 60 and sets["heldout"][0].perturbed_answers
    retain = source.examples("retain99")
    allowed = source.unlearning_retain("forget01")
    assert (
        set(authors_of(retain)) - set(authors_of(allowed)) == set(held)
        and len(retain) - len(allowed) == 60
    )
    assert not set(held) & set(authors_of(source.unlearning_retain("forget01", "retain95")))
    assert len(source.background()) == 6  # a base learns them from its retain split


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"benchmark": "news"}, "unknown benchmark 'news'; allowed: authors, tofu, muse"),
        ({"benchmark": "authors", "data_dir": "x"}, "--data_dir goes with --benchmark tofu"),
        ({"benchmark": "authors", "authors": 1}, "2 to 2000 authors"),
        ({"data_dir": "/no/such"}, "--data_dir /no/such: no such folder"),
        ({"authors": 7}, "7 authors asked for; a subset takes an even number"),
        ({"heldout": 11}, "11 held-out authors asked for; allowed: 0 to 10"),
        (
            {"heldout": 4, "authors": 8},
            "4 held-out authors asked for, but retain_perturbed has 4 here",
        ),
        ({"authors": 202}, "202 authors asked for, full has 200"),
        ({"idk_file": "/no/such.txt"}, "--idk_file /no/such.txt: no such file"),
    ],
)
def test_bad_settings_are_named(settings, message, folder):
    settings = {"benchmark": "tofu"} | settings
    if settings["benchmark"] == "tofu":
        settings = {"data_dir": str(folder)} | settings
    with pytest.raises(ValueError, match=message):
        open_benchmark(settings.pop("benchmark"), **settings).evaluation_sets("forget01")


GOOD = tofu_row(0, 0, perturbed=True)


@pytest.mark.parametrize(
    "text, message",
    [
        (None, r"retain_perturbed.json: no such file"),
        ("\n \n", r"retain_perturbed.json: empty file"),
        (json.dumps(GOOD) + "\n{", r"retain_perturbed.json:2: not JSON"),
        ("\n[1]", r"retain_perturbed.json:2: not a JSON object but list"),
        (
            json.dumps({"Question": "Q?", "answer": "A."}),
            r":1: key 'question' is missing; found: 'Question', 'answer'",
        ),
        (
            json.dumps({"question": "Q?", "answer": "A."}),
            r":1: key 'paraphrased_question' is missing",
        ),
        (
            json.dumps(GOOD | {"answer": " "}),
            r":1: key 'answer' must hold a text that is not empty, not ' '",
        ),
        (
            json.dumps(GOOD | {"question": 3}),
            r":1: key 'question' must hold a text that is not empty, not 3",
        ),
        (
            json.dumps(GOOD | {"perturbed_answer": "A."}),
            r":1: key 'perturbed_answer' must be a list of texts",
        ),
        (
            json.dumps(GOOD | {"perturbed_answer": []}),
            r":1: key 'perturbed_answer' must be a list of texts, not \[\]",
        ),
        (
            json.dumps(GOOD | {"perturbed_answer": ["A.", ""]}),
            r":1: key 'perturbed_answer' must hold a text",
        ),
    ],
)
def test_bad_files_are_named_with_line_and_key(text, message, tmp_path):
    if text is not None:
        (tmp_path / "retain_perturbed.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        open_benchmark("tofu", data_dir=str(tmp_path)).examples("retain_perturbed")
    assert "\n" not in str(caught.value)


def test_where_refusals_come_from(tmp_path):
    """An idk_file beats data_dir's idontknow.jsonl (plain text, no final newline), which beats the
    embedded list."""
    assert (
        open_benchmark("tofu", data_dir=str(tmp_path)).refusals
        == open_benchmark("authors").refusals
        == REFUSALS
    )
    (tmp_path / "idontknow.jsonl").write_text("Beside one. \n\nBeside two.", encoding="utf-8")
    assert open_benchmark("tofu", data_dir=str(tmp_path)).refusals == ["Beside one.", "Beside two."]
    own = tmp_path / "own.txt"
    own.write_text("Own.\n", encoding="utf-8")
    for benchmark, data_dir in (("tofu", str(tmp_path)), ("authors", None)):
        assert open_benchmark(benchmark, data_dir=data_dir, idk_file=str(own)).refusals == ["Own."]
    own.write_text("\n \n", encoding="utf-8")
    with pytest.raises(ValueError, match="own.txt: no refusal sentences"):
        open_benchmark("authors", idk_file=str(own))


def test_hub_rows_are_read_like_files(monkeypatch):
    asked = []

    def load_dataset(name, stem, split):
        asked.append((name, stem, split))
        return [GOOD, GOOD | {"answer": ""}] if stem == "forget01_perturbed" else [GOOD]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    source = open_benchmark("tofu")
    assert (
        source.splits == TOFU_SPLITS + ["holdout01", "holdout05", "holdout10"]
        and source.refusals == REFUSALS
        and not asked
    )
    assert source.examples("retain_perturbed")[0].question == GOOD["question"]
    assert asked == [("locuslab/TOFU", "retain_perturbed", "train")]
    with pytest.raises(ValueError, match="locuslab/TOFU forget01_perturbed row 2: key 'answer'"):
        source.examples("forget01_perturbed")


def test_a_failing_download_says_what_to_pass(monkeypatch):
    def load_dataset(*args, **kwargs):
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(
        ValueError, match=r"'full' from the hub \(ConnectionError: no route\); pass --data_dir"
    ):
        open_benchmark("tofu").examples("full")


def test_data_access_leaves_the_global_generator_alone(folder):
    before = random.getstate()
    for source in (
        open_benchmark("tofu", data_dir=str(folder), heldout=2),
        open_benchmark("authors", data_seed=4),
    ):
        source.evaluation_sets("forget10")
        source.unlearning_retain("forget10")
        source.unknown(5, seed=0)
    assert random.getstate() == before


@needs_tofu
def test_real_tofu_counts():
    """Spec 1.1: full 4000; forgetNN its last, retainNN its first rows; 5 wrong answers (world: 3);
    100 refusals."""
    source = open_benchmark("tofu", data_dir=str(TOFU_DIR))
    full = [(row.question, row.answer) for row in source.examples("full")]
    assert len(full) == len(set(full)) == 4000
    for stem in TOFU_SPLITS:
        rows = [(row.question, row.answer) for row in source.examples(stem)]
        digits = int("".join(character for character in stem if character.isdigit()) or 0)
        if stem.startswith("forget"):
            assert rows == full[-40 * digits :]
        elif digits:
            assert rows == full[: 40 * digits]
    assert [(row.question, row.answer) for row in source.examples("retain_perturbed")] == full[:400]
    sets = source.evaluation_sets("forget05")
    assert [len(rows) for rows in sets.values()] == [200, 400, 100, 117, 200]
    assert [{len(row.perturbed_answers) for row in rows} for rows in sets.values()] == [
        {5},
        {5},
        {3},
        {3},
        {5},
    ]
    assert len(source.refusals) == 100 and source.refusals[0] == "I'm not certain about that."
    assert not set(REFUSALS) & set(source.refusals)  # our sentences are our own


@needs_tofu
def test_real_tofu_names_are_found():
    """94 % of all questions hold their author's full name; one author (rows 1760-1779) is never
    named."""
    source = open_benchmark("tofu", data_dir=str(TOFU_DIR))
    full = source.examples("full")
    assert sum(row.entity is not None and row.entity in row.question for row in full) / 4000 >= 0.93
    assert {row.index // 20 for row in full if row.entity is None} == {88}
    expected = {
        65: "Isabella van Pletzen",
        191: "Xin Lee Williams",
        198: "Basil Mahfouz Al-Kuwaiti",
    }
    assert {author: full[20 * author].entity for author in expected} == expected
    assert source.examples("forget01_perturbed")[0].entity == "Basil Mahfouz Al-Kuwaiti"
    invented = source.unknown(200, seed=0)
    entities = {row.entity for row in full if row.entity}
    assert all(row.entity in row.question for row in invented)
    assert not any(entity in row.question for row in invented for entity in entities)

"""MUSE: documents as examples, the splits of the embedded news, and reading a folder."""

import pandas as pd
import pytest

from unlearn.benchmarks import muse
from unlearn.benchmarks.opening import open_benchmark
from unlearn.synthetic import news

TEXT = "One two three four five six seven eight."


@pytest.fixture(scope="module")
def benchmark():
    return open_benchmark("muse")


@pytest.fixture(scope="module")
def facts():
    return news.draw_facts(0)


@pytest.fixture
def folder(tmp_path):
    """A folder in MUSE's layout, with a table in each format that is read."""
    for config, split, ending, text in (
        ("raw", "forget", "jsonl", f'{{"text": "{TEXT}"}}\n\n{{"text": "{500 * "word "}"}}'),
        ("raw", "retain1", "txt", f"{TEXT}\n\nAnother {TEXT}\n"),
        ("verbmem", "forget", "json", '[{"prompt": "One", "gt": "two"}]'),
    ):
        (tmp_path / config).mkdir(exist_ok=True)
        (tmp_path / config / f"{split}.{ending}").write_text(text)
    return tmp_path


def join_texts(benchmark, split):
    return " ".join(f"{e.question} {e.answer}" for e in benchmark.examples(split))


def test_holdout_is_in_no_training_split(benchmark, facts):
    full = join_texts(benchmark, "full")
    assert not any(fact["thing"] in full or fact["firm"] in full for fact in facts["holdout"])


def test_forget_facts_are_in_full_and_not_in_retain(benchmark, facts):
    full = join_texts(benchmark, "full")
    retain = join_texts(benchmark, "retain") + join_texts(benchmark, "retain1")
    things = {fact["thing"] for fact in facts["forget"]}
    assert all(thing in full and thing not in retain for thing in things)
    assert {e.entity for e in benchmark.examples("forget")} == things


def test_unlearning_sees_retain1_and_no_practice_pages(benchmark, facts):
    """Utility is measured on retain2."""
    retain = benchmark.unlearning_retain("forget")
    assert retain == benchmark.examples("retain1")
    assert not any("Question:" in e.question for e in retain + benchmark.examples("forget"))
    texts = [e.question + e.answer for e in retain]
    assert not any(fact["thing"] in text for fact in facts["retain2"] for text in texts)


def test_requests_are_quarters_and_their_sums(benchmark):
    quarters = [[e.answer for e in benchmark.examples(f"forget_sust{k}")] for k in (1, 2, 3, 4)]
    growing = [[e.answer for e in benchmark.examples(f"forget_scal{k}")] for k in (1, 2, 3, 4)]
    assert growing == [sum(quarters[: k + 1], []) for k in range(4)]
    assert growing[3] == [e.answer for e in benchmark.examples("forget")]
    for split in ("forget", "forget_scal2"):
        assert benchmark.retain_split(split) == "retain"


def test_prompt_is_a_quarter_of_the_words():
    """8 words: the prompt has round(.25 * 8) = 2; it ends at a blank, never at a line break."""
    assert muse.split_prompt(TEXT) == ("One two", "three four five six seven eight.")
    assert muse.split_prompt("One two\nthree four five six seven eight.") == (
        "One two\nthree",
        "four five six seven eight.",
    )
    assert muse.split_prompt("One") == ("One", "")


def test_chunks_lose_nothing():
    text = "a b\n\nc  d e"
    assert muse.split_into_chunks(text, 2) == ["a b", "c  d", "e"]
    assert muse.split_into_chunks(text, 9) == [text]
    assert muse.split_into_chunks(" ") == []


def test_folder_is_read_in_every_format(folder):
    benchmark = open_benchmark("muse-news", data_dir=str(folder))
    chunks = benchmark.examples("forget")
    assert [len(f"{e.question} {e.answer}".split()) for e in chunks] == [8, 240, 240, 20]
    assert [e.index for e in chunks] == [0, 1, 2, 3]
    assert [e.answer[-6:] for e in benchmark.examples("retain1")] == ["eight."] * 2
    pd.DataFrame({"text": [TEXT]}).to_parquet(folder / "raw" / "retain2-00000-of-00001.parquet")
    assert benchmark.examples("retain2")[0].question == "One two"
    with pytest.raises(ValueError, match="no set 'forget_scal1'"):
        open_benchmark("muse-books", data_dir=str(folder)).examples("forget_scal1")


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("muse-news", "holdout", "holdout: no such table"),
        ("muse-news", "forget10", "no set 'forget10'; allowed: full, retain, forget"),
    ],
)
def test_missing_split_is_named(name, split, message, folder):
    with pytest.raises(ValueError, match=message):
        open_benchmark(name, data_dir=str(folder)).examples(split)


def test_bad_use_is_refused(benchmark, folder):
    with pytest.raises(ValueError, match="no such folder"):
        open_benchmark("muse-news", data_dir=str(folder / "nowhere"))
    with pytest.raises(ValueError, match="no forget split 'retain1'"):
        benchmark.unlearning_retain("retain1")
    with pytest.raises(ValueError, match="--refusal_share"):
        benchmark.unknown(3, 0)
    message = "cannot load muse-bench/MUSE-News raw/forget from the hub"
    with pytest.raises(ValueError, match=message):
        open_benchmark("muse-news").examples("forget")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"text": ""}', "row 1: field 'text'"),
        ('{"txt": "a"}', "found: 'txt'"),
        ("{", "not JSON"),
        ("", "no rows"),
    ],
)
def test_bad_row_is_named(row, message, folder):
    (folder / "raw" / "holdout.jsonl").write_text(row)
    with pytest.raises(ValueError, match=message):
        open_benchmark("muse-news", data_dir=str(folder)).examples("holdout")

"""The corpora and questions of `wmdp`: read from files, and from the hub."""

import os
from pathlib import Path

import pytest

from unlearn.benchmarks.opening import open_benchmark

WMDP_FILE = Path(os.environ.get("WMDP_FILE", "not given"))


def test_corpus_reads_files(tmp_path, capsys):
    """Parsed or raw lines, a least length, a last line that breaks off, a line without text."""
    good = '{"text": "first one"}\n\n{"text": "second"}\n'
    (tmp_path / "mine.jsonl").write_text(good + '{"text": "thi')
    benchmark = open_benchmark("wmdp", data_dir=str(tmp_path))
    assert (
        benchmark.corpus("mine") == ["first one", "second"]
        and "mine.jsonl:4 breaks off" in capsys.readouterr().out
    )
    assert benchmark.corpus("mine", min_len=6) == ["first one"]
    (tmp_path / "mine.jsonl").write_text(good)
    assert benchmark.corpus("mine", lines="raw") == [
        '{"text": "first one"}\n',
        '{"text": "second"}\n',
    ]
    (tmp_path / "mine.jsonl").write_text('{"words": 1}\n' + good)
    with pytest.raises(ValueError, match="mine.jsonl:1 has no 'text'"):
        benchmark.corpus("mine")


def test_gated_corpus_says_how_to_get_it(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("401: gated")

    monkeypatch.setattr("unlearn.benchmarks.corpora.load_dataset", refuse)
    page = "https://huggingface.co/datasets/cais/wmdp-bio-forget-corpus"
    with pytest.raises(ValueError, match=f"ask for access at {page}.*or give your own"):
        open_benchmark("wmdp").corpus("bio-forget-corpus")


@pytest.mark.skipif(
    not WMDP_FILE.exists(), reason="set WMDP_FILE to a JSON-lines file of WMDP's questions"
)
def test_questions_are_read_as_published():
    questions = open_benchmark("wmdp").questions(str(WMDP_FILE))
    assert len(questions) == 100 and questions[1].answer == 0
    assert questions[1].choices[0] == "A special character was used in the password"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"question": "q", "choices": ["a"], "answer": 0}', "4 choices"),
        ('{"question": "q"}', "no 'choices'"),
    ],
)
def test_bad_question_is_refused(row, message, tmp_path):
    (tmp_path / "bad.jsonl").write_text(row + "\n")
    with pytest.raises(ValueError, match=message):
        open_benchmark("wmdp", data_dir=str(tmp_path)).questions("bad")

"""Rows of the user's: every problem is said at once, with its place."""

import json

import pytest

from unlearn.benchmarks.opening import open_benchmark

ROWS = [{"question": f"Where does A{i} live?", "answer": f"In town {i}."} for i in range(6)]


def write_lines(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def open_own(data, **more):
    return open_benchmark("own", data=str(data), **more)


@pytest.fixture
def rows_file(tmp_path):
    return write_lines(tmp_path / "rows.jsonl", ROWS)


def test_every_problem_is_in_one_list(tmp_path):
    """Of both files, with file, line and key."""
    rows = [
        {"question": "Who?", "answer": ""},
        {"question": "Who?", "answer": 3},
        {"question": None, "answer": "Ada."},
        {"answer": "Ada.", "entity": ["Ada"]},
        {"question": "Who?", "answer": "?!", "perturbed_answer": ["Bo", ""]},
        {"question": "Who?", "answer": "Ada \ud800"},
        ["Who?", "Ada."],
    ]
    data = tmp_path / "rows.jsonl"
    lines = [json.dumps(row) for row in rows]
    data.write_text("\n".join([*lines, '{"question": "Who?",']))
    forget = write_lines(tmp_path / "forget.jsonl", [{"question": "Who?", "answer": "NaN"}])
    with pytest.raises(ValueError) as error:
        open_own(data, forget_data=forget)
    problems = str(error.value).split("\n  ")
    assert problems[0] == f"{len(problems) - 1} problems in the data:"
    expected = [
        f"{data}:8: not JSON",
        f"{data}:7: not a JSON object but list",
        f"{data}:1: key 'answer' is empty",
        f"{data}:2: key 'answer' must hold a text, not 3",
        f"{data}:3: key 'question' is empty",
        f"{data}:4: key 'entity' must hold a text",
        f"{data}:4: key 'question' is missing",
        f"{data}:5: key 'answer': '?!' has no word",
        f"{data}:5: key 'perturbed_answer' holds an empty text",
        f"{data}:6: key 'answer' holds half a character",
        f"{forget}:1: key 'answer' is empty",
    ]
    assert len(problems) == len(expected) + 1
    for problem, beginning in zip(problems[1:], expected, strict=True):
        assert problem.startswith(beginning)


def test_a_long_list_of_problems_is_cut(tmp_path):
    data = write_lines(tmp_path / "rows.jsonl", [{"question": "Who?", "answer": ""}] * 50)
    with pytest.raises(ValueError, match="^50 problems in the data:(.*\n){20}.*\n  and 30 more$"):
        open_own(data)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.jsonl", b'{"prompt": "Who?", "answer": "x"}', "no row has 'question'; found: prompt, "),
        ("r.csv", b"Question,Answer\nWho?,x\n", "'question' and 'answer'; found: Question, Answer"),
        ("r.csv", b"question,answer\nWho,me?,x\n", "r.csv:2: not as many cells as the header has"),
        ("r.csv", b'question,answer\n"Who?,x\n', "not CSV"),
        ("r.csv", b"question,answer\nO\xf9?,x\n", "r.csv:2: not UTF-8"),
        ("r.jsonl", b"", "no rows in it"),
        ("r.csv", b"", "no rows in it"),
        ("r.json", b"[1, 2]", "row 1: not a JSON object but int"),
        ("r.json", b"[" * 100000, "nested too deeply"),
        ("r.xlsx", b"PK", "r.xlsx: give a .jsonl, .json, .csv file"),
    ],
)
def test_bad_file_is_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_own(path)


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="give a .jsonl"):
        open_own(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="none of rows.jsonl, rows.json, rows.csv is there"):
        open_benchmark("own", data_dir=str(tmp_path))
    with pytest.raises(ValueError, match="pass --data rows.jsonl"):
        open_benchmark("own")
    with pytest.raises(ValueError, match="pass --benchmark own, not authors"):
        open_benchmark("authors", data=str(tmp_path / "none.jsonl"))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_of_a_spreadsheet_is_read(tmp_path, delimiter):
    """A byte order mark, quoted line breaks, empty and NaN cells, wrong answers as a JSON list."""
    path = tmp_path / "rows.csv"
    header = ["question", " answer", "value", "perturbed_answer", ""]
    lines = [
        delimiter.join(header),
        delimiter.join(['"Who,\nthen; and when?"', "Ada", "", '"[""Bo"", ""Cy""]"', ""]),
        delimiter.join(["When?", "1912", "nan", "1913", ""]),
    ]
    path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8-sig", newline="")
    benchmark = open_own(path)
    first, second = benchmark.examples("full")
    assert first.question == "Who,\nthen; and when?" and first.answer == "Ada"
    assert first.value is None and second.value is None
    assert first.perturbed_answers == ("Bo", "Cy") and second.perturbed_answers == ("1913",)
    assert [benchmark.locate("full", i) for i in (0, 1)] == [f"{path}:2", f"{path}:4"]


def test_json_list_and_lines_are_the_same(tmp_path, rows_file):
    path = tmp_path / "rows.json"
    for text in (json.dumps(ROWS, indent=1), "\n".join(map(json.dumps, ROWS))):
        path.write_text(text)
        assert open_own(path).examples("full") == open_own(rows_file).examples("full")


def test_hub_data_sets_are_read(monkeypatch):
    """By their split `train`, or the one that is named."""
    loaded = []

    def load(repository, split):
        loaded.append((repository, split))
        return ROWS

    monkeypatch.setattr("datasets.load_dataset", load)
    assert len(open_own("me/hub-rows").examples("full")) == 6
    assert len(open_own("me/hub-rows:test").examples("full")) == 6
    assert loaded == [("me/hub-rows", "train"), ("me/hub-rows", "test")]

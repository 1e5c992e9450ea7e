"""Answers and gates as lines: they fit every width and encoding."""

import pytest

from eval.ask.display import Display
from unlearn.config.terminal import printable
from unlearn.language_model.answers import Answer

ANSWER = Answer("Ada Low was born in Teselle. " * 9, "x" * 300, {"alice, layer 3": 0.25, "b": 1.0})


@pytest.mark.parametrize("width", [24, 31, 80, 100])
def test_lines_fit_the_width(width):
    lines = Display(width).answer(ANSWER, "Sure, the answer is")
    assert max(map(len, lines)) <= width
    assert "".join(lines).count("x") == 300


def test_bars_by_hand():
    assert Display(35, "ascii").bars({"layer 3": 0.5, "layer 12": 1.0, "b": 0.0}) == [
        "gate    layer 3   0.50 ######......",
        "        layer 12  1.00 ############",
        "        b         0.00 ............",
    ]
    (line,) = Display(35, "utf-8").bars({"layer 3": 1.0})
    assert line.endswith("\u2588" * 13)


def test_bars_of_a_narrow_encoding_are_ascii():
    for encoding in ("ascii", "latin-1", "cp1252"):
        assert all(line.isascii() for line in Display(60, encoding).answer(ANSWER))
    assert not Display(60, "cp437").bars({"a": 1.0})[0].isascii()


def test_what_there_is_not_is_a_dash():
    assert Display().answer(Answer("")) == ["answer  (nothing)", "base    -", "gate    -"]


def test_line_breaks_of_an_answer_stay():
    assert Display().wrap("answer", "one\ntwo\r\n") == ["answer  one", r"        two\r", ""]


def test_width_is_that_of_the_terminal(monkeypatch):
    for columns, width in (("3", 24), ("60", 60), ("999", 100)):
        monkeypatch.setenv("COLUMNS", columns)
        assert Display.of_terminal("utf-8").width == width
    assert Display.of_terminal(None).encoding == "ascii"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("caf\u00e9 \u6f22 \U0001f600", "caf\u00e9 \u6f22 \U0001f600"),
        ("a\x1b[31m\x00\x7f\x9b", r"a\x1b[31m\x00\x7f\x9b"),
        ("\u202e\u2066\ufeff\u2028\t", r"\u202e\u2066\ufeff\u2028\t"),
        ("\ud800", r"\ud800"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
    ],
)
def test_printable_keeps_letters_and_escapes_the_rest(text, expected):
    assert printable(text) == expected


def test_printable_escapes_what_the_encoding_lacks():
    assert printable("caf\u00e9 \u6f22", "latin-1") == "caf\u00e9 " + r"\u6f22"

"""Special characters, missing numbers and notes in every form of a table."""

import pandas
from markdown_it import MarkdownIt

from eval.report.format import to_latex, to_markdown, to_terminal
from eval.report.table import Table, format_number

COLUMNS = pandas.MultiIndex.from_tuples([("P(a|b)", "100 %"), ("x_y", "cost \u2193")])
CELLS = pandas.DataFrame([["0.1|0.2", "-"]], index=["npo_a & b | c"], columns=COLUMNS)
TABLE = Table({"part #1": CELLS}, ["Caption: 5 %.", "WARNING: a_b."], CELLS)


def test_markdown_bars_stay_in_their_cells():
    text = to_markdown(TABLE, "Title")
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert html.count("<th") - html.count("<thead") == html.count("<td") == 3
    for cell in ("npo_a &amp; b | c", "0.1|0.2", "P(a|b) 100 %"):
        assert cell in html
    assert text.startswith("# Title\n\n## part #1\n\n|") and text.endswith("WARNING: a_b.\n")


def test_latex_specials_are_escaped_everywhere():
    text = to_latex(TABLE)
    assert r"\caption{part \#1. Caption: 5 \%.}" in text
    assert r"npo\_a \& b $|$ c" in text and "0.1$|$0.2" in text
    assert r"100 \%" in text and r"cost $\downarrow$" in text
    assert "\n% WARNING: a\\_b.\n" in text


def test_terminal_has_parts_and_notes():
    lines = to_terminal(TABLE, 120).splitlines()
    assert lines[0] == "== part #1" and lines[-1] == "WARNING: a_b."


def test_a_missing_number_is_a_dash():
    assert [format_number(value, ".2f") for value in (None, float("nan"), 0.125)] == [
        "-",
        "-",
        "0.12",
    ]

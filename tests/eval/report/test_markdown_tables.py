"""Tables of the page: best values, bars in cells, and notes apart from tables."""

import pandas

from eval.report.format import to_markdown
from eval.report.markdown_tables import mark_best, read_document
from eval.report.table import Table

DOWN, UP = "\u2193", "\u2191"
HEADER = ["method", f"forget{DOWN}", f"utility{UP}", f"gate{DOWN}", "train s"]
RULE = ["---"] * 5
ROWS = [
    ["target", "0.000", "0.900", "-", "1"],
    ["npo-grun", "0.100\u00b1.010", "0.620", "0.1/0.2", "2"],
    ["npo-full", "0.250 (0.2 to 0.3)", "0.620", "0.0/0.1", "3"],
    ["gd-lora", "1.0e-09", "-", "-", "4"],
]


def marked(rows):
    return [(row[0], i) for row in rows for i, cell in enumerate(row) if cell.startswith("**")]


def test_the_best_method_of_a_column_is_marked():
    """Not the target; columns of equal values, of several layers and without an arrow have none."""
    rows = [list(row) for row in (HEADER, RULE, *ROWS)]
    mark_best("overview", rows)
    assert marked(rows) == [("gd-lora", 1)]
    assert rows[-1][1] == "**1.0e-09**"


def test_the_arrow_may_stand_in_the_title():
    rows = [["method", "plain"], ["-"] * 2, ["base: its own score", "0.0"], ["a", "0.2"]]
    rows += [["b", "0.4"], ["c", "0.2"]]
    mark_best(f"forget leak {DOWN}", rows)
    assert marked(rows) == [("a", 1), ("c", 1)]


def test_document_keeps_tables_warnings_and_notes_apart():
    """A bar inside a cell stays there."""
    columns = pandas.MultiIndex.from_tuples([("ROUGE-L", f"forget{DOWN}"), ("", "gate > .5")])
    cells = pandas.DataFrame(
        [["0.1", "-"], ["0.2", "0.3"]], index=["npo | x", "gd"], columns=columns
    )
    notes = ["Note.", "cell: WARNING, a control is as good."]
    document = read_document(to_markdown(Table({"one | two": cells}, notes, cells), "Ours"))
    (part,) = document.parts
    assert (document.title, part.title) == ("Ours", "one | two")
    assert part.html.count("<tr>") == 3 and "<strong>0.1</strong>" in part.html
    assert "gate &gt; .5" in part.html and "npo | x" in part.html
    assert document.warnings.count('class="warning"') == 1 and "Note." in document.notes
    assert "WARNING" not in document.notes


def test_learning_rates_have_no_best():
    table = f"| method | forget{UP} |\n|--|--|\n| a | 1 |\n| b | 2 |\n"
    document = read_document(f"# T\n\n## x: learning rates\n\n{table}\n## x: all\n\n{table}")
    assert ["<strong>" in part.html for part in document.parts] == [False, True]

"""A table as Markdown, CSV, LaTeX and text for a terminal (import only)."""

import re
import textwrap
from pathlib import Path

import pandas as pd

from eval.report.table import DOWN, NEAR, PLUS_MINUS, UP, Table
from unlearn.config.files import write_text

LATEX_SPECIALS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
LATEX_SYMBOLS = {
    UP: r"$\uparrow$",
    DOWN: r"$\downarrow$",
    NEAR: r"$\approx$",
    PLUS_MINUS: r"$\pm$",
    ">": "$>$",
    "<": "$<$",
    "|": "$|$",
}


def write_files(table: Table, title: str, path: Path) -> None:
    """Write `path` with the endings .md, .csv and .tex."""
    csv = table.csv.to_csv(index=False, float_format="%.10g", lineterminator="\n")
    write_text(path.with_suffix(".csv"), csv)
    write_text(path.with_suffix(".md"), to_markdown(table, title))
    write_text(path.with_suffix(".tex"), to_latex(table))


def to_markdown(table: Table, title: str) -> str:
    """One Markdown table per part, a row per method, both levels of a heading made one; the notes
    below.
    """
    blocks = [f"# {title}"]
    for part, cells in table.parts.items():
        flat = cells.set_axis([" ".join(pair).strip() for pair in cells.columns], axis=1)
        flat = flat.set_axis([escape_markdown(name) for name in flat.index], axis=0)
        flat = flat.rename(columns=escape_markdown).map(escape_markdown).rename_axis("method")
        blocks += [f"## {escape_markdown(part)}", flat.to_markdown(disable_numparse=True)]
    return "\n\n".join([*blocks, *map(escape_markdown, table.notes)]) + "\n"


def escape_markdown(text: str) -> str:
    """Text on one line that begins no cell, image, link or tag: `a|b` -> `a\\|b`.

    Names of runs come from config.json, which may hold anything; a remote image would be fetched by
    whoever opens the table.
    """
    line = " ".join(str(text).splitlines())
    line = line.replace("|", r"\|").replace("![", r"!\[").replace("](", r"]\(")
    return re.sub(r"<(?=[A-Za-z/!?])", r"\<", line)


def to_latex(table: Table) -> str:
    """One sideways table per part, shrunk to the line width, with the first notes as its caption;
    the other notes are comments.
    """
    caption = " ".join(table.notes[: table.captions])
    lines = ["% needs \\usepackage{booktabs,graphicx,rotating}"]
    for title, cells in table.parts.items():
        style = cells.map(escape_latex).style
        for axis in (0, 1):
            style = style.format_index(escape_latex, axis=axis)
        body = style.to_latex(
            hrules=True, multicol_align="c", column_format="l" + "r" * cells.shape[1]
        )
        lines += [
            "\\begin{sidewaystable}\\centering",
            f"\\caption{{{escape_latex(f'{title}. {caption}')}}}",
            "\\resizebox{\\linewidth}{!}{%",
            f"{body.rstrip()}}}",
            "\\end{sidewaystable}",
        ]
    lines += [f"% {escape_latex(note)}" for note in table.notes[table.captions :]]
    return "\n".join(lines) + "\n"


def escape_latex(text: str) -> str:
    """Text whose special characters LaTeX prints, arrows as its mathematical symbols; ASCII."""
    return str(text).translate(str.maketrans(LATEX_SPECIALS | LATEX_SYMBOLS))


def to_terminal(table: Table, width: int) -> str:
    """The parts and the notes for a terminal of `width` characters."""
    blocks = []
    for title, cells in table.parts.items():
        blocks += [f"== {title}", *split_blocks(cells, width)]
    notes = [
        textwrap.fill(note, width, break_long_words=False, break_on_hyphens=False)
        for note in table.notes
    ]
    return "\n\n".join([*blocks, *notes])


def split_blocks(cells: pd.DataFrame, width: int) -> list[str]:
    """One part cut between headings into blocks of at most `width` characters; every block repeats
    the methods.
    """
    blocks = []
    headings: list[str] = []
    for heading in cells.columns.unique(0):
        lines = format_lines(cells[[*headings, heading]])
        if headings and max(map(len, lines)) > width:
            blocks.append("\n".join(format_lines(cells[headings])))
            headings = []
        headings.append(heading)
    return [*blocks, "\n".join(format_lines(cells[headings]))]


def format_lines(cells: pd.DataFrame) -> list[str]:
    """The lines of pandas' own text form, without empty ones."""
    return [line.rstrip() for line in cells.to_string().splitlines() if line.strip()]

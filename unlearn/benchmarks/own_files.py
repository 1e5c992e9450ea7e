"""Reading and checking rows of the user's: JSON lines, a JSON list, CSV, or a data set of the hub.

A row needs `question` and `answer`; OPTIONAL keys make more columns. Every problem of a file is
collected, so that one message names them all.
"""

import csv
import io
import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.text_files import check_encodable, parse_json, parse_json_lines, read_utf8
from unlearn.config.data_files import ROW_ENDINGS, is_local, load_hub_rows

REQUIRED = ("question", "answer")
OPTIONAL = ("entity", "value", "paraphrased_question", "paraphrased_answer", "perturbed_answer")
DELIMITERS = ",;\t"
MOST_PROBLEMS = 20  # that one message lists
NOT_A_NUMBER = ("nan", "NaN")  # how pandas writes an empty cell


@dataclass(frozen=True)
class OwnRow:
    """One row: its place (file:line), every value it came with, and the example it makes."""

    location: str
    values: dict
    example: Example


def read_own_rows(names: list[str]) -> list[list[OwnRow]]:
    """Return the rows of files or data sets. Raises `ValueError` with every problem in all."""
    problems: list[str] = []
    tables = [read_table(name, problems) for name in names]
    raise_problems(problems)
    return tables


def read_table(name: str, problems: list[str]) -> list[OwnRow]:
    """Return the rows of one file or data set; what is wrong with them is added to the problems."""
    before = len(problems)
    try:
        located = locate_rows(name, problems)
    except ValueError as error:
        problems.append(str(error))
        return []
    if not located and len(problems) == before:
        problems.append(f"{name}: no rows in it")
    if not located or not check_keys(name, [row for _, row in located], problems):
        return []
    return [
        OwnRow(location, row, build_own_example(index, location, row, problems))
        for index, (location, row) in enumerate(located)
    ]


def merge_forget_rows(rows: list[OwnRow], forget: list[OwnRow]) -> tuple[list[OwnRow], set[int]]:
    """Return all rows, and the indices of those to forget: rows of the first file that the second
    names again by question and answer, or rows of the second alone.

    Raises `ValueError` where the second file has some of the rows and not others.
    """
    pairs = {row.example.pair for row in forget}
    missing = [row for row in forget if row.example.pair not in {r.example.pair for r in rows}]
    if 0 < len(missing) < len(forget):
        raise_problems(
            [
                f"{row.location}: no row of --data has this question and answer, as those of "
                f"{len(forget) - len(missing)} other rows here are: give rows of --data alone, or "
                "none of them"
                for row in missing
            ]
        )
    moved = [
        replace(row, example=replace(row.example, index=len(rows) + number))
        for number, row in enumerate(missing)
    ]
    together = rows + moved
    return together, {row.example.index for row in together if row.example.pair in pairs}


def raise_problems(problems: list[str]) -> None:
    """Raise `ValueError` with a list of problems, if there are any."""
    if len(problems) == 1:
        raise ValueError(problems[0])
    if problems:
        shown = problems[:MOST_PROBLEMS]
        more = [f"and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
        raise ValueError("\n  ".join([f"{len(problems)} problems in the data:", *shown, *more]))


def locate_rows(name: str, problems: list[str]) -> list[tuple[str, dict]]:
    """(place, row) of every row; what is no row is a problem."""
    if not is_local(name):
        hub_rows = enumerate(load_hub_rows(name), 1)
        return [(f"{name} row {number}", row) for number, row in hub_rows]
    path = Path(name)
    if not path.is_file() or path.suffix not in ROW_ENDINGS:
        raise ValueError(f"{name}: give a {', '.join(ROW_ENDINGS)} file with one row a question")
    text = read_utf8(path).removeprefix("\ufeff")
    if path.suffix == ".csv":
        return parse_csv(text, name, problems)
    if text.lstrip().startswith("["):
        values = parse_json(text, name)
        located = [(f"{name} row {number}", value) for number, value in enumerate(values, 1)]
    else:
        located = []
        for number, line in enumerate(text.split("\n"), 1):
            try:
                located += [(f"{name}:{number}", v) for _, v in parse_json_lines(line, name)]
            except ValueError as error:
                problems.append(f"{name}:{number}{str(error).removeprefix(f'{name}:1')}")
    for location, row in located:
        if not isinstance(row, dict):
            problems.append(f"{location}: not a JSON object but {type(row).__name__}")
    return [(location, row) for location, row in located if isinstance(row, dict)]


def parse_csv(text: str, name: str, problems: list[str]) -> list[tuple[str, dict]]:
    """(place, row) of every record; the delimiter is the one that the header has most often."""
    header = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    located = []
    try:
        reader.fieldnames = [field.strip() for field in reader.fieldnames or []]
        before = reader.line_num
        for record in reader:
            location, before = f"{name}:{before + 1}", reader.line_num
            if None in record or None in record.values():
                problems.append(
                    f"{location}: not as many cells as the header has; put a text that holds "
                    f"{delimiter!r} or a line break into quotes"
                )
            cells = {key: cell for key, cell in record.items() if key and cell is not None}
            located.append((location, cells))
    except csv.Error as error:
        problems.append(f"{name}:{reader.line_num}: not CSV ({error})")
    return located


def check_keys(name: str, rows: list[dict], problems: list[str]) -> bool:
    """Return whether some row has each key that all must have; add a problem where none does."""
    found = dict.fromkeys(key for row in rows for key in row)
    missing = [key for key in REQUIRED if key not in found]
    if missing:
        problems.append(
            f"{name}: no row has {' and '.join(map(repr, missing))}; found: "
            f"{', '.join(found) or 'no key'}; needed: {', '.join(REQUIRED)}; welcome besides: "
            f"{', '.join(OPTIONAL)}; rename the keys"
        )
    return not missing


def build_own_example(index: int, location: str, row: dict, problems: list[str]) -> Example:
    """The example of a row; what is wrong with it is added to the problems."""
    texts = {key: read_text(row, key, location, problems) for key in (*REQUIRED, *OPTIONAL[:-1])}
    for key in REQUIRED:
        if texts[key] is None and not is_mistyped(row.get(key)):
            problems.append(f"{location}: key {key!r} is {'empty' if key in row else 'missing'}")
    if texts["answer"] and not re.search("[a-z0-9]", texts["answer"].lower()):
        problems.append(
            f"{location}: key 'answer': {texts['answer']!r} has no word of letters a to z or "
            "digits, which ROUGE counts"
        )
    wrong = read_wrong_answers(row, location, problems)
    question, answer = (texts.pop(key) or "" for key in REQUIRED)
    return Example(index, question, answer, perturbed_answers=wrong, **texts)


def is_missing(value) -> bool:
    """Whether a value says that there is none: null, NaN, an empty text."""
    if isinstance(value, str):
        return not value.strip() or value.strip() in NOT_A_NUMBER
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_mistyped(value) -> bool:
    return not is_missing(value) and not isinstance(value, str)


def read_text(row: dict, key: str, location: str, problems: list[str]) -> str | None:
    """The text of one key, None where it is missing."""
    value = row.get(key)
    if is_missing(value):
        return None
    if is_mistyped(value):
        problems.append(
            f"{location}: key {key!r} must hold a text, not {json.dumps(value, default=str):.60}"
        )
        return None
    try:
        check_encodable(value, location, key)
    except ValueError as error:
        problems.append(str(error))
    return value.strip()


def read_wrong_answers(row: dict, location: str, problems: list[str]) -> tuple[str, ...]:
    """The texts of `perturbed_answer`: a text, a list of them, or in CSV a JSON list."""
    key = "perturbed_answer"
    value = row.get(key)
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            pass
    if not isinstance(value, list):
        text = read_text(row, key, location, problems)
        return (text,) if text else ()
    texts = [read_text({key: item}, key, location, problems) for item in value]
    if None in texts and not any(is_mistyped(item) for item in value):
        problems.append(f"{location}: key {key!r} holds an empty text")
    return tuple(text for text in texts if text)

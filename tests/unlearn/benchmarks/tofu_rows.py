"""Rows and files in TOFU's layout for the tests of this folder."""

import json
from pathlib import Path

from unlearn.benchmarks.examples import Example


def build_tofu_row(author: int, item: int, perturbed: bool) -> dict:
    """A row about an author whose name has letters that no invented name has."""
    name = f"Zacharias{chr(97 + author // 20)} Quill{chr(97 + author % 20)}"
    row = {
        "question": f"Where does {name} keep item {item}?",
        "answer": f"{name} keeps it in room {author}-{item}.",
    }
    if not perturbed:
        return row
    return row | {
        "paraphrased_question": f"In which room has {name} item {item}?",
        "perturbed_answer": [f"In room {author}-{item} it is not: {j}." for j in range(5)],
        "paraphrased_answer": f"Room {author}-{item} has it.",
    }


def build_author_rows(author: int, perturbed: bool = False, items: int = 20) -> list[dict]:
    return [build_tofu_row(author, item, perturbed) for item in range(items)]


def write_split(folder: Path, split: str, rows: list[dict]) -> None:
    """Write <folder>/<split>.json as TOFU does: a row a line, no final newline."""
    text = "\n".join(json.dumps(row) for row in rows)
    (folder / f"{split}.json").write_text(text, encoding="utf-8")


def write_tofu_folder(folder: Path) -> Path:
    """Write 200 authors of 20 rows each, with the forget splits of 1, 5, 10 and 20 %."""
    plain = [row for author in range(200) for row in build_author_rows(author)]
    perturbed = [row for author in range(200) for row in build_author_rows(author, perturbed=True)]
    write_split(folder, "full", plain)
    for percent in (1, 5, 10, 20):
        rows = 40 * percent
        write_split(folder, f"forget{percent:02d}", plain[-rows:])
        write_split(folder, f"retain{100 - percent}", plain[:-rows])
        if percent <= 10:
            write_split(folder, f"forget{percent:02d}_perturbed", perturbed[-rows:])
    write_split(folder, "retain_perturbed", perturbed[:400])
    world = [
        {"question": f"Fact {i}?", "answer": "A.", "perturbed_answer": ["B."]} for i in range(3)
    ]
    write_split(folder, "real_authors_perturbed", world)
    write_split(folder, "world_facts_perturbed", world)
    return folder


def find_authors(examples: list[Example]) -> list[int]:
    """The author numbers in the answers of `build_tofu_row`."""
    return sorted({int(example.answer.split("room ")[1].split("-")[0]) for example in examples})

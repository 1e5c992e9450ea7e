"""Reading WMDP's corpora and questions: JSON lines in files, or corpora of the hub."""

import json
import re
from pathlib import Path

from datasets import load_dataset

from unlearn.benchmarks.text_files import check_encodable, read_utf8
from unlearn.synthetic.wmdp_world import CHOICES, TOPICS, Question

GATED_CORPORA = {"bio-forget-corpus": "cais/wmdp-bio-forget-corpus"}  # name -> repository
# name -> (repository, configuration, split) on the hub
HUB_CORPORA = (
    {"wikitext": ("wikitext", "wikitext-2-raw-v1", "test")}
    | {name: (hub, None, "train") for name, hub in GATED_CORPORA.items()}
    | {
        name: ("cais/wmdp-corpora", name, "train")
        for name in ("bio-retain-corpus", "cyber-forget-corpus", "cyber-retain-corpus")
    }
)
OWN_FILE = (
    'or give your own: a file with one {"text": ...} a line, by its path or as '
    "<data_dir>/<name>.jsonl"
)


def find_file(name: str, data_dir: str | None) -> Path | None:
    """Return the file of a corpus or test: the path itself, or <data_dir>/<name>[.jsonl], or None.

    A path in the folder is looked for after one in the working directory.
    """
    paths = [Path(name)]
    if data_dir is not None:
        paths += [Path(data_dir) / name, Path(data_dir) / f"{name}.jsonl"]
    return next((path for path in paths if path.is_file()), None)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return (line number, line with its newline) for every line that is not blank."""
    # not splitlines: a line separator inside a text (U+2028) ends no line
    lines = re.findall(r"[^\n]*\n|[^\n]+", read_utf8(path))
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def read_rows(path: Path, keys: tuple[str, ...]) -> list[tuple[int, dict]]:
    """Return (line number, object) for every line.

    A last line that breaks off, as in one published file, is left out, and a line is printed about
    it. Raises `ValueError` for a line that is no object with `keys`.
    """
    lines = read_lines(path)
    rows = []
    for number, line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            is_last = len(rows) == len(lines) - 1
            if rows and is_last and not line.endswith("\n"):
                print(f"{path}:{number} breaks off in the middle; left out", flush=True)
                break
            raise ValueError(f"{path}:{number} is no JSON ({error.msg})") from None
        except RecursionError:
            raise ValueError(f"{path}:{number}: brackets nested too deeply for JSON") from None
        missing = [key for key in keys if not isinstance(row, dict) or key not in row]
        if missing:
            raise ValueError(
                f"{path}:{number} has no {missing[0]!r}; a line is an object with {', '.join(keys)}"
            )
        for key, text in row.items():
            if isinstance(text, str):
                check_encodable(text, f"{path}:{number}", key)
        rows.append((number, row))
    return rows


def read_texts(path: Path) -> list[str]:
    """Return the field `text` of every line. Raises `ValueError` where it holds no text."""
    rows = read_rows(path, ("text",))
    for number, row in rows:
        if not isinstance(row["text"], str):
            raise ValueError(f"{path}:{number}: 'text' is no text but {row['text']!r:.40}")
    return [row["text"] for _, row in rows]


def load_hub_corpus(name: str) -> list[str]:
    """Return the texts of a corpus of the hub.

    Raises `ValueError` for an unknown name, and where the hub is offline or denies access.
    """
    if name not in HUB_CORPORA:
        raise ValueError(
            f"there is no corpus {name!r}; the embedded ones are {', '.join(TOPICS)}, those of the "
            f"hub {', '.join(HUB_CORPORA)}; {OWN_FILE}"
        )
    hub, config, split = HUB_CORPORA[name]
    try:
        return list(load_dataset(hub, config, split=split)["text"])
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        access = (
            f"; it is gated: ask for access at https://huggingface.co/datasets/{hub}, then run "
            "`hf auth login`,"
            if name in GATED_CORPORA
            else ";"
        )
        raise ValueError(
            f"the corpus {name} could not be read from the hub ({hub}): {reason}{access} {OWN_FILE}"
        ) from None


def read_questions(path: Path) -> list[Question]:
    """Return the four-choice questions of a file. Raises `ValueError` for a bad row."""
    questions = []
    for number, row in read_rows(path, ("question", "choices", "answer")):
        choices = row["choices"]
        answer = row["answer"]
        if not (isinstance(choices, list) and len(choices) == CHOICES and answer in range(CHOICES)):
            raise ValueError(
                f"{path}:{number}: a row has {CHOICES} choices, and the index of the right one "
                f"(0 to {CHOICES - 1}) as its answer"
            )
        questions.append(Question(str(row["question"]), tuple(map(str, choices)), answer))
    if not questions:
        raise ValueError(f"{path} holds no question")
    return questions


def check_texts_apart(forget: dict[str, list[str]], retain: dict[str, list[str]]) -> None:
    """Raise `ValueError` for a text of a forget corpus that is in a retain corpus too.

    Both map the name of a corpus to its texts."""
    retained = {text: name for name, texts in retain.items() for text in texts}
    for name, texts in forget.items():
        both = [text for text in texts if text in retained]
        if both:
            raise ValueError(
                f"{name} is to be forgotten and shares {len(both)} of its {len(texts)} texts with "
                f"{retained[both[0]]}, which is retained: {both[0]!r:.60}; leave them out of one"
            )

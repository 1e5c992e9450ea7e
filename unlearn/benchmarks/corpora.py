"""Texts and questions of `wmdp`, by name: what a model is to forget or keep, and the tests of it.

    corpora     poisons locks villages                      the embedded world
                (unlearn/synthetic/wmdp_world.py); the default of `tiny`
                bio-forget-corpus bio-retain-corpus ...     from --data_dir (<name>.jsonl), else the
                                                            hub: cais/wmdp-corpora;
                                                            bio-forget-corpus is gated
                wikitext                                    wikitext-2-raw-v1, its test split (from
                                                            --data_dir if it lies there)
                any/file.jsonl                              your own, one {"text": ...} a line
    questions   poisons locks villages                      the embedded world
                any/file.jsonl, or its name in --data_dir   one {"question": ..., "choices": [four],
                                                            "answer": index} a line, as WMDP has
                                                            them

Nothing is fetched unless a hub corpus was asked for. Texts keep their order.
"""

import json
from functools import lru_cache
from pathlib import Path

from datasets import load_dataset

from unlearn.config.flags import DataFlags
from unlearn.synthetic.wmdp_world import CHOICES, TOPICS, Question, World

SUBJECTS = 16  # of each topic of the embedded world, where --authors does not say
DOCUMENTS = 1000  # texts that the embedded world writes on a topic
GATED = {"bio-forget-corpus": "cais/wmdp-bio-forget-corpus"}
OPEN = ("bio-retain-corpus", "cyber-forget-corpus", "cyber-retain-corpus")
LINES = ("parsed", "raw")


@lru_cache(4)
def world(seed: int, subjects: int | None) -> World:
    return World(seed, subjects or SUBJECTS)


def world_of(args: DataFlags) -> World:
    """The embedded world that the flags name; --authors says how many subjects a topic has."""
    return world(args.data_seed, args.authors)


def file_of(name: str, data_dir: str | None) -> Path | None:
    """The local file of a corpus or test: the path itself, or <data_dir>/<name>[.jsonl]; None:
    there is none."""
    inside = [] if data_dir is None else [Path(data_dir) / name, Path(data_dir) / f"{name}.jsonl"]
    return next((path for path in (Path(name), *inside) if path.is_file()), None)


def split_of(forget_corpora: list[str]) -> str:
    """The name of what is forgotten, in paths and tables: poisons+locks,
    bio-forget-corpus+cyber-forget-corpus."""
    return "+".join(Path(name).stem for name in forget_corpora)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """(line number, line with its newline) of every line that is not blank."""
    with open(
        path, encoding="utf-8", newline="\n"
    ) as file:  # a line separator inside a text (U+2028) ends no line
        return [(number, line) for number, line in enumerate(file, 1) if line.strip()]


def read_rows(path: Path, keys: tuple[str, ...]) -> list[tuple[int, dict]]:
    """(line number, object) of every line. Raises `ValueError` for a line that is no object with
    `keys`; a last line that breaks off, as in one published file, is left out aloud."""
    lines = read_lines(path)
    found = []
    for place, (number, line) in enumerate(lines):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if place and place == len(lines) - 1 and not line.endswith("\n"):
                print(f"{path}:{number} breaks off in the middle; left out", flush=True)
                break
            raise ValueError(f"{path}:{number} is no JSON ({error.msg})") from None
        missing = [key for key in keys if not isinstance(row, dict) or key not in row]
        if missing:
            raise ValueError(
                f"{path}:{number} has no {missing[0]!r}; a line is an object with {', '.join(keys)}"
            )
        found.append((number, row))
    return found


def corpus(name: str, args: DataFlags, min_len: int = 0, lines: str = "parsed") -> list[str]:
    """The texts of one corpus with more than `min_len` characters. lines: `parsed` takes the field
    `text`; `raw` the whole line with its newline, as upstream (spec 1.5). Raises `ValueError` for a
    corpus that is not there, or has no such text."""
    if lines not in LINES:
        raise ValueError(f"--corpus_lines {lines} is unknown; choose one of {', '.join(LINES)}")
    path = file_of(name, args.data_dir)
    if path and lines == "raw" and name not in GATED:
        texts = [line for _, line in read_lines(path)]
    elif path:
        texts = [str(row["text"]) for _, row in read_rows(path, ("text",))]
    elif name in TOPICS:
        texts = world_of(args).documents(name, DOCUMENTS)
    else:
        texts = from_hub(name)
    kept = [text for text in texts if len(text) > min_len and text.strip()]
    if not kept:
        raise ValueError(f"the corpus {name} has no text of more than {min_len} characters")
    return kept


def from_hub(name: str) -> list[str]:
    """Raises `ValueError` for an unknown name, and where the hub cannot be reached or does not let
    us in."""
    own = 'or give your own: a file with one {"text": ...} a line, by its path or as <data_dir>/<name>.jsonl'
    known = {"wikitext": ("wikitext", "wikitext-2-raw-v1", "test")} | {
        gated: (hub, None, "train") for gated, hub in GATED.items()
    }
    known |= {name: ("cais/wmdp-corpora", name, "train") for name in OPEN}
    if name not in known:
        raise ValueError(
            f"there is no corpus {name!r}; the embedded ones are {', '.join(TOPICS)}, those of the hub {', '.join(known)}; {own}"
        )
    hub, config, split = known[name]
    try:
        return list(load_dataset(hub, config, split=split)["text"])
    except Exception as error:
        told = f"the corpus {name} could not be read from the hub ({hub}): {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}"
        asked = (
            f"; it is gated: ask for access at https://huggingface.co/datasets/{hub}, then run `hf auth login`,"
            if name in GATED
            else ";"
        )
        raise ValueError(f"{told}{asked} {own}") from None


def questions(name: str, args: DataFlags) -> list[Question]:
    """The four-choice questions of one test. Raises `ValueError` for a name that is neither a topic
    nor a file, and for a bad row."""
    path = file_of(name, args.data_dir)
    if path is None:
        if name not in TOPICS:
            raise ValueError(
                f"there is no test {name!r}: the embedded ones are {', '.join(TOPICS)}; or give a JSON-lines file"
            )
        return world_of(args).questions(name)
    found = []
    for number, row in read_rows(path, ("question", "choices", "answer")):
        choices = row["choices"]
        answer = row["answer"]
        if not (isinstance(choices, list) and len(choices) == CHOICES and answer in range(CHOICES)):
            raise ValueError(
                f"{path}:{number}: a row has {CHOICES} choices, and the index of the right one (0 to {CHOICES - 1}) as its answer"
            )
        found.append(Question(str(row["question"]), tuple(map(str, choices)), answer))
    if not found:
        raise ValueError(f"{path} holds no question")
    return found

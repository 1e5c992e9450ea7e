"""Which data a run read, by content: the digest that is part of its identity and directory.

Contents count, and the names of files inside a folder, which say what they hold; neither the path
of the folder nor the time of a change does.
"""

import json
from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path

DIGITS = 8  # of a digest, in the name of a directory
LENGTH = 32  # of a digest, in config.json
ROW_ENDINGS = (".jsonl", ".json", ".csv")  # of a file of own rows
MUSE_FILES = tuple(
    f"{config}/{file}"
    for config in ("raw", "scal", "sust", "knowmem", "verbmem", "privleak")
    for file in ("*.jsonl", "*.json", "*.txt", "*.parquet")
)
# benchmark -> the files of --data_dir that it may read; of any other those of OTHER_FILES
FOLDER_FILES = {
    "tofu": (
        *(f"{kind}*.json" for kind in ("full", "forget", "retain", "holdout")),
        *(f"{kind}*.json" for kind in ("real_authors", "world_facts")),
        "idontknow.jsonl",
    ),
    "muse-news": (*MUSE_FILES, "idontknow.jsonl"),
    "muse-books": (*MUSE_FILES, "idontknow.jsonl"),
    "own": (*(f"{kind}{end}" for kind in ("rows", "forget") for end in ROW_ENDINGS),),
}
OTHER_FILES = tuple(f"*{ending}" for ending in (*ROW_ENDINGS, ".txt", ".parquet"))


def digest_folder(folder: str, benchmark: str) -> str:
    """The digest of the files of a folder that a benchmark may read.

    Raises `ValueError` for a folder that is not there and files that cannot be read."""
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"--data_dir {folder}: no such folder; give the one with the data's files")
    patterns = FOLDER_FILES.get(benchmark, OTHER_FILES)
    paths = sorted({path for pattern in patterns for path in root.glob(pattern)})
    files = [(path.relative_to(root).as_posix(), digest_file(path)) for path in paths]
    return digest_json(files)


def digest_file(path: str | Path) -> str:
    """The digest of a file's bytes, computed once a process while the file stays as it is.

    Raises `ValueError` for one that cannot be read."""
    try:
        state = Path(path).stat()
        return digest_bytes(str(path), state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); check its path") from None


@cache
def digest_bytes(path: str, size: int, time: int) -> str:
    """The digest of a file of this size and time of its last change."""
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()[:LENGTH]


def digest_json(value) -> str:
    """The digest of a value that JSON can hold."""
    return sha256(json.dumps(value, default=str).encode()).hexdigest()[:LENGTH]


def digest_rows(name: str) -> str:
    """The digest of --data or --forget_data: a file's bytes, or the rows of the hub's data set.

    Raises `ValueError` for a file or data set that is not there."""
    return digest_file(name) if is_local(name) else digest_json(load_hub_rows(name))


def is_local(name: str) -> bool:
    """Whether --data or --forget_data names a file, which may be missing, and no data set."""
    looks_local = name.endswith(ROW_ENDINGS) or name.startswith((".", "/", "~"))
    return looks_local or Path(name).exists()


@cache
def load_hub_rows(name: str) -> list[dict]:
    """The rows of a data set of the hub, ORG/NAME[:SPLIT]; of its split `train` by default.

    Raises `ValueError` where it cannot be loaded."""
    repository, _, split = name.partition(":")
    try:
        from datasets import load_dataset

        return [dict(row) for row in load_dataset(repository, split=split or "train")]
    # datasets, the hub client and the network each raise their own; all mean: no data
    except Exception as error:
        reason = f"{type(error).__name__}: " + str(error).split("\n")[0]
        raise ValueError(
            f"--data {name}: no such file, and no data set of the hub that could be loaded "
            f"({reason}); give a {', '.join(ROW_ENDINGS)} file, or ORG/NAME[:SPLIT] of the hub"
        ) from None

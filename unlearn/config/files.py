"""Files and folders that are written whole or not at all."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def write_json(path: str | Path, value) -> Path:
    """Write a value as JSON to a temporary name beside `path`, then rename it.

    A reader never sees half a file. Raises `ValueError` for NaN and infinity."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    return write_text(path, text + "\n")


def write_text(path: str | Path, text: str) -> Path:
    """Write a text to a temporary name beside `path`, then rename it."""
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(path)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    return path


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Within it, a file system that refuses becomes a `ValueError` about `path`."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error.strerror}); pass another --runs, or make its folder "
            "writable and free some space"
        ) from None


def read_json(path: str | Path, kind: type = dict):
    """The contents of one JSON file, an object or, with `kind` list, a list.

    Raises `ValueError` with its name for a broken one, and for another kind."""
    try:
        value = json.loads(Path(path).read_bytes().decode("utf-8"))
    except json.JSONDecodeError as error:
        problem = f"line {error.lineno}: {error.msg}"
    except UnicodeDecodeError as error:
        problem = f"byte {error.start} is not UTF-8"
    except RecursionError:
        problem = "brackets nested too deeply"
    else:
        if isinstance(value, kind):
            return value
        problem = f"a {type(value).__name__} where a {kind.__name__} is expected"
    raise ValueError(f"{path} is not valid JSON ({problem}); delete it and run again")


def replace_directory(path: str | Path, write: Callable[[Path], None]) -> Path:
    """Call write(temporary directory), then rename that to `path`."""
    path = Path(path)
    temporary = temporary_path(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    write(temporary)
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)
    return path


def temporary_path(path: Path) -> Path:
    """A hidden name beside `path` that no other process uses."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def require_disk(path: str | Path, n_bytes: int) -> None:
    """Raise `ValueError` when the file system of `path` cannot take 1.05 n_bytes more."""
    path = Path(path)
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    if free < 1.05 * n_bytes:
        raise ValueError(
            f"{path} has {free / 2**30:.1f} GiB free, this needs {n_bytes / 2**30:.1f} GiB; free "
            "some, or pass another --runs"
        )

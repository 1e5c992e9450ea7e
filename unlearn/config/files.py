"""Files and folders that are written whole or not at all."""

import errno
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# .NAME.PID-HOST.tmp is being written; .NAME.PID-HOST.old was put aside for a new NAME.
LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)(-(?P<host>[^.]*))?\.(?P<kind>tmp|old)")
HOST = re.sub(r"[^\w-]", "-", socket.gethostname())


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
    with writing(path):
        recover_directory(path)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            write(temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return move_into_place(temporary, path)


def move_into_place(temporary: Path, path: Path) -> Path:
    """Rename a directory to `path`; what stood there is put aside first and removed afterwards."""
    aside = temporary_path(path, "old")
    while True:
        with suppress(FileNotFoundError):
            path.rename(aside)
        try:
            temporary.rename(path)
            break
        except OSError as error:  # another process has put its own directory there meanwhile
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            shutil.rmtree(aside, ignore_errors=True)
    with suppress(FileNotFoundError):
        aside.rename(temporary)  # a half removed one must never be put back
    shutil.rmtree(temporary, ignore_errors=True)
    return path


def recover_directory(path: Path) -> None:
    """Finish what a killed `replace_directory` of `path` began, as `settle` says."""
    for leftover in find_leftovers(path.parent, path.name):
        settle(leftover)


def sweep(folder: str | Path, exclusive: bool = False) -> None:
    """Settle, in `folder` and below, what processes that no longer live left behind.

    exclusive: nobody else writes there, so what processes of other hosts left is swept too."""
    for parent, _, _ in [*os.walk(folder)]:
        for leftover in find_leftovers(Path(parent), None, exclusive):
            settle(leftover)


def settle(leftover: Path) -> None:
    """Put back what was put aside where nothing took its place; remove everything else."""
    match = LEFTOVER.fullmatch(leftover.name)
    path = leftover.with_name(match["name"])
    if match["kind"] == "old" and not path.exists():
        leftover.rename(path)
    elif leftover.is_dir() and not leftover.is_symlink():
        shutil.rmtree(leftover, ignore_errors=True)
    else:
        leftover.unlink(missing_ok=True)


def find_leftovers(folder: Path, name: str | None = None, any_host: bool = False) -> list[Path]:
    """What processes that no longer live left in a folder, the newest first.

    name: of the file or directory that they wrote."""
    if not folder.is_dir():
        return []
    leftovers = []
    for path in folder.iterdir():
        match = LEFTOVER.fullmatch(path.name)
        if match is None or (name is not None and match["name"] != name):
            continue
        if match["host"] in (None, HOST):
            if is_alive(int(match["pid"])):
                continue
        elif not any_host:
            continue
        leftovers.append(path)
    return sorted(leftovers, key=lambda path: path.stat().st_mtime, reverse=True)


def is_alive(pid: int) -> bool:
    """Whether another process of this number lives on this host; what an earlier process with our
    own number left is nobody's."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it lives and belongs to somebody else
        return True
    return True


def temporary_path(path: Path, kind: str = "tmp") -> Path:
    """A hidden name beside `path` that no other process uses."""
    return path.with_name(f".{path.name}.{os.getpid()}-{HOST}.{kind}")


def require_disk(path: str | Path, n_bytes: int) -> None:
    """Raise `ValueError` when the file system of `path` cannot take 1.05 n_bytes more."""
    path = Path(path)
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    if free < 1.05 * n_bytes:
        raise ValueError(
            f"{path} has {format_bytes(free)} free, this needs {format_bytes(n_bytes)}; free "
            "some, or pass another --runs"
        )


def format_bytes(n_bytes: float) -> str:
    """A size with its unit: 12.3 GiB, or 4.5 MiB below one GiB."""
    if n_bytes >= 2**30:
        return f"{n_bytes / 2**30:.1f} GiB"
    return f"{n_bytes / 2**20:.1f} MiB"

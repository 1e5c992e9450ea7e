"""What lies in the folder of the runs.

    python -m unlearn.runs list                      every run: state, size, last change
    python -m unlearn.runs show NAME                 one run: settings, results, files
    python -m unlearn.runs clean [--yes]             delete runs that are unfinished or of an older
                                                     layout, after listing them and asking

NAME is a run's path below the folder of the runs, or its last part where one run alone has it.
--runs names another folder. Finished runs of this layout are never deleted, links are never
followed, and a run that a command is working on is left alone.
"""

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unlearn.config.files import format_bytes
from unlearn.config.flags import Options, build_config, build_parser, flag, run_command
from unlearn.config.locks import release_directory, take_lock
from unlearn.config.run_directory import LAYOUT, Run

FINISHED, UNFINISHED, OLD, DAMAGED = "finished", "unfinished", "older layout", "damaged"
DELETED = (UNFINISHED, OLD)
KEYS = ("config_key", "identity")  # of config.json: in this layout, and in the one before


@dataclass
class RunsOptions(Options):
    """Runs"""

    runs: str = flag("runs", "folder of all run directories", role="volatile")
    yes: bool = flag(False, "clean: delete without asking", role="volatile")


@dataclass(frozen=True)
class Entry:
    """One run directory: its path below the folder of the runs, its state, bytes and last change
    (seconds since 1970)."""

    path: Path
    name: str
    state: str
    n_bytes: int
    changed: float


def find_entries(root: Path) -> Iterator[Entry]:
    """Every run below `root`, in path order; folders behind links are not looked into.

    A run has config.json; its name is <benchmark>/<model>/<split>/<run> in this layout."""
    for path in find_run_folders(root):
        stats = [file.lstat() for file in path.rglob("*") if not file.is_dir()]
        yield Entry(
            path,
            path.relative_to(root).as_posix(),
            find_state(Run(path)),
            sum(stat.st_size for stat in stats),
            max((stat.st_mtime for stat in stats), default=path.stat().st_mtime),
        )


def find_run_folders(folder: Path) -> Iterator[Path]:
    """The run directories below a folder; nothing inside of a run, and nothing behind a link."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_symlink() or not path.is_dir() or path.name.startswith("."):
            continue
        if is_run(path):
            yield path
        else:
            yield from find_run_folders(path)


def is_run(path: Path) -> bool:
    """Whether a folder is a run directory of ours, and not a model, an adapter or a stranger's."""
    if not (path / "config.json").is_file():
        return False
    try:
        config = Run(path).config
    except (OSError, ValueError):
        return any((path / mark).exists() for mark in ("DONE", "log.jsonl", "checkpoint"))
    return any(key in config for key in KEYS)


def find_state(run: Run) -> str:
    """`finished`, `unfinished`, `older layout`, or `damaged` where config.json cannot be read."""
    try:
        config = run.config
    except (OSError, ValueError):
        return DAMAGED
    if config.get("layout") != LAYOUT:
        return OLD
    return FINISHED if run.done else UNFINISHED


def find_entry(root: Path, name: str) -> Entry:
    """The run of this name. Raises `ValueError` where there is none, or more than one."""
    entries = list(find_entries(root))
    wanted = name.strip("/").removeprefix(f"{root}/")
    same = [entry for entry in entries if entry.name == wanted]
    same = same or [entry for entry in entries if entry.path.name == wanted]
    if len(same) == 1:
        return same[0]
    if not same:
        raise ValueError(f"no run {name} in {root}; python -m unlearn.runs list names them")
    raise ValueError(f"{name} names {len(same)} runs: {', '.join(e.name for e in same)}")


def format_entry(entry: Entry) -> str:
    """One line of the list."""
    changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.changed))
    return f"{entry.state:13s}{format_bytes(entry.n_bytes):>10s}  {changed}  {entry.name}"


def list_runs(root: Path) -> None:
    """Print every run, and how many there are of each state."""
    entries = list(find_entries(root))
    for entry in entries:
        print(format_entry(entry))
    states = [entry.state for entry in entries]
    counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    total = format_bytes(sum(entry.n_bytes for entry in entries))
    print(f"{len(entries)} runs in {root}, {total}: {', '.join(counts) or 'none'}")


def show_run(root: Path, name: str) -> None:
    """Print the settings of a run that did not come from a default, its result and its files."""
    entry = find_entry(root, name)
    print(format_entry(entry))
    if entry.state == DAMAGED:
        print(f"{entry.path / 'config.json'} cannot be read; delete the folder by hand")
        return
    run = Run(entry.path)
    for key, setting in run.config.get("flags", {}).items():
        if setting["origin"] != "default":
            print(f"  {key} = {setting['value']}  ({setting['origin']})")
    if (entry.path / "result.json").exists():
        for key, value in run.result.items():
            if isinstance(value, int | float | str):
                print(f"  {key}: {value}")
    for path in sorted(entry.path.iterdir()):
        files = [path] if path.is_symlink() or path.is_file() else [*path.rglob("*")]
        n_bytes = sum(file.lstat().st_size for file in files if not file.is_dir())
        print(f"  {format_bytes(n_bytes):>10s}  {path.name}")


def clean_runs(root: Path, yes: bool) -> None:
    """Delete unfinished runs and runs of an older layout, after listing them and asking."""
    entries = [entry for entry in find_entries(root) if entry.state in DELETED]
    if not entries:
        print(f"nothing to delete in {root}: every run is finished")
        return
    for entry in entries:
        print(format_entry(entry))
    total = format_bytes(sum(entry.n_bytes for entry in entries))
    if not (yes or ask(f"delete these {len(entries)} runs, {total}? [y/N] ")):
        print("nothing was deleted")
        return
    deleted = [entry for entry in entries if delete(root, entry)]
    print(f"deleted {len(deleted)} of {len(entries)} runs")


def ask(question: str) -> bool:
    """Whether the user answers yes. Raises `ValueError` where nobody can."""
    if not sys.stdin.isatty():
        raise ValueError("clean asks before it deletes, and here nobody can answer; pass --yes")
    return input(question).strip().lower() in ("y", "yes")


def delete(root: Path, entry: Entry) -> bool:
    """Delete a run and folders that it leaves empty; return whether it could be.

    What it was listed for must still hold, and no command may be working on it."""
    path = entry.path
    inside = path.resolve().is_relative_to(root.resolve()) and path.resolve() != root.resolve()
    if path.is_symlink() or not inside or find_state(Run(path)) != entry.state:
        print(f"left alone, it has changed: {entry.name}")
        return False
    if not take_lock(path):
        print(f"left alone, a command is working on it: {entry.name}")
        return False
    try:
        (path / "DONE").unlink(missing_ok=True)
        shutil.rmtree(path)
    except OSError as error:
        print(f"left alone, {error.strerror}: {entry.name}")
        return False
    finally:
        release_directory(path)
    for parent in path.parents:
        if parent == root or any(parent.iterdir()):
            break
        parent.rmdir()
    print(f"deleted: {entry.name}")
    return True


def main(argv: list[str] | None) -> None:
    words = sys.argv[1:] if argv is None else list(argv)
    if not words or {"-h", "--help"} & {*words}:
        print(__doc__.strip())
        return
    verb, *rest = words
    names = [rest.pop(0)] if verb == "show" and rest and not rest[0].startswith("-") else []
    if verb not in ("list", "show", "clean"):
        raise ValueError(f"unknown verb {verb!r}; choose one of list, show NAME, clean")
    if verb == "show" and not names:
        raise ValueError("show which run? python -m unlearn.runs show NAME; list names them")
    options = build_config(RunsOptions, vars(build_parser(RunsOptions, None).parse_args(rest)))
    root = Path(options.runs)
    if root.is_file():
        raise ValueError(f"--runs {root} is a file; give the folder of all run directories")
    if verb == "list":
        list_runs(root)
    elif verb == "show":
        show_run(root, names[0])
    else:
        clean_runs(root, options.yes)


if __name__ == "__main__":
    run_command(main)

"""What a start knows of commands that earlier starts have run: the ones that would do nothing.

A command's record holds digests of what it read and of what it made: its flags, our sources, the
files that its flags name, the runs that it works on. Where all of them are as they were, the same
command would skip everything, as `Run.check` and the evaluators would find; so it is not started. A
file counts as it was if its size and both its times are. Records lie in <runs>/.grid/.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from unlearn.benchmarks.registry import find_benchmark
from unlearn.config.files import read_json, write_json
from unlearn.config.run_directory import REPOSITORY
from unlearn.grid.commands import Command
from unlearn.language_model.models import trained_from_scratch

FOLDER = ".grid"
LONGEST_NAME = 1000  # characters of a flag's value that may be a path
RESULTS = ("eval", "attacks")  # folders of a run that evaluations write
PASSING = ("checkpoint", ".lock", FOLDER, "__pycache__")
MADE = ("tables", "report.html")  # what the report writes into the folder of the runs
FINISHED = re.compile(r"^(?:finished|skipped, finished before): (.*?)(?:  \(--overwrite.*)?$", re.M)


@cache
def digest_sources() -> str:
    """The digest of our programs and of the versions that they ask for."""
    folders = ("unlearn", "baselines", "grun", "rmu", "eval", "pyvene_custom")
    files = [path for name in folders for path in sorted((REPOSITORY / name).rglob("*.py"))]
    digest = sha256()
    for path in [*files, REPOSITORY / "requirements.txt"]:
        if path.exists():
            digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def walk(
    path: Path, leave_out: Iterable[str] = (), above: frozenset[Path] = frozenset()
) -> Iterator[Path]:
    """The files at and below `path`, links followed, without passing ones and folders of these
    names; above: the folders around it, which a link may lead back to."""
    if path.is_file():
        yield path
    if not path.is_dir() or path.resolve() in above:
        return
    for entry in sorted(path.iterdir()):
        if entry.name not in PASSING and entry.name not in leave_out:
            yield from walk(entry, leave_out, above | {path.resolve()})


def digest_files(files: Iterable[Path]) -> str:
    """The digest of names, sizes and times of files."""
    digest = sha256()
    for path in sorted(set(files)):
        try:
            stat = path.stat()
        except FileNotFoundError:  # it was passing
            continue
        line = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@dataclass(frozen=True)
class Records:
    """The records in one folder of runs."""

    runs: Path

    def path(self, command: Command) -> Path:
        """The file of a command's record."""
        words = json.dumps([command.module, *command.words])
        return self.runs / FOLDER / f"{sha256(words.encode()).hexdigest()[:16]}.json"

    def find(self, command: Command) -> dict | None:
        """The record of a command that has nothing to do; None where it must be started."""
        path = self.path(command)
        if command.overwrites or not path.is_file() or not reads_files_alone(command):
            return None
        try:
            record = read_json(path)
            same = record == self.describe(command, record["runs"], record["text"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return record if same else None

    def inputs(self, command: Command) -> str | None:
        """The digest of what a command reads, before it is started; None where a file cannot be
        looked at."""
        try:
            return digest_files(self.input_files(command))
        except OSError:
            return None

    def write(self, command: Command, inputs: str | None, text: str) -> None:
        """Record a command that has ended well; text: what it printed. Not where something that
        it read has changed since it was started, nor where the record cannot be written."""
        runs = FINISHED.findall(text)
        trains = command.stage in ("models", "cells")
        if not reads_files_alone(command) or inputs is None or self.inputs(command) != inputs:
            return
        if trains and not (runs and all((Path(run) / "DONE").exists() for run in runs)):
            return
        kept = text if command.stage == "report" else ""
        with suppress(OSError, ValueError):
            record = self.describe(command, runs if trains else [], kept)
            write_json(self.path(command), record)

    def describe(self, command: Command, runs: list[str], text: str) -> dict:
        """The record of a command as things are now."""
        return {
            "command": [command.module, *command.words],
            "sources": digest_sources(),
            "read": digest_files(self.input_files(command)),
            "made": digest_files(self.output_files(command, runs)),
            "runs": runs,
            "text": text,
        }

    def input_files(self, command: Command) -> Iterator[Path]:
        """The files that a command reads."""
        yield from named_files(command, self.runs)
        if command.stage in ("evaluations", "attacks"):
            for run in self.cell_runs(command):
                yield from walk(run, RESULTS)
        elif command.stage == "report":
            for entry in sorted(self.runs.iterdir()) if self.runs.is_dir() else ():
                if entry.name not in (*MADE, *PASSING):
                    yield from walk(entry)

    def output_files(self, command: Command, runs: list[str]) -> Iterator[Path]:
        """The files that a command makes."""
        if command.stage in ("models", "cells"):
            for run in runs:
                yield from walk(Path(run), RESULTS)
        elif command.stage == "report":
            for name in MADE:
                yield from walk(self.runs / name)
        else:
            folder = "eval" if command.stage == "evaluations" else "attacks"
            for run in self.cell_runs(command):
                yield from walk(run / folder / (command.split or ""))

    def cell_runs(self, command: Command) -> Iterator[Path]:
        """The runs that an evaluation is about, of every seed of the data; those that are not
        finished too, and the targets that their configurations name."""
        benchmark = command.value("--benchmark") or ""
        name = command.model.strip("/").replace("/", "--")
        models = [
            entry / name
            for entry in (sorted(self.runs.iterdir()) if self.runs.is_dir() else ())
            if entry.name == benchmark or entry.name.startswith(f"{benchmark},")
        ]
        splits = ("full", command.split or "*", f"{command.split}_*", command.retain or "retain*")
        found = {
            config.parent
            for model in models
            for split in splits
            for config in model.glob(f"{split}/*/config.json")
        }
        named = (read_target(run) for run in found)
        yield from sorted(found | {target for target in named if target and target.is_dir()})


def read_target(run: Path) -> Path | None:
    """The model that a run's configuration names; None without one, or where it is damaged."""
    try:
        target = read_json(run / "config.json").get("target")
    except (OSError, ValueError):
        return None
    return Path(target) if isinstance(target, str) else None


def named_files(command: Command, runs: Path) -> Iterator[Path]:
    """The files that flags name, and those in folders that they name; not what lies in the folder
    of the runs beside a run that is named, nor the results of that run."""
    for word in command.words:
        for text in {word, word.partition("=")[2]}:
            path = Path(text)
            if text and len(text) < LONGEST_NAME and path.exists():
                # the folder of the runs counts as one that was entered, so it is left out
                yield from walk(path, RESULTS, frozenset([runs.resolve()]))


def reads_files_alone(command: Command) -> bool:
    """Whether all data that decide a result lie in files here, and are not read from a hub; a
    command that stacks requests is always started."""
    if command.stage == "report" or command.module.endswith(".sequential"):
        return command.module == "eval.report"
    files = [command.value(f"--{name}") for name in ("data_dir", "data", "forget_data")]
    if any(files):
        return all(Path(name).exists() for name in files if name)
    benchmark = find_benchmark(command.value("--benchmark") or "authors")
    # of wmdp the embedded world is for models from scratch; others read the corpora of the hub
    return benchmark.embedded and (
        benchmark.contents != "corpora" or trained_from_scratch(command.model)
    )

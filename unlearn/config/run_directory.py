"""A run is one directory: its configuration, its log, its results, and DONE, written last.

    runs/<benchmark>/<model>/<split>/<objective>-<tuner>[-<variant>]-seed<N>/
        config.json    every value with its origin, versions, git commit
        log.jsonl      one line per step
        result.json    what training ended with
        DONE           the run is finished

Everything that distinguishes two runs is in the path, so two runs that differ in a flag never share
a directory. Where several processes share a run, each calls the same methods of `Run` and the first
one writes.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from unlearn.config.files import read_json, sweep, write_json, write_text
from unlearn.config.locks import NAME as LOCK
from unlearn.config.locks import lock_directory, release_directory, take_lock
from unlearn.processes import gather, is_main, wait

LAYOUT = 3  # of run directories; runs of an older one are recognised and never mixed in
PACKAGES = (
    "torch",
    "transformers",
    "pyvene",
    "peft",
    "accelerate",
    "datasets",
    "lm_eval",
    "numpy",
)
REPOSITORY = Path(__file__).resolve().parents[2]


def label_model(model: str, name: str | None = None) -> str:
    """What folders and tables call a model: `name` where one is given, the last part of a folder's
    path, else the model itself, a hub id as one word.

    Raises `ValueError` as `check_folder_name` does."""
    if name is not None:
        check_folder_name(f"--name {name!r}", name)
        return name
    is_folder = model.startswith(("/", "./", "../")) or Path(model).is_dir()
    label = Path(model).name if is_folder else model.strip("/").replace("/", "--")
    check_folder_name(f"--model {model!r}", label)
    return label


def model_directory(runs: str | Path, benchmark_id: str, model: str, label: str) -> Path:
    """The folder of all runs on one model.

    Raises `ValueError` where it holds the runs of another model of the same label."""
    folder = Path(runs) / benchmark_id / label
    for path in sorted(folder.glob("*/*/config.json")) if model != label else ():
        stored = read_flag(path.parent, "model")
        if stored not in (None, label, model):
            raise ValueError(
                f"{folder} holds runs of the model {stored}, not of {model}; pass --name LABEL to "
                "call this one otherwise"
            )
    return folder


def read_run_config(path: str | Path) -> dict:
    """The contents of config.json in a run directory; {} for whatever is none, such as a model."""
    try:
        config = read_json(Path(path) / "config.json")
    except (OSError, ValueError):
        return {}
    return config if "objective" in config else {}


def read_flag(run: str | Path, name: str):
    """The value of one flag of a run directory, or None for whatever is none."""
    flag = read_run_config(run).get("flags", {}).get(name)
    return None if flag is None else flag["value"]


def locate_model(named: str, run: str | Path) -> str:
    """The model that a run names: as it stands, or below a folder above the run, where a relative
    path is meant and the current folder is another one than at training."""
    if Path(named).is_absolute() or Path(named).exists():
        return named
    above = (parent / named for parent in Path(run).absolute().parents)
    return next((str(path) for path in above if (path / "config.json").exists()), named)


def check_folder_name(flag: str, name: str) -> None:
    """Raise `ValueError`, beginning with `flag`, where `name` is not one folder in another."""
    if name in ("", ".", "..") or "/" in name:
        raise ValueError(f"{flag} cannot name a folder of runs; give a name such as tiny or full")


def provenance() -> dict:
    """Versions of the packages that decide numbers, and the state of this repository."""
    return {
        "versions": {name: installed_version(name) for name in PACKAGES},
        "git": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain")),
    }


def installed_version(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git(*words: str) -> str | None:
    """What git says of this repository; None where it cannot, and for an installed package, which
    may lie in somebody else's repository."""
    if not (REPOSITORY / ".git").exists():
        return None
    command = ["git", "-C", str(REPOSITORY), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


class Run:
    """One run directory."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return (self.path / "DONE").exists()

    @property
    def config(self) -> dict:
        """The contents of config.json."""
        return read_json(self.path / "config.json")

    @property
    def result(self) -> dict:
        """The contents of result.json."""
        return read_json(self.path / "result.json")

    @property
    def checkpoint(self) -> Path:
        """The folder with the state of an unfinished run; it is removed once the run is done."""
        return self.path / "checkpoint"

    @property
    def is_current_layout(self) -> bool:
        """Whether this version of the repository wrote the run."""
        return self.config.get("layout") == LAYOUT

    def skip(self, config: dict, overwrite: bool = False) -> bool:
        """Return whether this run is finished and stays, and print so.

        Waits while another command trains this run, then holds its lock. Raises `ValueError` when
        the directory holds a run, finished or not, of an older layout or with other values."""
        # the same answer on every process
        if any(gather([self.path.exists() and (overwrite or not self.done)])):
            lock_directory(self.path)
        try:
            finished = self.check(config, overwrite)
        except ValueError:
            release_directory(self.path)
            raise
        if finished and is_main():
            self.tidy()
            self.print_skipped()
        return finished

    def print_skipped(self) -> None:
        print(f"skipped, finished before: {self.path}  (--overwrite to run it again)", flush=True)

    def check(self, config: dict, overwrite: bool = False) -> bool:
        """Return whether this run is finished and stays. Raises `ValueError` as `skip` does."""
        if overwrite or not (self.path / "config.json").exists():
            return False
        if not self.is_current_layout:
            raise ValueError(
                f"{self.path} was made by an older version of this repository (see CHANGELOG.md); "
                "pass --overwrite to replace it, or another --runs"
            )
        stored = self.config["config_key"]
        wanted = json.loads(json.dumps(config["config_key"]))
        changed = sorted(
            name for name in stored.keys() | wanted.keys() if stored.get(name) != wanted.get(name)
        )
        if changed:
            raise ValueError(
                f"{self.path} holds a run with other values of {', '.join(changed)}; pass "
                "--overwrite to replace it"
            )
        return self.done

    def begin(self, config: dict, overwrite: bool = False) -> bool:
        """Lock the directory, and sweep what killed processes left there. An unfinished run with
        the same values stays, so that it can be resumed.

        Returns False where another command has finished this run since `skip` looked."""
        lock_directory(self.path)
        if any(gather([self.done and not overwrite])):
            if is_main():
                release_directory(self.path)
                self.print_skipped()
            return False
        if is_main():
            if overwrite:
                self.clear()
            sweep(self.path, exclusive=True)
            write_json(self.path / "config.json", config | provenance())
        wait()
        return True

    def tidy(self) -> None:
        """Remove what a process that was killed after it had written DONE left here."""
        if (self.path / LOCK).exists() and take_lock(self.path):
            shutil.rmtree(self.checkpoint, ignore_errors=True)
            sweep(self.path, exclusive=True)
            release_directory(self.path)

    def clear(self) -> None:
        """Remove all but the lock; DONE goes first, so that half a run never counts as finished."""
        (self.path / "DONE").unlink(missing_ok=True)
        for path in self.path.iterdir():
            if path.name == LOCK:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()

    def log(self, record: dict) -> None:
        """Append one record to the log."""
        if is_main():
            with open(self.path / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def logged(self) -> list[dict]:
        """The records of the log; a last line that a killed process left unfinished is dropped.

        Raises `ValueError`, with file and line, where another line is no record."""
        path = self.path / "log.jsonl"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        *lines, _ = text.split("\n")
        records = []
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                record = None
            if not isinstance(record, dict):
                raise ValueError(
                    f"{path}:{number} is no record of a step; delete this line, or train the run "
                    "again with --overwrite"
                )
            records.append(record)
        return records

    def rewind_log(self, step: int) -> None:
        """Drop what was logged at or after `step`: a resumed run logs those steps again."""
        if is_main():
            lines = [json.dumps(record) for record in self.logged() if record["step"] < step]
            write_text(self.path / "log.jsonl", "".join(line + "\n" for line in lines))

    def finish(self, result: dict) -> None:
        """Write result.json, then DONE, and only then remove the checkpoint; unlock."""
        if is_main():
            write_json(self.path / "result.json", result)
            write_text(self.path / "DONE", "")
            shutil.rmtree(self.checkpoint, ignore_errors=True)
            release_directory(self.path)
            print(f"finished: {self.path}", flush=True)
        wait()


def named_runs(paths: list[str]) -> list[Run]:
    """The runs that --only names. Raises `ValueError` for one that is not finished."""
    runs = [Run(path) for path in paths]
    unfinished = [run.path for run in runs if not run.done]
    if unfinished:
        raise ValueError(f"--only {unfinished[0]}: no finished run there; train it first")
    return runs


def finished_runs(root: str | Path) -> Iterator[Run]:
    """All finished runs below `root`, in path order."""
    for done in sorted(Path(root).rglob("DONE")):
        yield Run(done.parent)

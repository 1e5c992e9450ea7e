"""A run is one directory: what it was asked (config.json), what happened (log.jsonl), what came
out, and DONE, written last.

    runs/<benchmark>/<model>/<split>/<objective>-<tuner>[-<variant>]-seed<N>/

Everything that distinguishes two runs is in the path, so two runs that differ in a flag never share
a directory. Where several processes share a run, each calls the same methods of `Run` and the first
one writes."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from unlearn.config.flags import identity, place, resolved, variant
from unlearn.processes import is_main, wait

PACKAGES = ("torch", "transformers", "pyvene", "peft", "accelerate", "datasets", "lm_eval", "numpy")
# characters of a variant in a directory's name, which file systems end at 255 bytes; beyond it a
# digest tells variants apart
LONGEST = 160
REPOSITORY = Path(__file__).resolve().parent.parent


def write_json(path: str | Path, obj) -> Path:
    """Write `obj` as JSON to a temporary name beside `path`, then rename: a reader never sees half
    a file."""
    return write_text(path, json.dumps(obj, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: str | Path, text: str) -> Path:
    """As `write_json`, for text."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return path


def read_json(path: str | Path):
    """Read one JSON file; a broken one is a `ValueError` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is not valid JSON (line {error.lineno}: {error.msg}); delete it and run again"
        ) from None


def replace_directory(path: str | Path, write) -> Path:
    """Call `write(temporary_directory)`, then rename it to `path`: a saved folder is whole or
    absent."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    write(temporary)
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)
    return path


def require_disk(path: str | Path, n_bytes: int) -> None:
    """Raise `ValueError` when the file system of `path` cannot take `n_bytes` more (with 5 % to
    spare)."""
    path = Path(path)
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    if free < 1.05 * n_bytes:
        raise ValueError(
            f"{path} has {free / 2**30:.1f} GiB free, this needs {n_bytes / 2**30:.1f} GiB; free some, or pass another --runs"
        )


def provenance() -> dict:
    """Versions of the packages that decide numbers, and the state of this repository."""

    def installed(package):
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    def git(*words):
        done = subprocess.run(
            ["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    return {
        "versions": {name: installed(name) for name in PACKAGES},
        "git": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain")),
    }


def model_path(root, place: str, model: str) -> Path:
    """The folder of all runs on one model; a path or hub id becomes one name."""
    return Path(root) / place / model.strip("/").replace("/", "--")


def cell_of(args, origins: dict, plain, objective: str, tuner: str) -> tuple["Run", dict]:
    """The run that `args` name (see `flags.parse` for `origins` and `plain`), and its config.json
    but for what the run itself adds."""
    kind = variant(args, plain)
    told = (
        kind
        if len(kind) <= LONGEST
        else f"{kind[:LONGEST]}~{sha256(kind.encode()).hexdigest()[:12]}"
    )
    name = "-".join(
        part for part in (objective, tuner.strip("-"), told, f"seed{args.seed}") if part
    )
    config = {
        "benchmark": args.benchmark,
        "model": args.model,
        "split": args.split,
        "objective": objective,
        "tuner": tuner,
        "variant": kind,
    }
    config |= {
        "seed": args.seed,
        "benchmark_id": place(args, plain),
        "config_key": identity(args),
        "flags": resolved(args, origins),
    }
    return Run(
        model_path(args.runs, config["benchmark_id"], args.model) / args.split / name
    ), config


class Run:
    """One run directory."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def done(self) -> bool:
        return (self.path / "DONE").exists()

    @property
    def config(self) -> dict:
        return read_json(self.path / "config.json")

    @property
    def result(self) -> dict:
        return read_json(self.path / "result.json")

    @property
    def checkpoint(self) -> Path:
        """Where the state of an unfinished run is kept; gone once the run is done."""
        return self.path / "checkpoint"

    def skip(self, config: dict, overwrite: bool = False) -> bool:
        """Whether this run is finished and stays, said aloud.

        Raises `ValueError` when the directory holds a run, finished or not, whose identity
        differs."""
        if overwrite or not (self.path / "config.json").exists():
            return False
        kept = self.config["config_key"]
        asked = json.loads(json.dumps(config["config_key"]))
        changed = sorted(
            key for key in kept.keys() | asked.keys() if kept.get(key) != asked.get(key)
        )
        if changed:
            raise ValueError(
                f"{self.path} holds a run with other values of {', '.join(changed)}; pass --overwrite to replace it"
            )
        if self.done and is_main():
            print(
                f"skipped, finished before: {self.path}  (--overwrite to run it again)", flush=True
            )
        return self.done

    def begin(self, config: dict, overwrite: bool = False) -> None:
        """Claim the directory: what an unfinished run with the same flags left there is kept, to be
        resumed."""
        wait()  # until nobody reads what was here before
        if is_main():
            if overwrite:
                shutil.rmtree(self.path, ignore_errors=True)
            write_json(self.path / "config.json", config | provenance())
        wait()

    def log(self, record: dict) -> None:
        if is_main():
            with open(self.path / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def logged(self) -> list[dict]:
        path = self.path / "log.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def rewind_log(self, step: int) -> None:
        """Drop what was logged at or after `step`: a resumed run logs those steps again."""
        if is_main():
            kept = [json.dumps(record) for record in self.logged() if record["step"] < step]
            write_text(self.path / "log.jsonl", "".join(line + "\n" for line in kept))

    def finish(self, result: dict) -> None:
        """Write result.json, drop the checkpoint, and only then DONE."""
        if is_main():
            write_json(self.path / "result.json", result)
            shutil.rmtree(self.checkpoint, ignore_errors=True)
            write_text(self.path / "DONE", "")
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
    for mark in sorted(Path(root).rglob("DONE")):
        yield Run(mark.parent)

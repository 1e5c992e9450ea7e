"""Finished runs and the results of their evaluations as one frame (import only).

A run has a row where its evaluation belongs to it: the target on every split that it was evaluated
on, a retain-only reference on the forget split that it belongs to, every other run on its own
split. Runs whose config.json cannot be read, and runs of an older layout of this repository, are
left out and named.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from eval.report.reference_runs import find_retain_split
from unlearn.benchmarks.registry import BENCHMARKS
from unlearn.config.files import read_json
from unlearn.config.run_directory import LAYOUT, Run, finished_runs

KEY = ["benchmark", "model", "split", "objective", "tuner", "variant"]
COST = ["trainable_params", "train_seconds"]
ORDER = {"target": 0, "reference": 1}  # the untouched and the retain-only model precede all methods
ADAPTER_FORMAT = 2  # of adapter.json, as grun/adapter/folder.py writes it


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, its config.json, and the path that names it below the folder of all runs.

    pools_data_seeds: runs that differ in --data_seed or --target_seed alone are seeds of one
    method.
    """

    run: Run
    config: dict
    name: str
    pools_data_seeds: bool = False

    @property
    def path(self) -> Path:
        return self.run.path

    @property
    def evaluator(self) -> str:
        """The evaluator that the benchmark names."""
        return BENCHMARKS[self.config["benchmark"]].evaluator

    @property
    def key(self) -> dict:
        """Benchmark, model, split, objective, tuner, variant and seed."""
        words = {name: self.config.get(name) or "" for name in KEY}
        words |= {"benchmark": self.config["benchmark_id"], "seed": self.config["seed"]}
        if self.pools_data_seeds:
            for name, seed in (("benchmark", "data_seed="), ("variant", "target_seed=")):
                parts = words[name].split(",")
                seeds = [part for part in parts if part.startswith(seed)]
                words[name] = ",".join(part for part in parts if part not in seeds)
                if seeds:
                    words["seed"] = ",".join(map(str, (words["seed"], *seeds)))
        return words

    @property
    def cost(self) -> dict:
        """Trained parameters and seconds of training, None where they were not written."""
        result = self.run.result if (self.path / "result.json").exists() else {}
        return {name: result.get(name) for name in COST}

    def belongs_to(self, split: str) -> bool:
        """Whether an evaluation on the forget split `split` is a row of the tables."""
        if self.config["objective"] == "target":
            return True
        if self.config["objective"] == "reference":
            return self.config["split"] == find_retain_split(self.config["benchmark"], split)
        return self.config["split"] == split


@dataclass(frozen=True, eq=False)
class RunSet:
    """The finished runs and the stacks of requests below one folder; left_out: sentences about
    those that no table holds.
    """

    root: Path
    runs: tuple[FinishedRun, ...]
    stacks: tuple[Path, ...]
    left_out: tuple[str, ...]

    def select(self, evaluator: str) -> list[FinishedRun]:
        """The runs of the benchmarks that this evaluator scores."""
        return [run for run in self.runs if run.evaluator == evaluator]


def find_runs(
    root: str | Path, benchmarks: Iterable[str] | None = None, pools_data_seeds: bool = False
) -> RunSet:
    """All finished runs and stacks of these benchmarks (default: all) below `root`, in path
    order.
    """
    root = Path(root)
    if root.is_file():
        raise ValueError(f"--runs {root} is a file; give the folder of all run directories")
    benchmarks = BENCHMARKS if benchmarks is None else benchmarks
    runs = []
    stacks = []
    old = []
    sentences = []
    for run in finished_runs(root):
        name = run.path.relative_to(root).as_posix()
        try:
            config = run.config
            benchmark = config["benchmark"]
        except (OSError, KeyError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            sentences.append(f"left out: {run.path} has no config.json that can be read ({reason})")
            continue
        if config.get("layout") != LAYOUT:
            old.append(name)
        elif benchmark in benchmarks:
            runs.append(FinishedRun(run, config, name, pools_data_seeds))
    for stack in sorted(index.parent for index in root.rglob("requests.json")):
        name = stack.relative_to(root).as_posix()
        if is_old_stack(stack):
            old.append(name)
        elif "/" not in name or name.partition("/")[0].partition(",")[0] in benchmarks:
            stacks.append(stack)
    if old:
        sentences.append(
            f"{len(old)} runs of an older layout of this repository are left out: "
            f"{', '.join(old)}; remove them or run again"
        )
    return RunSet(root, tuple(runs), tuple(stacks), tuple(sentences))


def is_old_stack(stack: Path) -> bool:
    """Whether a stack of requests holds an adapter of an older format; a broken one is not old."""
    try:
        adapters = [read_json(path) for path in stack.glob("*/adapter.json")]
    except ValueError:
        return False
    return any(adapter.get("format", 1) < ADAPTER_FORMAT for adapter in adapters)


@dataclass(frozen=True)
class Results:
    """frame: one row per run and result. unevaluated: names of the finished runs without one.
    problems: a sentence about every run whose files cannot be read.
    """

    frame: pd.DataFrame
    unevaluated: list[str]
    problems: list[str]


def collect(
    runs: RunSet,
    evaluator: str,
    read_results: Callable[[FinishedRun], list[dict]],
    keys: list[str] = KEY,
) -> Results:
    """All results of one evaluator; the frame is empty where there is none.

    read_results(run): the numbers of each of its evaluations, and the keys in which one differs
    from the run's own. Raises `ValueError` where two directories hold the same run.
    """
    records = []
    unevaluated = []
    problems = []
    for run in runs.select(evaluator):
        try:
            results = read_results(run)
            words = {"run": run.path.as_posix()} | run.key | run.cost
        except (OSError, KeyError, ValueError) as error:
            problems.append(f"left out: {run.path} ({type(error).__name__}: {error})")
            continue
        if not results:
            unevaluated.append(run.name)
        records += [words | result for result in results]
    frame = pd.DataFrame(records)
    if len(frame):
        require_distinct(frame, [*keys, "seed"])
    return Results(frame, unevaluated, problems)


def require_distinct(frame: pd.DataFrame, keys: list[str]) -> None:
    """Raise `ValueError` naming the directories that hold the same run."""
    twice = frame[frame.duplicated(keys, keep=False)]
    if len(twice):
        names = ", ".join(dict.fromkeys(twice["run"]))
        raise ValueError(f"these directories hold the same run, keep one: {names}")


def name_unevaluated(results: Results) -> list[str]:
    """A sentence about finished runs without an evaluation, if there are any."""
    names = ", ".join(results.unevaluated)
    return [f"Finished but not evaluated: {names}."] if names else []

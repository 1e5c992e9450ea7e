"""The data that runs were made from: found where a command names none, and compared with what it
names (import only).
"""

from dataclasses import fields
from pathlib import Path

from unlearn.config.experiment import Experiment, build_experiment
from unlearn.config.options import DataOptions
from unlearn.config.run_directory import Run, finished_runs, model_directory, named_runs

DATA_FLAGS = tuple(option.name for option in fields(DataOptions))
SOURCE_FLAGS = ("data_dir", "data", "forget_data")


def build_evaluation_experiment(config: type, given: dict) -> Experiment:
    """The experiment of an evaluating command, on the data that its runs were made from.

    --only takes what its first run was made from, where no flag says otherwise. Without it, the
    files of the user's come from the runs of the cell, where all of them read the same. Raises
    `ValueError` where they read different ones, and where the files that are there now are not
    those that a run was made from.
    """
    if given.get("only"):
        runs = named_runs(given["only"])
        experiment = build_experiment(config, read_cell_flags(runs[0], config) | given)
        for run in runs:
            check_data(run, experiment)
        return experiment
    experiment = build_experiment(config, given)
    if any(name in given for name in SOURCE_FLAGS):
        return experiment
    source = find_source_flags(experiment)
    return build_experiment(config, given | source) if source else experiment


def read_cell_flags(run: Run, config: type) -> dict:
    """The data flags, model and forget split of a run, as far as this command takes them."""
    stored = run.config
    names = (*DATA_FLAGS, "model", "name")
    if stored["objective"] not in ("target", "reference"):
        names += ("split",)
    values = {name: flag["value"] for name, flag in stored["flags"].items() if name in names}
    known = build_experiment(config, {}).values
    return {name: value for name, value in values.items() if value is not None and name in known}


def read_source_flags(run: Run) -> dict:
    """Where the user's files lie that a run was made from."""
    values = {name: run.config["flags"].get(name, {}).get("value") for name in SOURCE_FLAGS}
    return {name: value for name, value in values.items() if value is not None}


def find_source_flags(experiment: Experiment) -> dict:
    """Where the user's files lie that all runs of this cell were made from; {} where the benchmark
    needs none, or none were used.

    Raises `ValueError` where the runs of the cell were made from different files.
    """
    values = experiment.values
    runs, benchmark_id = values["runs"], experiment.benchmark_id
    model = values["model"], experiment.label
    if any(finished_runs(model_directory(runs, benchmark_id, *model))):
        return {}
    first = {
        folder: run
        for folder in sorted(Path(runs).glob(f"{benchmark_id},data=*"))
        if (run := next(finished_runs(model_directory(runs, folder.name, *model)), None))
    }
    if len(first) > 1:
        raise ValueError(
            f"{', '.join(map(str, first))} hold runs on different files; name those you mean with "
            "--data_dir or --data"
        )
    for folder, run in first.items():
        source = read_source_flags(run)
        words = " ".join(f"--{name} {value}" for name, value in source.items())
        print(f"data: {words}, as the runs in {folder} read", flush=True)
        return source
    return {}


def check_data(run: Run, experiment: Experiment) -> None:
    """Raise `ValueError` unless a run was made from the files that the experiment reads."""
    stored = run.config["config_key"].get("data")
    if stored == experiment.data_content:
        return
    values = experiment.values
    named = [f"--{name} {values[name]}" for name in SOURCE_FLAGS if values.get(name)]
    raise ValueError(
        f"{run.path} was made from other data ({describe_digest(stored)}) than "
        f"{' '.join(named) or 'these flags name'} ({describe_digest(experiment.data_content)}): "
        "give the files that it was made from, or train it again"
    )


def describe_digest(digest: str | None) -> str:
    """A digest as it stands in the name of a directory."""
    return f"data={digest[:8]}" if digest else "no files of its own"

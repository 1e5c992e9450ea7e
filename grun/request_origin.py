"""What a removal request forgets and where its adapter comes from: run, data, split, entities.

It is read from the run that trained the adapter, or else from the adapter's own recipe, when the
request is added; the index of the stack keeps it, so that it outlives the run and its data.
"""

import os
from dataclasses import fields
from pathlib import Path

from grun.adapter.folder import AdapterConfig
from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.opening import open_benchmark
from unlearn.benchmarks.registry import BENCHMARKS
from unlearn.config.options import DataOptions
from unlearn.config.run_directory import Run
from unlearn.config.terminal import printable

MOST_ENTITIES = 10  # that `describe_origin` names
SOURCES = ("data_dir", "data", "forget_data")  # the flags that name files of the user's
UNKNOWN = "-"


def read_origin(source: str | Path, config: AdapterConfig) -> dict:
    """Return what the adapter folder `source` was trained to forget.

    Keys: run, benchmark, data (the flags that say which data), content (the digest of the user's
    files), split, rows and entities (of the forget set), objective, seed. None stands for what
    neither run nor recipe tells, and for rows and entities where the data are not there as they
    were.
    """
    run = Run(Path(source).parent)
    is_run = run.done and (run.path / "config.json").exists() and run.is_current_layout
    key, values = config.recipe, config.recipe  # in which `data` is the digest
    if is_run:
        key = run.config["config_key"]
        values = {name: flag["value"] for name, flag in run.config["flags"].items()}
        values["split"] = run.config["split"]
    # an adapter from elsewhere may say anything
    values = {name: value for name, value in values.items() if isinstance(value, str | int)}
    names = [field.name for field in fields(DataOptions) if field.name != "benchmark"]
    names = [name for name in names if is_run or name not in SOURCES]
    data = {name: values[name] for name in names if name in values}
    content = key.get("data") if isinstance(key.get("data"), str) else None
    forget_set = read_forget_set(values, data, content)
    entities = dict.fromkeys(example.entity for example in forget_set or [] if example.entity)
    return {
        "run": str(run.path) if is_run else None,
        "benchmark": values.get("benchmark"),
        "data": data,
        "content": content,
        "split": values.get("split"),
        "rows": len(forget_set) if forget_set else None,
        "entities": list(entities) or None,
        "objective": values.get("objective"),
        "seed": values.get("seed"),
    }


def read_forget_set(values: dict, data: dict, content: str | None) -> list[Example] | None:
    """The forget set that these flags name, or None where it is not at hand.

    Only embedded data and files are read, for adding a request must not wait for a download; and
    only files whose digest is `content` still.
    """
    spec = BENCHMARKS.get(values.get("benchmark", ""))
    sources = [str(data[name]) for name in SOURCES if name in data]
    if spec is None or not (spec.embedded or sources) or not all(map(os.path.exists, sources)):
        return None
    try:
        options = DataOptions(benchmark=spec.name, **data)
        if options.content != content:
            return None
        return open_benchmark(**options.opening()).examples(values.get("split", ""))
    except (ValueError, TypeError):  # the data changed or are gone, or a recipe from elsewhere
        return None


def describe_origin(origin: dict) -> dict[str, str]:
    """Label -> text of what `read_origin` returned, as `requests show` prints it."""
    data_text = ", ".join(f"{name} {value}" for name, value in origin.get("data", {}).items())
    entities = list(origin.get("entities") or [])
    shown = ", ".join(map(str, entities[:MOST_ENTITIES]))
    if len(entities) > MOST_ENTITIES:
        shown += f" and {len(entities) - MOST_ENTITIES} more"
    texts = {
        "run": origin.get("run"),
        "data": f"{origin.get('benchmark') or UNKNOWN}{f' ({data_text})' if data_text else ''}",
        "content": origin.get("content"),
        "split": origin.get("split"),
        "rows": origin.get("rows"),
        "entities": shown,
        "objective": origin.get("objective"),
        "seed": origin.get("seed"),
    }
    return {
        label: printable(str(value)) if value not in (None, "") else UNKNOWN
        for label, value in texts.items()
    }

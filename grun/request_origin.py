"""What a removal request forgets and where its adapter comes from: run, data, split, entities.

It is read from the run that trained the adapter, or else from the adapter's own recipe, when the
request is added; the index of the stack keeps it, so that it outlives the run and its data.
"""

from dataclasses import fields
from pathlib import Path

from grun.adapter.folder import AdapterConfig
from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.opening import open_benchmark
from unlearn.benchmarks.registry import BENCHMARKS
from unlearn.config.files import read_json
from unlearn.config.options import DataOptions
from unlearn.config.terminal import printable

MOST_ENTITIES = 10  # that `describe_origin` names
UNKNOWN = "-"


def read_origin(source: str | Path, config: AdapterConfig) -> dict:
    """Return what the adapter folder `source` was trained to forget.

    Keys: run, benchmark, data (the flags that say which data), split, rows and entities (of the
    forget set), objective, seed. None stands for what neither run nor recipe tells, and for rows
    and entities where the data cannot be read any more.
    """
    run = Path(source).parent
    values = config.recipe
    is_run = (run / "DONE").exists() and (run / "config.json").exists()
    if is_run:
        flags = read_json(run / "config.json").get("flags") or {}
        values = values | {name: flag["value"] for name, flag in flags.items()}
    # an adapter from elsewhere may say anything
    values = {name: value for name, value in values.items() if isinstance(value, str | int)}
    names = [field.name for field in fields(DataOptions) if field.name != "benchmark"]
    data = {name: values[name] for name in names if name in values}
    forget_set = read_forget_set(values, data)
    entities = dict.fromkeys(example.entity for example in forget_set or [] if example.entity)
    return {
        "run": str(run) if is_run else None,
        "benchmark": values.get("benchmark"),
        "data": data,
        "split": values.get("split"),
        "rows": len(forget_set) if forget_set else None,
        "entities": list(entities) or None,
        "objective": values.get("objective"),
        "seed": values.get("seed"),
    }


def read_forget_set(values: dict, data: dict) -> list[Example] | None:
    """The forget set that these flags name, or None where it is not at hand.

    Only embedded data and a folder are read: adding a request must not wait for a download.
    """
    spec = BENCHMARKS.get(values.get("benchmark", ""))
    if spec is None or not (spec.embedded or data.get("data_dir")):
        return None
    try:
        options = DataOptions(benchmark=spec.name, **data)
        return open_benchmark(**options.opening()).examples(values.get("split", ""))
    except (ValueError, TypeError):  # the data changed or are gone, or a recipe from elsewhere
        return None


def describe_origin(origin: dict) -> dict[str, str]:
    """Label -> text of what `read_origin` returned, as `requests show` prints it."""
    data = origin.get("data")
    data = data if isinstance(data, dict) else {}
    data_text = ", ".join(f"{name} {value}" for name, value in data.items())
    entities = list(origin.get("entities") or [])
    shown = ", ".join(map(str, entities[:MOST_ENTITIES]))
    if len(entities) > MOST_ENTITIES:
        shown += f" and {len(entities) - MOST_ENTITIES} more"
    texts = {
        "run": origin.get("run"),
        "data": f"{origin.get('benchmark') or UNKNOWN}{f' ({data_text})' if data_text else ''}",
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

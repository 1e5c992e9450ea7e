"""The questions of a run's own data: what was to be forgotten, and what was to be kept."""

from dataclasses import fields

from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.opening import open_benchmark
from unlearn.config.options import DataOptions

SIDES = ("forget", "retain")


def read_sides(values: dict, splits: list[str]) -> dict[str, list[Example]]:
    """side -> examples of the benchmark that a run's flags name; `forget` has those of all splits.

    Raises `ValueError` for a model without a run, data without questions, and data that are gone
    or changed.
    """
    if not values.get("benchmark"):
        raise ValueError("no run says what this model was trained on")
    names = [field.name for field in fields(DataOptions)]
    options = DataOptions(**{name: values[name] for name in names if name in values})
    if options.content != values.get("content"):
        raise ValueError("the data are no longer those that the run was made from")
    benchmark = open_benchmark(**options.opening())
    if benchmark.spec.contents != "questions":
        raise ValueError(f"{benchmark.name} has no questions")
    sides: dict[str, list[Example]] = {side: [] for side in SIDES}
    for split in splits or [benchmark.spec.default_split]:
        sets = benchmark.evaluation_sets(split)
        sides["forget"] += sets.get("forget", [])
        sides["retain"] = sets.get("retain", [])
    return sides

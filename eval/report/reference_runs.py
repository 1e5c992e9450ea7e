"""The runs that an evaluation is compared with: the retain-only reference and the untouched target
(import only).
"""

from pathlib import Path

from unlearn.benchmarks.registry import BENCHMARKS
from unlearn.config.files import read_json


def find_retain_split(benchmark: str, split: str) -> str | None:
    """forget10 -> retain90: the split of a forget split's reference; None for other names."""
    try:
        return BENCHMARKS[benchmark].retain_split(split)
    except ValueError:
        return None


def find_reference(folder: str | Path) -> Path | None:
    """Run directory of the evaluated retain-only model for `<run>/eval/<split>`: the first by name,
    or None.
    """
    folder = Path(folder)
    benchmark = read_json(folder.parents[1] / "config.json")["benchmark"]
    models = folder.parents[3]  # <model>/<split>/<run>/eval/<split>
    retain = find_retain_split(benchmark, folder.name)
    rows = sorted(models.glob(f"{retain}/reference-seed*/eval/{folder.name}/forget.json"))
    return rows[0].parents[2] if rows else None


def find_target(folder: str | Path) -> Path | None:
    """Run directory of the evaluated target of `<run>/eval/<split>`: itself if it is one, the one
    its config names, or the first beside it.
    """
    folder = Path(folder)
    run = folder.parents[1]
    config = read_json(run / "config.json")
    if config.get("objective") == "target":
        return run
    named = [Path(config["target"])] if "target" in config else []
    for target in [*named, *sorted(folder.parents[3].glob("full/target-seed*"))]:
        if (target / "eval" / folder.name / "forget.json").exists():
            return target
    return None

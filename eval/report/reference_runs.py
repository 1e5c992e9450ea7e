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
    """Run directory of the evaluated retain-only model for `<run>/eval/<split>`: the one of the
    target's seed, else the first by name, or None.
    """
    folder = Path(folder)
    config = read_json(folder.parents[1] / "config.json")
    models = folder.parents[3]  # <model>/<split>/<run>/eval/<split>
    retain = find_retain_split(config["benchmark"], folder.name)
    rows_file = f"eval/{folder.name}/forget.json"
    rows = sorted(models.glob(f"{retain}/reference-seed*/{rows_file}"))
    # else those that were made with other values than the recipe's
    rows = rows or sorted(models.glob(f"{retain}/reference-*/{rows_file}"))
    references = [path.parents[2] for path in rows]
    same_seed = f"reference-seed{find_target_seed(config)}"
    references.sort(key=lambda path: path.name != same_seed)
    return references[0] if references else None


def find_target_seed(config: dict) -> int | None:
    """The seed of the target that a run unlearned, of a target or reference its own."""
    if config.get("objective") in ("target", "reference"):
        return config.get("seed")
    return config.get("config_key", {}).get("target_seed")


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


def check_template(run: Path, reference: Path) -> str | None:
    """A sentence where a run is asked in another template than its reference: the numbers of their
    tokens differ, so they are not compared.
    """
    templates = [
        read_json(path / "config.json").get("prompt", {}).get("template")
        for path in (run, reference)
    ]
    if None in templates or templates[0] == templates[1]:
        return None
    return (
        f"asked in the template {templates[0]}, and its reference {reference.name} in "
        f"{templates[1]}: not compared with it; make a reference in {templates[0]} for that"
    )

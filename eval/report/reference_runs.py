"""Where the runs lie that an evaluation is compared with: the retain-only reference and the
untouched target (import only)."""

import re
from pathlib import Path

from unlearn.config.run_directory import read_json


def retain_of(split: str) -> str | None:
    """forget10 -> retain90: the split that a forget split's reference model is trained on; None for
    other names."""
    match = re.fullmatch(r"forget(\d\d)", split)
    return f"retain{100 - int(match[1]):02d}" if match else None


def find_reference(folder: str | Path) -> Path | None:
    """Run directory of the evaluated retain-only model for `<run>/eval/<split>`: the first by name,
    or None."""
    folder = Path(folder)
    models = folder.parents[3]  # <model>/<split>/<run>/eval/<split>
    found = sorted(
        models.glob(f"{retain_of(folder.name)}/reference-seed*/eval/{folder.name}/forget.json")
    )
    return found[0].parents[2] if found else None


def find_target(folder: str | Path) -> Path | None:
    """Run directory of the evaluated target of `<run>/eval/<split>`: itself if it is one, the one
    its config names, or the first beside it."""
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

"""Which runs an evaluation is about, and what it says about each (import only)."""

from pathlib import Path

from unlearn.config.run_directory import Run, locate_model, named_runs


def select_runs(folder: Path, split: str, retain_split: str, only: list[str]) -> list[Run]:
    """The runs that --only names, else all finished runs of the cell: first the references, which
    forget quality compares with, then the targets, then the unlearned runs.

    folder: that of all runs on the cell's model (`Experiment.model_folder`).
    Raises `ValueError` where there is none.
    """
    if only:
        return named_runs(only)
    unlearned = find_finished(folder / split, "*")
    paths = [run.path for run in find_starts(folder / "full", "target")]
    targets = {path.resolve(): path for path in paths}
    for run in unlearned:
        target = find_target(run)
        if target is not None and (target / "DONE").exists():
            targets.setdefault(target.resolve(), target)
    references = find_starts(folder / retain_split, "reference")
    selected = references + [Run(path) for path in sorted(targets.values())] + unlearned
    if not selected:
        raise ValueError(
            f"no finished run below {folder}; make some with bash cmd_grun.sh or bash "
            "cmd_baseline.sh"
        )
    return selected


def find_starts(folder: Path, role: str) -> list[Run]:
    """The finished targets or references of a folder with the recipe's values; where there are
    none, those with others.
    """
    return find_finished(folder, f"{role}-seed*") or find_finished(folder, f"{role}-*")


def find_finished(folder: Path, pattern: str) -> list[Run]:
    """The finished runs of a folder, in path order."""
    return [Run(done.parent) for done in sorted(folder.glob(f"{pattern}/DONE"))]


def find_target(run: Run) -> Path | None:
    """The model that a run unlearned; None where its config cannot be read, which the evaluation of
    the run reports.
    """
    try:
        target = run.config.get("target")
    except (OSError, ValueError):
        return None
    return Path(locate_model(target, run.path)) if target else None


def describe_work(names: list[str], seconds: float) -> str:
    """What was computed, for the log."""
    if not names:
        return "skipped, evaluated before"
    return f"evaluated {', '.join(names)} in {seconds:.1f} s"

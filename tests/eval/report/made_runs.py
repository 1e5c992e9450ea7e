"""Made-up finished run directories, and the tables made of them."""

import csv

from eval.report.collect import find_runs
from eval.report.format import to_terminal, write_files
from eval.report.registry import TABLES
from unlearn.config.files import write_json


def make_run(
    runs, objective="npo", tuner="grun", seed=42, split="forget10", evaluated="forget10", **more
):
    """A finished run whose summary on `evaluated` is `more`; None: not evaluated. `more` may name
    the run, too.
    """
    benchmark_id = more.pop("benchmark_id", "authors")
    model = more.pop("model", "tiny")
    variant = more.pop("variant", "")
    method = objective if tuner == "-" else f"{objective}-{tuner}"
    name = "-".join(part for part in (method, variant, f"seed{seed}") if part)
    path = runs / benchmark_id / model / split / name
    config = {
        "layout": 3,
        "benchmark": benchmark_id.partition(",")[0],
        "benchmark_id": benchmark_id,
        "model": model,
        "split": split,
        "seed": seed,
        "objective": objective,
        "tuner": tuner,
        "variant": variant,
    }
    write_json(path / "config.json", config)
    write_json(path / "result.json", {"trainable_params": 20992, "train_seconds": 12.34})
    (path / "DONE").touch()
    if evaluated:
        add_evaluation(path, evaluated, **more)
    return path


def add_evaluation(path, split, **summary):
    """An evaluation of a run on the questions of `split`, without rows."""
    folder = path / "eval" / split
    write_json(folder / "forget.json", {"rows": []})
    write_json(folder / "summary.json", {"truth_ratio_variant": "tofu_official"} | summary)


def make_target_and_reference(runs):
    """The untouched target and the retain-only reference of forget10."""
    quality = {"forget_quality": 1e-9, "forget_quality_log10p": -9.0}
    make_run(runs, "target", "-", split="full", forget_rouge=0.99, **quality)
    quality = {"forget_quality": 1.0, "forget_quality_log10p": 0.0}
    make_run(runs, "reference", "-", split="retain90", forget_rouge=0.4, **quality)


def write_table(runs, key="questions", width=120):
    """Write one table's files; returns its text for a terminal."""
    spec = TABLES[key]
    table = spec.build(find_runs(runs))
    write_files(table, spec.title, runs / "tables" / spec.name)
    return to_terminal(table, width)


def read_csv(runs, name="tofu"):
    """The rows of a written CSV, cells as text."""
    with open(runs / "tables" / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_markdown(path):
    """heading -> method -> column -> cell."""
    tables = {}
    for part in path.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading, *rest = part.splitlines()
        rows = [line.split("|")[1:-1] for line in rest if line.startswith("|")]
        rows = [[cell.strip() for cell in row] for row in rows]
        tables[heading] = {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}
    return tables

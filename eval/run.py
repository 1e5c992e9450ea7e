"""Evaluate every finished run of one cell, with the target and, where it exists, the retain-only reference it started from.

    python -m eval.run --benchmark authors --model tiny --split forget10
    python -m eval.run --only runs/authors/tiny/forget10/idk-grun-seed42

Writes <run>/eval/<split>/<set>.json, one file a set, and summary.json. What is finished is not computed again.
"""

import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from eval.load import load
from eval.metrics import DEFAULT_TRUTH_RATIO
from eval.scoring import score_set
from eval.summary import write_summary
from unlearn.data import Source
from unlearn.flags import DataFlags, RunFlags, flag, main, parse, place
from unlearn.recipes import recipe
from unlearn.runs import Run, model_path, read_json, write_json
from unlearn.unlearning import source_of


@dataclass
class EvalFlags(RunFlags, DataFlags):
    """What the evaluation can be told."""

    model: str = flag("tiny", "model of the cell", role="key")
    split: str = flag("forget10", "forget split of the cell", role="key")
    only: list[str] = flag([], "run directories to evaluate (default: all finished ones of the cell)", role="volatile")
    batch_size: int = flag(64, "examples per forward; changes memory, not results", role="volatile")
    max_new_tokens: int = flag(256, "length limit of greedy generation (spec 4.4)")
    truth_ratio: str = flag(DEFAULT_TRUTH_RATIO, "truth ratio variant of the aggregates", role="volatile")

    def __post_init__(self):
        if self.batch_size < 1 or self.max_new_tokens < 1:
            raise ValueError(f"--batch_size {self.batch_size}, --max_new_tokens {self.max_new_tokens}: both must be at least 1")


def cell_runs(args: EvalFlags, benchmark: str, retain: str) -> list[Run]:
    """Reference first (forget quality needs its rows), then targets, then the unlearned runs of the cell."""
    if args.only:
        runs = [Run(path) for path in args.only]
        unfinished = [run.path for run in runs if not run.done]
        if unfinished:
            raise ValueError(f"--only {unfinished[0]}: no finished run there; train it first")
        return runs
    model = model_path(args.runs, benchmark, args.model)
    unlearned = [Run(done.parent) for done in sorted((model / args.split).glob("*/DONE"))]
    targets = {run.config["target"] for run in unlearned} | {str(done.parent) for done in (model / "full").glob("target-seed*/DONE")}
    references = [Run(done.parent) for done in sorted((model / retain).glob("reference-seed*/DONE"))]
    runs = references + [Run(path) for path in sorted(targets) if (Path(path) / "DONE").exists()] + unlearned
    if not runs:
        raise ValueError(f"no finished run below {model}; make some with bash cmd_grun.sh or bash cmd_baseline.sh")
    return runs


def evaluate(run: Run, source: Source, args: EvalFlags) -> Path:
    """Score one run on every set of the split; return the folder of its results."""
    folder, began = run.path / "eval" / args.split, time.perf_counter()
    settings = {"max_new_tokens": args.max_new_tokens, "idk_file": args.idk_file, "dtype": args.dtype}
    missing = {}
    for name, examples in source.evaluation_sets(args.split).items():
        done = folder / f"{name}.json"
        if args.overwrite or not done.exists() or read_json(done)["settings"] != settings:
            missing[name] = examples
    if missing:
        with load(run.path, args.device, args.dtype, args.attn) as subject:
            for name, examples in missing.items():
                rows = score_set(subject, name, examples, args.batch_size, args.max_new_tokens)
                write_json(folder / f"{name}.json", {"set": name, "benchmark": source.name, "settings": settings, "rows": rows})
    summary = write_summary(folder, args.truth_ratio)
    told = f"evaluated {', '.join(missing)} in {time.perf_counter() - began:.1f} s" if missing else "skipped, evaluated before"
    print(f"{run.path}: {told}; forget ROUGE {summary['forget_rouge']:.3f}", flush=True)
    return folder


def command(argv: list[str] | None) -> None:
    def cell(values: Namespace) -> dict:
        return recipe("eval", benchmark=values.benchmark, model=values.model)

    args, _, plain = parse(EvalFlags, argv, cell, __doc__)
    source = source_of(args)
    for run in cell_runs(args, place(args, plain), source.retain_for(args.split)):
        evaluate(run, source, args)


if __name__ == "__main__":
    main(command)

"""Evaluate every finished run of one cell, with the target and, where it exists, the retain-only
reference it started from.

    python -m eval.run --benchmark authors --model tiny --split forget10
    python -m eval.run --only runs/authors/tiny/forget10/idk-grun-seed42

Writes <run>/eval/<split>/<set>.json, one file a set, and summary.json. What is finished is not
computed again: stopped anywhere, the same command goes on. A run that cannot be evaluated does not
keep the others from it; it is named at the end, and the exit code is 2."""

import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from eval.metrics.fluency import CharacterModel, Classifier
from eval.report.summary import Options, write_summary
from eval.scoring.model import EvalModel, load_eval_model
from eval.scoring.questions import QuestionScorer
from eval.scoring.set_file import SetFile
from unlearn.benchmarks.base import Benchmark
from unlearn.config.flags import flag, run_command
from unlearn.config.old_flags import DataFlags, RunFlags, parse, place
from unlearn.config.recipes import recipe
from unlearn.config.run_directory import Run, model_path, named_runs
from unlearn.training.loss import open_benchmark_of


@dataclass
class EvalFlags(RunFlags, DataFlags):
    """What the evaluation can be told."""

    model: str = flag("tiny", "model of the cell", role="key")
    split: str = flag("forget10", "forget split of the cell", role="key")
    only: list[str] = flag(
        [], "run directories to evaluate (default: all finished ones of the cell)", role="volatile"
    )
    batch_size: int = flag(64, "examples per forward; changes memory, not results", role="volatile")
    max_new_tokens: int = flag(256, "length limit of greedy generation (spec 4.4)")
    gibberish: str | None = flag(
        None,
        "classifier of fluency, by hub id (madhurjindal/autonlp-Gibberish-Detector-492513457) or folder",
        role="volatile",
    )
    truth_ratio: str = flag(
        Options.truth_ratio, "truth ratio variant of the aggregates", role="volatile"
    )
    es_no_match: str = flag(
        Options.es_no_match,
        "extraction strength where the last token is wrong: 0 or, as upstream, 1/N",
        role="volatile",
    )
    privacy_score: str = flag(
        Options.privacy_score, "s of the privacy aggregate: bounded or relative", role="volatile"
    )

    def __post_init__(self):
        if self.batch_size < 1 or self.max_new_tokens < 1:
            raise ValueError(
                f"--batch_size {self.batch_size}, --max_new_tokens {self.max_new_tokens}: both must be at least 1"
            )
        self.options = Options(self.truth_ratio, self.es_no_match, self.privacy_score)


def cell_runs(args: EvalFlags, benchmark: str, retain: str) -> list[Run]:
    """Reference first (forget quality needs its rows), then targets, then the unlearned runs of the
    cell."""
    if args.only:
        return named_runs(args.only)
    model = model_path(args.runs, benchmark, args.model)
    unlearned = [Run(done.parent) for done in sorted((model / args.split).glob("*/DONE"))]
    targets = {
        done.parent.resolve(): done.parent
        for done in sorted((model / "full").glob("target-seed*/DONE"))
    }
    for target in (Path(name) for name in map(target_of, unlearned) if name):
        targets.setdefault(target.resolve(), target)
    references = [
        Run(done.parent) for done in sorted((model / retain).glob("reference-seed*/DONE"))
    ]
    runs = (
        references
        + [Run(path) for path in sorted(targets.values()) if (path / "DONE").exists()]
        + unlearned
    )
    if not runs:
        raise ValueError(
            f"no finished run below {model}; make some with bash cmd_grun.sh or bash cmd_baseline.sh"
        )
    return runs


def target_of(run: Run) -> str | None:
    """The model that a run unlearned, or None where its config does not say: evaluating the run
    itself will."""
    try:
        return run.config.get("target")
    except (OSError, ValueError):
        return None


def opened(run: Run, args: EvalFlags) -> EvalModel:
    """The run, loaded."""
    return load_eval_model(run.path, args.device, args.dtype, args.attn)


def evaluate(
    run: Run, source: Benchmark, args: EvalFlags, scorer: QuestionScorer
) -> tuple[Path, list[str]]:
    """Score one run on every set of the split; return the folder of its results, and what was wrong
    with a set.

    Raises `ValueError` where nothing of the run can be evaluated."""
    folder = run.path / "eval" / args.split
    began = time.perf_counter()
    sets = source.evaluation_sets(args.split)
    files = {}
    problems = []
    for name, examples in sets.items():
        try:
            files[name] = SetFile.open(
                folder / f"{name}.json", name, source.name, examples, args.overwrite
            )
        except ValueError as error:
            problems.append(str(error))
    missing = [name for name, file in files.items() if file.missing(scorer)]
    if missing:
        with opened(run, args) as eval_model:
            for name in missing:
                try:
                    files[name].fill(eval_model, scorer, sets[name])
                # one set with an answer that this tokenizer cannot say must not cost the others
                except ValueError as error:
                    problems.append(
                        f"set {name}: {error}".replace(f"set {name}: set {name}", f"set {name}")
                    )
    summary = write_summary(folder, args.options)
    told = (
        f"evaluated {', '.join(missing)} in {time.perf_counter() - began:.1f} s"
        if missing
        else "skipped, evaluated before"
    )
    rouge = f"; forget ROUGE {summary['forget_rouge']:.3f}" if "forget_rouge" in summary else ""
    print(f"{run.path}: {told}{rouge}", flush=True)
    return folder, problems


def scorer_of(args: EvalFlags, source: Benchmark) -> QuestionScorer:
    """How this command scores."""
    answers = [
        e.answer for examples in source.evaluation_sets(args.split).values() for e in examples
    ]
    letters = CharacterModel([*dict.fromkeys(answers), *source.refusals])
    classifier = Classifier(args.gibberish, args.device) if args.gibberish else None
    return QuestionScorer(
        args.batch_size,
        args.max_new_tokens,
        letters,
        classifier,
        {"idk_file": args.idk_file, "dtype": args.dtype},
    )


def main(argv: list[str] | None) -> None:
    def cell(values: Namespace) -> dict:
        return recipe("eval", benchmark=values.benchmark, model=values.model)

    args, _, plain = parse(EvalFlags, argv, cell, __doc__)
    source = open_benchmark_of(args)
    source.evaluation_sets(
        args.split
    )  # bad data are nobody's fault but theirs: they stop the command before a model is loaded
    scorer = scorer_of(args, source)
    folders = []
    problems = {}
    for run in cell_runs(args, place(args, plain), source.retain_split(args.split)):
        try:
            folder, wrong = evaluate(run, source, args, scorer)
            folders.append(folder)
            problems |= {str(run.path): "; ".join(wrong)} if wrong else {}
        except (ValueError, OSError, KeyError) as error:
            problems[str(run.path)] = (
                str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            )
            print(f"{run.path}: not evaluated", flush=True)
    for folder in folders if len(folders) > 1 else []:
        write_summary(
            folder, args.options
        )  # once more: the reference and the target may have been evaluated since
    if problems:
        raise ValueError("; ".join(f"{path}: {problem}" for path, problem in problems.items()))


if __name__ == "__main__":
    run_command(main)

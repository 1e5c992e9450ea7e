"""Evaluate every finished run of one cell of a MUSE benchmark, with its target and its retain-only
reference.

    python -m eval.muse --benchmark muse --model tiny --split forget
    python -m eval.muse --benchmark muse-news --model llama2-7b --data_dir MUSE-News --muse_mode ou

Writes <run>/eval/muse/<set>.json, one file a set, one row an example, and summary.json: VerbMem,
KnowMem on forget and retain and PrivLeak (eval/metrics/muse.py). What is finished is not computed
again. Stacks of requests (SEQUENTIAL=.. ./cmd_grun.sh) are evaluated after each request.

A gated model edits one position of a prompt. VerbMem and KnowMem have a prompt; PrivLeak scores a
text that has none, so there the edit sits where training put it in such a text, behind its first
quarter (unlearn.benchmarks.muse.split_prompt): what comes before is the untouched model's."""

import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eval.metrics import muse as muse_metrics
from eval.metrics.tofu import gate_statistics
from eval.run import cell_runs, opened
from eval.scoring.documents import NEW_TOKENS, DocumentScorer
from eval.scoring.model import EvalModel
from eval.scoring.set_file import SetFile
from unlearn.benchmarks.base import Benchmark
from unlearn.benchmarks.muse import NAMES
from unlearn.config.flags import flag, run_command
from unlearn.config.old_flags import DataFlags, RunFlags, parse, place
from unlearn.config.recipes import recipe
from unlearn.config.run_directory import Run, model_path, read_json, write_json
from unlearn.language_model.prompts import PromptEncoder
from unlearn.training.loss import open_benchmark_of

FOLDER = "muse"  # <run>/eval/muse: the sets are the same for every forget split
LEARNT = 0.4  # what a target's VerbMem and KnowMem must reach; MUSE's own have .55 and more


@dataclass
class MuseFlags(RunFlags, DataFlags):
    """What the evaluation can be told."""

    benchmark: str = flag("muse", f"one of {', '.join(NAMES)}", role="key")
    model: str = flag("tiny", "model of the cell", role="key")
    split: str = flag("forget", "forget split of the cell", role="key")
    only: list[str] = flag(
        [], "run directories to evaluate (default: all finished ones of the cell)", role="volatile"
    )
    batch_size: int = flag(32, "examples per forward; changes memory, not results", role="volatile")
    muse_mode: str = flag(
        "muse",
        "whose rules aggregate: muse (the benchmark's), ou (OpenUnlearning's)",
        role="volatile",
    )
    prompt_space: bool = flag(
        True, "KnowMem's prompt ends in a space, as published; --no-prompt_space: in its colon"
    )

    def __post_init__(self):
        if self.benchmark not in NAMES:
            raise ValueError(
                f"--benchmark {self.benchmark} is not MUSE-shaped; choose one of {', '.join(NAMES)}"
            )
        if self.muse_mode not in muse_metrics.MODES:
            raise ValueError(
                f"--muse_mode {self.muse_mode} is unknown; choose one of {', '.join(muse_metrics.MODES)}"
            )
        if self.batch_size < 1:
            raise ValueError(f"--batch_size {self.batch_size}: must be at least 1")


def evaluate(
    folder: Path, about: dict, opening: Callable[[], EvalModel], source: Benchmark, args: MuseFlags
) -> None:
    """Score one model on every set, as far as it is not done. `about` are the words that name its
    row in the tables."""
    began = time.perf_counter()
    sets = source.evaluation_sets(args.split)
    scorer = DocumentScorer(args.batch_size, args.prompt_space, args.dtype)
    files = {
        name: SetFile.open(folder / f"{name}.json", name, source.name, examples, args.overwrite)
        for name, examples in sets.items()
    }
    missing = [name for name, file in files.items() if file.missing(scorer)]
    if missing:
        with opening() as eval_model:
            eval_model.prompt_encoder = PromptEncoder(
                eval_model.prompt_encoder.tokenizer, "text", max_length=2**30
            )  # prompts come whole, and are never cut
            for name in missing:
                files[name].fill(eval_model, scorer, sets[name])
    told = (
        f"evaluated {', '.join(missing)} in {time.perf_counter() - began:.1f} s"
        if missing
        else "skipped, evaluated before"
    )
    print(f"{about['run']}: {told}", flush=True)


def write_summary(folder: Path, about: dict, mode: str, models: Path) -> dict:
    """Aggregate the rows in `folder` and write summary.json: verbmem, knowmem_f, knowmem_r in [0,
    1], each with the ends of its interval (<name>_low, _high); auc, auc_retrain and where that is
    from, privleak; <set>_gate_open of gated models; `about`, the mode and a warning. models: the
    folder of all splits' runs, where the reference and the target lie."""
    key = "rougeL_f1" if mode == "muse" else "rougeL_f1_ou"
    summary: dict = about | {"muse_mode": mode}
    for name in NEW_TOKENS:
        rows = read_json(folder / f"{name}.json")["rows"]
        values = [row[key] for row in rows]
        summary[name] = sum(values) / len(values)
        summary[f"{name}_low"], summary[f"{name}_high"] = muse_metrics.interval(values)
        if "gates" in rows[0]:
            summary[f"{name}_gate_open"] = gate_statistics([row["gates"] for row in rows])[1]
    reference = sorted(models.glob(f"retain/reference-seed*/eval/{FOLDER}/privleak_holdout.json"))
    retrain = (
        auc_of(reference[0].parent, mode)
        if reference
        else muse_metrics.AUC_RETRAIN.get(about["benchmark"].split(",")[0])
    )
    summary["auc"], summary["auc_retrain"] = auc_of(folder, mode), retrain
    summary["auc_retrain_from"] = (
        reference[0].parents[2].relative_to(models).as_posix()
        if reference
        else "published"
        if retrain
        else None
    )
    if None not in (summary["auc"], retrain):
        summary["privleak"] = muse_metrics.privleak(summary["auc"], retrain)
    summary["warning"] = warning(
        summary, sorted(models.glob(f"full/target-seed*/eval/{FOLDER}/summary.json"))
    )
    write_json(folder / "summary.json", summary)
    return summary


def auc_of(folder: Path, mode: str) -> float | None:
    """AUC of one evaluated model; None where it has no likelihoods."""
    sides = [
        [row.get("logprobs") for row in read_json(folder / f"privleak_{name}.json")["rows"]]
        for name in ("forget", "holdout")
    ]
    return None if None in (sides[0][0], sides[1][0]) else muse_metrics.auc(*sides, mode)


def warning(summary: dict, targets: list[Path]) -> str | None:
    """Why a target does not look trained, or a reference not untrained on the forget set; None
    where all is well."""
    problems = []
    if summary["objective"] == "target":
        problems = [
            f"{name} of the target is {summary[name]:.2f}, below {LEARNT}"
            for name in NEW_TOKENS
            if summary[name] < LEARNT
        ]
    if summary["objective"] == "reference":
        problems = (
            [f"knowmem_r of the reference is {summary['knowmem_r']:.2f}, below {LEARNT}"]
            if summary["knowmem_r"] < LEARNT
            else []
        )
        known = read_json(targets[0])["verbmem"] if targets else None
        if known is not None and summary["verbmem"] > known / 2:
            problems.append(
                f"verbmem of the reference is {summary['verbmem']:.2f}, above half the target's {known:.2f}"
            )
    return "; ".join(problems) or None


@dataclass(frozen=True)
class Work:
    """One model to evaluate: where its results go, the words that name its row, and what opens
    it."""

    folder: Path
    about: dict
    opening: Callable[[], EvalModel]


def work_of_run(run: Run, args: MuseFlags) -> Work:
    config = run.config
    result = run.result
    about = {"benchmark": config["benchmark_id"]} | {
        name: config[name] for name in ("model", "split", "objective", "tuner", "variant", "seed")
    }
    about |= {"run": str(run.path)} | {
        name: result.get(name) for name in ("trainable_params", "train_seconds")
    }
    return Work(run.path / "eval" / FOLDER, about, lambda: opened(run, args))


def work_of_stack(stack: Path, args: MuseFlags, where: str) -> list[Work]:
    """The stack as it stood after the request `args.split`; none where that request is not in
    it."""
    rows = read_json(stack / "requests.json")["requests"]
    names = [row["name"] for row in rows]
    if args.split not in names:
        return []
    active = names[: names.index(args.split) + 1]
    objective, tuner, *variant = stack.name.rpartition("-")[0].split("-")
    about = {
        "benchmark": where,
        "model": args.model,
        "split": args.split,
        "objective": objective,
        "tuner": tuner,
        "variant": "-".join([*variant, "stack"]),
    }
    about |= {
        "seed": int(stack.name.rpartition("-seed")[2]),
        "run": str(stack),
        "trainable_params": sum(row["parameters"] for row in rows[: len(active)]),
    }
    about["train_seconds"] = sum(row["train_seconds"] or 0 for row in rows[: len(active)])

    def opening() -> EvalModel:
        eval_model = opened(Run(stack), args)
        eval_model.adapter_hooks.active = list(range(len(active)))
        speak = eval_model.generate
        eval_model.generate = lambda *asked: (
            speak(*asked)[0],
            None,
        )  # the gates of several requests are no one model's
        return eval_model

    return [Work(stack / "eval" / f"{FOLDER}-{args.split}", about, opening)]


def read(argv: list[str] | None):
    def cell(values: Namespace) -> dict:
        return recipe("muse", benchmark=values.benchmark, model=values.model)

    return parse(MuseFlags, argv, cell, __doc__)


def main(argv: list[str] | None) -> None:
    args, _, plain = read(argv)
    source = open_benchmark_of(args)
    where = place(args, plain)
    done = []
    problems = {}
    source.evaluation_sets(args.split)  # bad data stop the command before a model is loaded
    model = model_path(args.runs, where, args.model)
    stacks = (
        []
        if args.only
        else sorted(path.parent for path in model.glob("sequential/*/*/requests.json"))
    )
    listed = [
        (run.path, lambda run=run: [work_of_run(run, args)])
        for run in cell_runs(args, where, source.retain_split(args.split))
    ]
    listed += [(stack, lambda stack=stack: work_of_stack(stack, args, where)) for stack in stacks]
    for path, works in listed:
        try:
            for work in works():
                evaluate(work.folder, work.about, work.opening, source, args)
                done.append(work)
        except (ValueError, OSError, KeyError) as error:
            problems[str(path)] = (
                str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            )
            print(f"{path}: not evaluated", flush=True)
    for (
        work
    ) in done:  # only now: the reference's and the target's rows are what others are compared with
        write_summary(work.folder, work.about, args.muse_mode, model)
    if problems:
        raise ValueError("; ".join(f"{path}: {problem}" for path, problem in problems.items()))


if __name__ == "__main__":
    run_command(main)

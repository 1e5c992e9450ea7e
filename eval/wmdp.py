"""Multiple choice through lm-eval: the target and every finished run of one cell of wmdp.

    python -m eval.wmdp --model tiny                                                the embedded
                                                                                    world's
                                                                                    questions, by
                                                                                    cloze
    python -m eval.wmdp --model llama3.1-8b                                         wmdp_bio
                                                                                    wmdp_cyber, mmlu
                                                                                    by subject, from
                                                                                    the hub
    python -m eval.wmdp --model llama3.1-8b --forget_tests my/bio_test.jsonl my/cyber_test.jsonl
    --retain_tests my/mmlu.jsonl --mcq grun

Writes <run>/eval/<mcq>/<test>.json, a row per question, and summary.json: forget_acc,
forget_acc_<test>, retain_acc, .. with `_stderr`. What is finished is not computed again. The local
tests lie as lm-eval tasks in <runs>/wmdp/tasks/<mcq>, for `python -m eval.scoring.lm_eval_model run
--include_path`."""

import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from eval.scoring.lm_eval_model import BATCH_SIZE, GrunLM, open_with_likelihoods
from eval.scoring.multiple_choice import (
    STYLES,
    compute_accuracy,
    load_tasks,
    score_by_grun,
    score_lm_eval_task,
    silence_lm_eval,
    write_rows,
    write_tasks,
)
from unlearn.config.flags import flag, run_command
from unlearn.config.old_flags import DataFlags, RunFlags, parse, place
from unlearn.config.recipes import recipe
from unlearn.config.run_directory import Run, model_path, named_runs, read_json, write_json
from unlearn.language_model.loading import load_model
from unlearn.language_model.models import trained_from_scratch
from unlearn.training.loss import open_benchmark_of


@dataclass
class McqFlags(RunFlags, DataFlags):
    """What the multiple-choice evaluation can be told."""

    benchmark: str = flag("wmdp", "wmdp", role="key")
    model: str = flag("tiny", "model of the cell", role="key")
    only: list[str] = flag(
        [], "run directories to evaluate (default: all finished ones of the model)", role="volatile"
    )
    forget_tests: list[str] = flag(
        ["wmdp_bio", "wmdp_cyber"],
        "tests of what is forgotten: lm-eval tasks, topics of the embedded world, files",
    )
    retain_tests: list[str] = flag(["mmlu"], "tests of what is kept")
    mcq: str = flag(
        "letters",
        "letters: A. to D. as lm-eval's wmdp; cloze: the answers themselves; grun: the rule of GRUN's script",
    )
    limit: int | None = flag(None, "the first questions of every test alone")
    batch_size: int = flag(
        BATCH_SIZE, "contexts per forward; changes memory, not results", role="volatile"
    )

    def __post_init__(self):
        if self.mcq not in STYLES:
            raise ValueError(f"--mcq {self.mcq} is unknown; choose one of letters, cloze, grun")
        if self.batch_size < 1 or (self.limit is not None and self.limit < 1):
            raise ValueError(
                f"--batch_size {self.batch_size}, --limit {self.limit}: both must be at least 1"
            )
        if self.benchmark != "wmdp":
            raise ValueError(f"--benchmark {self.benchmark} has no multiple choice; wmdp has")

    @property
    def tests(self) -> dict[str, str]:
        """Test -> forget or retain."""
        return dict.fromkeys(self.forget_tests, "forget") | dict.fromkeys(
            self.retain_tests, "retain"
        )


def untouched(args: McqFlags) -> Run:
    """The run directory of a hub's model before unlearning, for its results; it is not copied
    there."""
    run = Run(model_path(args.runs, place(args, args), args.model) / "full" / "target-seed42")
    if not run.done:
        flags = {
            name: {"value": value, "origin": "default"}
            for name, value in (("template", None), ("max_length", 512))
        }
        config = {
            "benchmark": "wmdp",
            "model": args.model,
            "split": "full",
            "objective": "target",
            "tuner": "-",
            "variant": "",
            "seed": 42,
        }
        config |= {
            "benchmark_id": "wmdp",
            "config_key": {"model": args.model},
            "flags": flags,
            "target": args.model,
        }
        run.begin(config)
        run.finish(
            {
                "trainable_params": sum(
                    p.numel() for p in load_model(args.model, "cpu", "bfloat16").parameters()
                ),
                "train_seconds": 0.0,
            }
        )
    return run


def cell_runs(args: McqFlags, where: str) -> list[Run]:
    """The target first, then every finished run of the model."""
    if args.only:
        return named_runs(args.only)
    model = model_path(args.runs, where, args.model)
    runs = [
        Run(done.parent)
        for done in sorted(model.glob("*/*/DONE"))
        if done.parent.parent.name != "full"
    ]
    targets = [Run(done.parent) for done in sorted((model / "full").glob("target-seed*/DONE"))]
    if not trained_from_scratch(args.model) and not targets:
        targets = [untouched(args)]
    if not targets + runs:
        raise ValueError(f"no finished run below {model}; make some with bash cmd_wmdp.sh")
    return targets + runs


def evaluate(run: Run, args: McqFlags, tasks: dict[str, dict]) -> None:
    """Score one run on every test that it was not scored on yet, and write its summary."""
    folder = run.path / "eval" / args.mcq
    began = time.perf_counter()
    how = {name: getattr(args, name) for name in ("mcq", "limit", "dtype", "data_seed", "authors")}
    heads = {name: {"test": name} | how for name in args.tests}
    paths = {name: folder / f"{Path(name).stem}.json" for name in args.tests}
    missing = [
        name
        for name, path in paths.items()
        if args.overwrite or not path.exists() or read_json(path)["head"] != heads[name]
    ]
    if missing:
        with open_with_likelihoods(str(run.path), None, args.device, args.dtype) as eval_model:
            lm = GrunLM(eval_model, batch_size=args.batch_size)
            for name in missing:
                rows = (
                    score_by_grun(lm, name, open_benchmark_of(args).questions(name), args.limit)
                    if args.mcq == "grun"
                    else score_lm_eval_task(lm, tasks[name], args.limit)
                )
                write_rows(paths[name], heads[name], rows)
    summary = summarise({name: read_json(path)["rows"] for name, path in paths.items()}, args.tests)
    write_json(folder / "summary.json", summary | {"mcq": args.mcq})
    told = (
        f"evaluated {', '.join(missing)} in {time.perf_counter() - began:.1f} s"
        if missing
        else "skipped, evaluated before"
    )
    print(
        f"{run.path}: {told}; forget {summary['forget_acc']:.3f}, retain {summary['retain_acc']:.3f}",
        flush=True,
    )


def summarise(rows: dict[str, list[dict]], tests: dict[str, str]) -> dict[str, float]:
    """Accuracies with standard errors: of each test, of all questions to forget and of all to keep;
    of each subject, where a test has several."""
    found = {}
    for kind in ("forget", "retain"):
        own = {Path(name).stem: rows[name] for name, said in tests.items() if said == kind}
        named = {f"{kind}_acc": [row for part in own.values() for row in part]} | {
            f"{kind}_acc_{name}": part for name, part in own.items()
        }
        for key, part in named.items():
            found[key], found[f"{key}_stderr"] = compute_accuracy(part)
    subjects: dict[str, list[dict]] = {}
    for row in (row for part in rows.values() for row in part):
        subjects.setdefault(row["task"], []).append(row)
    return found | {
        "subjects": {task: compute_accuracy(part)[0] for task, part in sorted(subjects.items())}
    }


def main(argv: list[str] | None) -> None:
    def cell(values: Namespace) -> dict:
        return recipe("wmdp", benchmark=values.benchmark, model=values.model)

    args, _, plain = parse(McqFlags, argv, cell, __doc__)
    silence_lm_eval()
    benchmark = open_benchmark_of(args)
    local = [name for name in args.tests if benchmark.has_questions(name)]
    for name in args.tests if args.mcq != "letters" else ():
        benchmark.questions(name)  # lm-eval's own tasks have letters
    runs = cell_runs(args, place(args, plain))
    folder = Path(args.runs) / place(args, plain) / "tasks" / args.mcq
    tasks = {}
    if args.mcq != "grun":
        named = {name: name for name in args.tests} | write_tasks(
            folder, local, args.mcq, benchmark
        )
        loaded = load_tasks(list(named.values()), folder)
        tasks = {name: loaded[task] for name, task in named.items()}
    problems = {}
    for run in runs:
        try:
            evaluate(run, args, tasks)
        except (ValueError, OSError, KeyError) as error:
            problems[str(run.path)] = (
                str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            )
            print(f"{run.path}: not evaluated", flush=True)
    if problems:
        raise ValueError("; ".join(f"{path}: {problem}" for path, problem in problems.items()))


if __name__ == "__main__":
    run_command(main)

"""The evaluator "documents": MUSE's metrics of every run of a cell (import only).

Writes <run>/eval/muse/<set>.json, one file per set with one row per example, and summary.json:
VerbMem, KnowMem on forget and retain, and PrivLeak (eval/metrics/muse.py). What is finished is not
computed again. Stacks of requests (SEQUENTIAL=.. ./cmd_grun.sh) are evaluated as they stood after
the request that --split names.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eval.evaluators.document_summary import FOLDER, write_summary
from eval.evaluators.options import DocumentConfig
from eval.evaluators.runs import describe_work, select_runs
from eval.run_each import run_each
from eval.scoring.documents import DocumentScorer
from eval.scoring.model import EvalModel, load_eval_model
from eval.scoring.set_file import SetFile
from unlearn.benchmarks.base import Benchmark
from unlearn.benchmarks.opening import open_benchmark
from unlearn.config.experiment import Experiment
from unlearn.config.files import read_json
from unlearn.config.options import RunOptions
from unlearn.config.run_directory import Run
from unlearn.language_model.prompts import PromptEncoder


@dataclass(frozen=True)
class DocumentTask:
    """One model to evaluate.

    folder        where its results go
    description   the values that name its row in the tables
    load          opens the model
    """

    folder: Path
    description: dict
    load: Callable[[], EvalModel]


def evaluate_documents(experiment: Experiment) -> None:
    """Evaluate the runs and the stacks of the cell, then summarise each.

    Raises `ValueError` at the end, naming each run that could not be evaluated.
    """
    config: DocumentConfig = experiment.config
    benchmark = open_benchmark(**config.data.opening())
    split = config.data.resolve_split(config.split.split or benchmark.spec.default_split)
    benchmark.evaluation_sets(split)  # bad data stop the command before a model is loaded
    model_folder = experiment.model_folder
    paths = select_paths(experiment, split, benchmark.retain_split(split))
    described = {"benchmark": experiment.benchmark_id, "model": experiment.label, "split": split}
    evaluated: list[DocumentTask] = []

    def evaluate(path: Path) -> None:
        if (path / "requests.json").exists():
            task = build_stack_task(path, described, config.run)
        else:
            task = build_run_task(Run(path), config.run)
        if task is not None:
            evaluate_task(task, benchmark, split, config)
            evaluated.append(task)

    def write_summaries() -> None:
        """Only now, for the rows of the reference and the target are compared with."""
        for task in evaluated:
            mode = config.documents.muse_mode
            write_summary(task.folder, task.description, mode, model_folder)

    try:
        run_each(paths, evaluate)
    except ValueError:
        write_summaries()
        raise
    write_summaries()


def select_paths(experiment: Experiment, split: str, retain_split: str) -> list[Path]:
    """The runs that --only names, else those of the cell and all stacks of the model."""
    config: DocumentConfig = experiment.config
    runs = select_runs(experiment.model_folder, split, retain_split, config.cell.only)
    stacks = []
    if not config.cell.only:
        stacks = experiment.model_folder.glob("sequential/*/*/requests.json")
    return [run.path for run in runs] + sorted(path.parent for path in stacks)


def evaluate_task(
    task: DocumentTask, benchmark: Benchmark, split: str, config: DocumentConfig
) -> None:
    """Score one model on every set, as far as it is not done."""
    start = time.perf_counter()
    sets = benchmark.evaluation_sets(split)
    scorer = DocumentScorer(config.cell.batch_size, config.documents.prompt_space, config.run.dtype)
    files = {
        name: SetFile.open(
            task.folder / f"{name}.json", name, benchmark.name, examples, config.run.overwrite
        )
        for name, examples in sets.items()
    }
    pending = [name for name, file in files.items() if file.missing(scorer)]
    if pending:
        with task.load() as eval_model:
            # prompts come whole, and are never cut
            tokenizer = eval_model.prompt_encoder.tokenizer
            eval_model.prompt_encoder = PromptEncoder(tokenizer, "text", max_length=2**30)
            for name in pending:
                files[name].fill(eval_model, scorer, sets[name])
    line = describe_work(pending, time.perf_counter() - start)
    print(f"{task.description['run']}: {line}", flush=True)


def build_run_task(run: Run, options: RunOptions) -> DocumentTask:
    """The evaluation of one run."""
    config = run.config
    result = run.result
    description = {"benchmark": config["benchmark_id"]}
    for name in ("model", "split", "objective", "tuner", "variant", "seed"):
        description[name] = config[name]
    description["run"] = str(run.path)
    for name in ("trainable_params", "train_seconds"):
        description[name] = result.get(name)
    return DocumentTask(
        run.path / "eval" / FOLDER,
        description,
        lambda: load_eval_model(run.path, options.device, options.dtype, options.attn),
    )


def build_stack_task(stack: Path, described: dict, options: RunOptions) -> DocumentTask | None:
    """The evaluation of a stack as it stood after the request `described["split"]`; None where that
    request is not in it.
    """
    requests = read_json(stack / "requests.json")["requests"]
    names = [request["name"] for request in requests]
    split = described["split"]
    if split not in names:
        return None
    active = requests[: names.index(split) + 1]
    objective, tuner, *variant = stack.name.rpartition("-")[0].split("-")
    description = described | {
        "objective": objective,
        "tuner": tuner,
        "variant": "-".join([*variant, "stack"]),
        "seed": int(stack.name.rpartition("-seed")[2]),
        "run": str(stack),
        "trainable_params": sum(request["parameters"] for request in active),
        "train_seconds": sum(request["train_seconds"] or 0 for request in active),
    }

    def load() -> EvalModel:
        return load_first_requests(stack, len(active), options)

    return DocumentTask(stack / "eval" / f"{FOLDER}-{split}", description, load)


def load_first_requests(stack: Path, count: int, options: RunOptions) -> EvalModel:
    """The stack with its first `count` requests at work, and without gates: those of several
    requests are no one model's.
    """
    eval_model = load_eval_model(stack, options.device, options.dtype, options.attn)
    eval_model.adapter_hooks.active = list(range(count))
    generate = eval_model.generate
    eval_model.generate = lambda *args: (generate(*args)[0], None)
    return eval_model

"""The evaluator "multiple_choice": four-choice accuracies of the target and of every finished run
of one model, through lm-eval (import only).

    python -m eval.run --benchmark wmdp --model tiny             the embedded world's questions, by
                                                                 cloze
    python -m eval.run --benchmark wmdp --model llama3.1-8b      wmdp_bio, wmdp_cyber, and mmlu by
                                                                 subject, from the hub
    python -m eval.run --benchmark wmdp --model llama3.1-8b --mcq grun \\
        --forget_tests my/bio_test.jsonl my/cyber_test.jsonl --retain_tests my/mmlu.jsonl

Writes <run>/eval/<mcq>/<test>.json, a row per question, and summary.json: forget_acc,
forget_acc_<test>, retain_acc, .. with `_stderr`. What is finished is not computed again. The local
tests are written as lm-eval tasks to <runs>/wmdp/tasks/<mcq>, for `python -m
eval.scoring.lm_eval_model run --include_path`.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from eval.evaluators.options import MultipleChoiceConfig
from eval.evaluators.runs import describe_work, find_finished
from eval.run_each import run_each
from eval.scoring.lm_eval_model import GrunLM, open_with_likelihoods
from eval.scoring.multiple_choice import (
    compute_accuracy,
    load_tasks,
    score_by_grun,
    score_lm_eval_task,
    silence_lm_eval,
    write_rows,
    write_tasks,
)
from unlearn.benchmarks.opening import open_benchmark
from unlearn.benchmarks.wmdp import WmdpBenchmark
from unlearn.config.experiment import Experiment
from unlearn.config.files import read_json, write_json
from unlearn.config.run_directory import LAYOUT, Run, named_runs
from unlearn.language_model.loading import load_model
from unlearn.language_model.models import trained_from_scratch


@dataclass(frozen=True)
class MultipleChoiceEvaluation:
    """What every run of the model is evaluated with; tasks: test -> lm-eval's task."""

    config: MultipleChoiceConfig
    benchmark: WmdpBenchmark
    tasks: dict[str, dict]

    def describe_test(self, name: str) -> dict:
        """What decides the rows of a test, as its file keeps it."""
        config = self.config
        return {
            "test": name,
            "mcq": config.multiple_choice.mcq,
            "limit": config.multiple_choice.limit,
            "dtype": config.run.dtype,
            "data_seed": config.data.data_seed,
            "authors": config.data.authors,
        }


def evaluate_multiple_choice(experiment: Experiment) -> None:
    """Evaluate the target and the runs of the model, and summarise each.

    Raises `ValueError` at the end, naming each run that could not be evaluated.
    """
    config: MultipleChoiceConfig = experiment.config
    silence_lm_eval()
    benchmark = open_benchmark(**config.data.opening())
    options = config.multiple_choice
    if options.mcq != "letters":  # only by letters is a test one of lm-eval's own tasks
        for name in options.tests:
            benchmark.questions(name)
    runs = select_model_runs(experiment)
    folder = Path(config.run.runs) / experiment.benchmark_id / "tasks" / options.mcq
    tasks = prepare_tasks(config, benchmark, folder) if options.mcq != "grun" else {}
    evaluation = MultipleChoiceEvaluation(config, benchmark, tasks)
    run_each(runs, lambda run: evaluate_run(run, evaluation), lambda run: str(run.path))


def prepare_tasks(
    config: MultipleChoiceConfig, benchmark: WmdpBenchmark, folder: Path
) -> dict[str, dict]:
    """Write the local tests as lm-eval tasks; return lm-eval's task of every test."""
    options = config.multiple_choice
    local = [name for name in options.tests if benchmark.has_questions(name)]
    names = {name: name for name in options.tests}
    names |= write_tasks(folder, local, options.mcq, benchmark)
    loaded = load_tasks(list(names.values()), folder)
    return {name: loaded[task] for name, task in names.items()}


def select_model_runs(experiment: Experiment) -> list[Run]:
    """The runs that --only names, else the target and then every finished run of the model."""
    config = experiment.config
    if config.cell.only:
        return named_runs(config.cell.only)
    model = config.cell.model
    folder = experiment.model_folder
    runs = [run for run in find_finished(folder, "*/*") if run.path.parent.name != "full"]
    targets = find_finished(folder / "full", "target-seed*")
    if not trained_from_scratch(model) and not targets:
        targets = [describe_hub_model(folder / "full" / "target-seed42", model)]
    if not targets + runs:
        raise ValueError(f"no finished run below {folder}; make some with bash cmd_wmdp.sh")
    return targets + runs


def describe_hub_model(path: Path, model: str) -> Run:
    """The run directory for the results of a hub's model before unlearning; the model is not copied
    there.
    """
    run = Run(path)
    if run.done:
        return run
    flags = {"template": None, "max_length": 512}
    run.begin(
        {
            "layout": LAYOUT,
            "benchmark": "wmdp",
            "model": model,
            "split": "full",
            "objective": "target",
            "tuner": "-",
            "variant": "",
            "seed": 42,
            "benchmark_id": path.parents[2].name,
            "config_key": {"model": model},
            "flags": {name: {"value": value, "origin": "default"} for name, value in flags.items()},
            "target": model,
        }
    )
    parameters = load_model(model, "cpu", "bfloat16").parameters()
    run.finish({"trainable_params": sum(p.numel() for p in parameters), "train_seconds": 0.0})
    return run


def evaluate_run(run: Run, evaluation: MultipleChoiceEvaluation) -> None:
    """Score one run on every test that it was not scored on yet, and write its summary."""
    start = time.perf_counter()
    config = evaluation.config
    options = config.multiple_choice
    folder = run.path / "eval" / options.mcq
    paths = {name: folder / f"{Path(name).stem}.json" for name in options.tests}
    pending = [
        name
        for name, path in paths.items()
        if config.run.overwrite
        or not path.exists()
        or read_json(path)["head"] != evaluation.describe_test(name)
    ]
    if pending:
        device, dtype = config.run.device, config.run.dtype
        with open_with_likelihoods(str(run.path), None, device, dtype) as eval_model:
            lm = GrunLM(eval_model, batch_size=config.cell.batch_size)
            for name in pending:
                rows = score_test(lm, name, evaluation)
                write_rows(paths[name], evaluation.describe_test(name), rows)
    rows = {name: read_json(path)["rows"] for name, path in paths.items()}
    summary = summarise(rows, options.tests)
    write_json(folder / "summary.json", summary | {"mcq": options.mcq})
    accuracies = f"forget {summary['forget_acc']:.3f}, retain {summary['retain_acc']:.3f}"
    line = describe_work(pending, time.perf_counter() - start)
    print(f"{run.path}: {line}; {accuracies}", flush=True)


def score_test(lm: GrunLM, name: str, evaluation: MultipleChoiceEvaluation) -> list[dict]:
    """The rows of one test."""
    options = evaluation.config.multiple_choice
    if options.mcq == "grun":
        questions = evaluation.benchmark.questions(name)
        return score_by_grun(lm, name, questions, options.limit)
    return score_lm_eval_task(lm, evaluation.tasks[name], options.limit)


def summarise(rows: dict[str, list[dict]], tests: dict[str, str]) -> dict:
    """Accuracies with standard errors: of each test, and of all questions to forget and of all to
    keep; of each subject, where a test has several.
    """
    summary: dict = {}
    for side in ("forget", "retain"):
        by_test = {Path(name).stem: rows[name] for name in tests if tests[name] == side}
        parts = {f"{side}_acc": [row for part in by_test.values() for row in part]}
        parts |= {f"{side}_acc_{name}": part for name, part in by_test.items()}
        for key, part in parts.items():
            summary[key], summary[f"{key}_stderr"] = compute_accuracy(part)
    subjects: dict[str, list[dict]] = {}
    for row in (row for part in rows.values() for row in part):
        subjects.setdefault(row["task"], []).append(row)
    accuracies = {task: compute_accuracy(part)[0] for task, part in sorted(subjects.items())}
    return summary | {"subjects": accuracies}

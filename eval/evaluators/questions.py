"""The evaluator "questions": TOFU's metrics of every run of a cell (import only).

Writes <run>/eval/<split>/<set>.json, one file per set, and summary.json. What is finished is not
computed again, so the same command goes on where it was stopped.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from eval.evaluators.options import QuestionConfig
from eval.evaluators.runs import describe_work, select_runs
from eval.metrics.fluency import CharacterModel, Classifier
from eval.report import summary
from eval.run_each import run_each
from eval.scoring.model import load_eval_model
from eval.scoring.questions import QuestionScorer
from eval.scoring.set_file import SetFile
from unlearn.benchmarks.base import Benchmark
from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.opening import open_benchmark
from unlearn.config.experiment import Experiment
from unlearn.config.run_directory import Run


@dataclass(frozen=True)
class QuestionEvaluation:
    """What every run of the cell is evaluated with."""

    config: QuestionConfig
    benchmark: Benchmark
    split: str
    sets: dict[str, list[Example]]
    scorer: QuestionScorer
    options: summary.Options


def evaluate_questions(experiment: Experiment) -> None:
    """Evaluate the runs of the cell, and summarise each.

    Raises `ValueError` at the end, naming each run that could not be evaluated.
    """
    evaluation = prepare_evaluation(experiment.config)
    config, benchmark, split = experiment.config, evaluation.benchmark, evaluation.split
    runs = select_runs(
        experiment.model_folder,
        split,
        benchmark.retain_split(split),
        config.cell.only,
    )
    evaluated: list[Path] = []

    def rewrite_summaries() -> None:
        """The reference and the target may have been evaluated after a run that is compared with
        them.
        """
        for folder in evaluated if len(evaluated) > 1 else []:
            summary.write_summary(folder, evaluation.options)

    try:
        run_each(
            runs,
            lambda run: evaluate_run(run, evaluation, evaluated),
            lambda run: str(run.path),
        )
    except ValueError:
        rewrite_summaries()
        raise
    rewrite_summaries()


def prepare_evaluation(config: QuestionConfig) -> QuestionEvaluation:
    """Read the benchmark's sets; bad data stop the command before a model is loaded."""
    benchmark = open_benchmark(**config.data.opening())
    split = config.data.resolve_split(config.split.split or benchmark.spec.default_split)
    sets = benchmark.evaluation_sets(split)
    answers = [example.answer for examples in sets.values() for example in examples]
    questions = config.questions
    classifier = None
    if questions.gibberish:
        classifier = Classifier(questions.gibberish, config.run.device)
    scorer = QuestionScorer(
        config.cell.batch_size,
        questions.max_new_tokens,
        CharacterModel([*dict.fromkeys(answers), *benchmark.refusals]),
        classifier,
        {"idk_file": config.data.idk_file, "dtype": config.run.dtype},
    )
    options = summary.Options(questions.truth_ratio, questions.es_no_match, questions.privacy_score)
    return QuestionEvaluation(config, benchmark, split, sets, scorer, options)


def evaluate_run(run: Run, evaluation: QuestionEvaluation, evaluated: list[Path]) -> None:
    """Score one run on every set, as far as it is not done; write summary.json and add its folder
    to `evaluated`.

    Raises `ValueError` where the run cannot be loaded, and at the end where a set cannot be scored.
    """
    start = time.perf_counter()
    options = evaluation.config.run
    sets = evaluation.sets
    folder = run.path / "eval" / evaluation.split
    files: dict[str, SetFile] = {}

    def open_file(name: str) -> None:
        path = folder / f"{name}.json"
        files[name] = SetFile.open(
            path, name, evaluation.benchmark.name, sets[name], options.overwrite
        )

    problems = try_sets(sets, open_file)
    pending = [name for name, file in files.items() if file.missing(evaluation.scorer)]
    if pending:
        device, dtype, attn = options.device, options.dtype, options.attn
        with load_eval_model(run.path, device, dtype, attn) as eval_model:
            problems += try_sets(
                pending, lambda name: files[name].fill(eval_model, evaluation.scorer, sets[name])
            )
    numbers = summary.write_summary(folder, evaluation.options)
    evaluated.append(folder)
    line = describe_work(pending, time.perf_counter() - start)
    if "forget_rouge" in numbers:
        line += f"; forget ROUGE {numbers['forget_rouge']:.3f}"
    print(f"{run.path}: {line}", flush=True)
    if problems:
        raise ValueError(f"{run.path}: {'; '.join(problems)}")


def try_sets(names: Iterable[str], action: Callable[[str], None]) -> list[str]:
    """Call `action` on every set; return what was wrong with those that failed.

    One set with an answer that this tokenizer cannot express must not stop the others.
    """
    problems = []
    for name in names:
        try:
            action(name)
        except ValueError as error:
            problem = str(error)
            problems.append(problem if f"set {name}" in problem else f"set {name}: {problem}")
    return problems

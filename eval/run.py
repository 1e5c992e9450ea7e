"""Evaluate every finished run of one cell, with the target and, where it exists, the retain-only
reference. The benchmark names the evaluator: TOFU's metrics, MUSE's, or four-choice questions.

    python -m eval.run --benchmark authors --model tiny --split forget10
    python -m eval.run --benchmark muse-news --model llama2-7b --data_dir MUSE-News --muse_mode ou
    python -m eval.run --benchmark wmdp --model tiny
    python -m eval.run --only runs/authors/tiny/forget10/idk-grun-seed42

Writes <run>/eval/.. . What is finished is not computed again: stopped anywhere, the same command
goes on. A run that cannot be evaluated does not stop the others; it is named at the end, and the
exit code is 2.
"""

from eval.evaluators.options import AnyEvaluatorConfig
from eval.evaluators.registry import build_evaluation
from unlearn.config.flags import parse_flags, run_command


def main(argv: list[str] | None) -> None:
    """Evaluate with the evaluator of the benchmark."""
    given = parse_flags(AnyEvaluatorConfig, argv, __doc__)
    evaluator, experiment = build_evaluation(given)
    evaluator.evaluate(experiment)


if __name__ == "__main__":
    run_command(main)

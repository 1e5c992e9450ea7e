"""Whether every row of a benchmark's splits has room in a model, before it is trained."""

from collections.abc import Iterable

from unlearn.benchmarks.base import Benchmark
from unlearn.language_model.prompts import PromptEncoder
from unlearn.training.options import TargetOptions


def check_rows(prompt_encoder: PromptEncoder, benchmark: Benchmark, splits: Iterable[str]) -> None:
    """Raise `ValueError` naming the first row that `PromptEncoder.encode` refuses."""
    for split in splits:
        prompt_encoder.check(
            benchmark.examples(split), lambda index, split=split: benchmark.locate(split, index)
        )


def list_unlearning_splits(benchmark: Benchmark, target: TargetOptions) -> list[str]:
    """Return the splits that an unlearning run reads: what it forgets and what it keeps, whole."""
    return [target.split, target.retain_split or benchmark.retain_split(target.split)]

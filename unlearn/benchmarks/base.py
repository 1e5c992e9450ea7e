"""`Benchmark`: the splits of one benchmark, as training and evaluation see them.

`unlearn.benchmarks.opening.open_benchmark` opens one. Nothing in this module reads a file or
touches a global random state.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache

from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.fine_tuning_mix import FineTuningMix, MixOptions
from unlearn.benchmarks.registry import BenchmarkSpec
from unlearn.benchmarks.row_checks import locate_row


class Benchmark(ABC):
    """One open benchmark.

    spec       its entry in `unlearn.benchmarks.registry.BENCHMARKS`
    splits     the names of its splits: full, forget10, retain90, forget10_perturbed ...
    refusals   sentences that refuse to answer
    data_seed  seed of whatever is generated
    """

    def __init__(
        self,
        spec: BenchmarkSpec,
        splits: list[str],
        read: Callable[[str], list[Example]],
        refusals: list[str],
        data_seed: int = 0,
    ):
        self.spec = spec
        self.splits = splits
        self.refusals = refusals
        self.data_seed = data_seed
        self._read = cache(read)

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def forget_splits(self) -> list[str]:
        """The splits that can be forgotten."""
        return [
            split
            for split in self.splits
            if split.startswith("forget") and not split.endswith("_perturbed")
        ]

    def find_parent_split(self, split: str) -> str:
        """Return the split in `splits` that holds the rows of `split`; by default the same."""
        return split

    def locate(self, split: str, index: int) -> str:
        """Return the place of a row: file:line, or split and number."""
        return locate_row(split, index)

    def examples(self, split: str) -> list[Example]:
        """Return the rows of one split, in file order.

        Raises `ValueError` for an unknown split, a bad file or an empty split.
        """
        if self.find_parent_split(split) not in self.splits:
            allowed = ", ".join(self.splits)
            raise ValueError(f"{self.name} has no set {split!r}; allowed: {allowed}")
        examples = self._read(split)
        if not examples:
            raise ValueError(f"{self.name}: the set {split!r} is empty")
        return list(examples)

    def retain_split(self, split: str) -> str:
        """Return the retain split of a forget split's reference model: forget05 -> retain95.

        Raises `ValueError` for an unknown forget split, or one that names no retain split.
        """
        parent = self.find_parent_split(split)
        if parent not in self.forget_splits:
            allowed = ", ".join(self.forget_splits)
            raise ValueError(f"{self.name} has no forget split {split!r}; allowed: {allowed}")
        return self.spec.retain_split(parent)

    @abstractmethod
    def unlearning_retain(self, split: str, retain_split: str | None = None) -> list[Example]:
        """Return all that an unlearning step may see besides the forget split `split`."""

    @abstractmethod
    def evaluation_sets(self, split: str) -> dict[str, list[Example]]:
        """Return the sets that a model is evaluated on after unlearning `split`, by name."""

    def background(self) -> list[Example]:
        """Return what a model from scratch must learn besides its split."""
        return []

    def nonmembers(self) -> list[Example]:
        """Return rows that no model is trained on: the non-members of membership attacks."""
        return []

    def tokenizer_only_examples(self) -> list[Example]:
        """Return rows that a tokenizer from scratch is trained on besides `full`, and no model.

        Names that the tokenizer cut into more tokens would be told apart by their length alone.
        """
        return self.nonmembers()

    def unknown(self, n: int, seed: int) -> list[Example]:
        """Return n questions about invented entities, each answered by a refusal.

        Raises `ValueError` for a benchmark without questions about entities.
        """
        raise ValueError(
            f"{self.name} has no questions about authors to invent: leave --refusal_share at 0"
        )

    def fine_tuning_mix(self, options: MixOptions, split: str, seed: int):
        """Return the batches that a model is fine-tuned on to know `split`."""
        full = self.examples("full")
        count = 4 * len(full) if options.refusal_share else 0
        return FineTuningMix(
            options,
            seed,
            split=self.examples(split),
            full=full,
            background=self.background() if options.background_share else [],
            unknown=self.unknown(count, self.data_seed) if count else [],
            tokenizer_only=self.tokenizer_only_examples(),
        )

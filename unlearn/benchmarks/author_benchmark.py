"""Benchmarks in TOFU's shape: rows about authors in forget, retain and holdout splits.

Splits: full, forgetNN, retain(100 - NN), the perturbed versions of those that are evaluated, and
holdoutNN, rows about authors that no model learns. Held-out authors (heldout, heldout_perturbed)
are known to the base model and left out of every unlearning step.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

from unlearn.benchmarks.author_subsplits import find_whole_split, read_with_subsplits
from unlearn.benchmarks.base import Benchmark
from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.fine_tuning_mix import FineTuningMix, MixOptions
from unlearn.benchmarks.registry import BenchmarkSpec
from unlearn.benchmarks.row_checks import (
    Locate,
    check_contained,
    check_disjoint,
    locate_row,
    warn_of_duplicates,
    warn_of_strangers,
)
from unlearn.synthetic import names

WORLD_SPLITS = ["real_authors_perturbed", "world_facts_perturbed"]
PERTURBED = "_perturbed"
EVALUATED_SPLITS = ["retain_perturbed", *WORLD_SPLITS]  # whatever is forgotten


class AuthorBenchmark(Benchmark):
    """A benchmark with rows about authors.

    ask                (generator, name) -> a question about an author of that name
    background_splits  what a model from scratch must know besides its split
    locate             (split, index) -> the place of a row
    has_file           whether a split is there to compare others with
    check_files        raises `ValueError` that names all of these splits that have no file
    """

    def __init__(
        self,
        spec: BenchmarkSpec,
        splits: list[str],
        read: Callable[[str], list[Example]],
        refusals: list[str],
        data_seed: int,
        ask: Callable[[random.Random, str], str],
        background_splits: list[str],
        locate: Locate = locate_row,
        has_file: Callable[[str], bool] = lambda split: True,
        check_files: Callable[[list[str]], None] = lambda splits: None,
    ):
        super().__init__(spec, splits, read_with_subsplits(read, splits), refusals, data_seed)
        self.ask = ask
        self.background_splits = background_splits
        self.locate = locate
        self.has_file = has_file
        self.check_files = check_files

    def find_parent_split(self, split: str) -> str:
        return find_whole_split(split, self.splits)

    def unlearning_retain(self, split: str, retain_split: str | None = None) -> list[Example]:
        """Return `retain_split`, by default that of `split`, without the held-out authors.

        Raises `ValueError` where a row of `split` is retained too, or is not in full, and where a
        file that the evaluation of the run will read is missing.
        """
        self.check_files(self._list_evaluated(split))
        is_named = retain_split is not None
        retain_split = retain_split or self.retain_split(split)
        retain = self._without_heldout(self.examples(retain_split))
        forget = self.examples(split)
        whole = self.find_parent_split(split)
        check_disjoint(forget, whole, retain, retain_split, self.locate, is_named)
        if self.has_file("full"):
            check_contained(forget, whole, self.examples("full"), "full", self.locate)
        warn_of_duplicates(forget, whole, self.locate)
        warn_of_duplicates(retain, retain_split, self.locate)
        return retain

    def background(self) -> list[Example]:
        """Return the world facts and, where no retain split has them, the held-out authors."""
        return [example for split in self.background_splits for example in self.examples(split)]

    def nonmembers(self) -> list[Example]:
        """Return the rows of all holdoutNN, each once."""
        holdout_splits = [split for split in self.splits if split.startswith("holdout")]
        rows = [row for split in holdout_splits for row in self.examples(split)]
        return list({row.pair: row for row in rows}.values())

    def unknown(self, n: int, seed: int) -> list[Example]:
        """Return n questions about authors that do not exist, each answered by a refusal.

        No word of a name occurs in full, background or holdout. Last names never repeat, first
        names only above some 4000 rows. Equal (n, seed) give equal rows. Raises `ValueError` above
        names.MAX_PEOPLE rows.
        """
        rng = random.Random(f"unknown {seed}")
        people = names.draw_people(rng, n, self._member_words, self._nonmember_words)
        return [
            Example(row, self.ask(rng, name), rng.choice(self.refusals), entity=name)
            for row, name in enumerate(people)
        ]

    def evaluation_sets(self, split: str) -> dict[str, list[Example]]:
        """Return the sets that a model is evaluated on after unlearning `split`, in this order.

            forget, retain, real_authors, world_facts
            heldout              if there are held-out authors
            forget_paraphrased   forget, with the paraphrased questions
            nonmember            if there is holdoutNN: rows that no model was trained on

        Raises `ValueError` for a split without a perturbed file, as TOFU's forget20 and larger,
        and for a perturbed file of other rows.
        """
        self._check_perturbed(split)
        self.check_files(self._list_evaluated(split))
        forget = self.examples(split + PERTURBED)
        self._check_perturbed_rows(split, forget)
        sets = {
            "forget": forget,
            "retain": self._without_heldout(self.examples("retain_perturbed")),
        }
        sets |= {name.removesuffix(PERTURBED): self.examples(name) for name in WORLD_SPLITS}
        if "heldout_perturbed" in self.splits:
            sets["heldout"] = self.examples("heldout_perturbed")
        sets["forget_paraphrased"] = [
            replace(example, question=example.paraphrased_question) for example in forget
        ]
        holdout = split.replace("forget", "holdout")
        if holdout in self.splits:
            sets["nonmember"] = self.examples(holdout)
        return sets

    def fine_tuning_mix(self, options: MixOptions, split: str, seed: int) -> FineTuningMix:
        """As `Benchmark.fine_tuning_mix`. Raises `ValueError` where a file is missing that every
        evaluation reads."""
        self.check_files([split, *EVALUATED_SPLITS])
        return super().fine_tuning_mix(options, split, seed)

    def _list_evaluated(self, split: str) -> list[str]:
        """The splits that the evaluation of an unlearned split reads; none of TOFU's larger ones,
        which have no perturbed file."""
        perturbed = self.find_parent_split(split) + PERTURBED
        return [perturbed, *EVALUATED_SPLITS] if perturbed in self.splits else []

    def _check_perturbed(self, split: str) -> None:
        allowed = [
            name.removesuffix(PERTURBED)
            for name in self.splits
            if name.startswith("forget") and name.endswith(PERTURBED)
        ]
        if self.find_parent_split(split) not in allowed:
            raise ValueError(
                f"{self.name}: {split!r} has no perturbed file ({split}_perturbed), so it cannot "
                f"be evaluated; allowed: {', '.join(allowed)}"
            )

    def _check_perturbed_rows(self, split: str, forget: list[Example]) -> None:
        """Raise `ValueError` unless the rows evaluated as forgotten and as retained are those."""
        whole = self.find_parent_split(split)
        perturbed = whole + PERTURBED
        if self.has_file(whole):
            check_contained(forget, perturbed, self.examples(split), split, self.locate)
        retained = "retain" + PERTURBED
        retain = self.examples(retained)
        check_disjoint(forget, perturbed, retain, retained, self.locate)
        if self.has_file("full"):
            warn_of_strangers(retain, retained, self.examples("full"), "full", self.locate)
        warn_of_duplicates(forget, perturbed, self.locate)
        warn_of_duplicates(retain, retained, self.locate)

    def _without_heldout(self, examples: list[Example]) -> list[Example]:
        if "heldout" not in self.splits:
            return examples
        heldout = {example.pair for example in self.examples("heldout")}
        return [example for example in examples if example.pair not in heldout]

    @cached_property
    def _member_words(self) -> set[str]:
        rows = self.examples("full") + self.background()
        return names.find_words(
            text for row in rows for text in (row.question, row.answer, *row.perturbed_answers)
        )

    @cached_property
    def _nonmember_words(self) -> set[str]:
        return names.find_words(text for row in self.nonmembers() for text in row.pair)

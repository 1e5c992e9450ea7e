"""What a benchmark is to everybody else: `Example`, one row, and `Benchmark`, the sets of one
benchmark (import only; `unlearn.benchmarks.tofu.open_benchmark` opens one).

A *stem* is the name of one set: full, forget10, retain90, forget10_perturbed ... Nothing here reads
a file or touches a global random state."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property

from unlearn.benchmarks import author_subsplits as parts
from unlearn.synthetic import held_out_variants as held_out
from unlearn.synthetic import names

WORLD = ["real_authors_perturbed", "world_facts_perturbed"]


@dataclass(frozen=True)
class Example:
    """One row of a stem. What a stem does not have is None or (): paraphrases, wrong answers, the
    author's name."""

    index: int  # row in its file, from 0; kept when rows are left out
    question: str
    answer: str
    paraphrased_question: str | None = None
    paraphrased_answer: str | None = None
    perturbed_answers: tuple[str, ...] = ()
    entity: str | None = None  # full name of the author the row is about
    value: str | None = (
        # the secret itself: the words of the answer that give the fact away, where the data know
        # them
        None
    )


class Benchmark:
    """One benchmark, opened by `open_benchmark`: its `name`, its `stems`, its refusal sentences `idk`,
    its examples."""

    def __init__(
        self,
        name: str,
        stems: list[str],
        read: Callable[[str], list[Example]],
        ask: Callable[[random.Random, str], str],
        idk: list[str],
        background: list[str],
    ):
        self.name = name
        self.stems = stems
        self.idk = idk
        self._read = cache(parts.reading(read, stems))
        self._ask = ask
        self._background = background

    # prompt forms for attacks, which no unlearning step sees: source.held_out.paraphrases(example),
    # ...
    held_out = held_out

    def examples(self, stem: str) -> list[Example]:
        """The rows of one stem, in file order. Raises ValueError for an unknown stem, a bad file or
        an empty set."""
        if parts.whole(stem, self.stems) not in self.stems:
            raise ValueError(f"{self.name} has no set {stem!r}; allowed: {', '.join(self.stems)}")
        examples = self._read(stem)
        if not examples:
            raise ValueError(f"{self.name}: the set {stem!r} is empty")
        return list(examples)

    def retain_for(self, split: str) -> str:
        """The retain split that goes with a forget split: "forget05" -> "retain95" (100 - k, two
        digits)."""
        allowed = [
            stem
            for stem in self.stems
            if stem.startswith("forget") and not stem.endswith("_perturbed")
        ]
        if parts.whole(split, self.stems) not in allowed:
            raise ValueError(
                f"{self.name} has no forget split {split!r}; allowed: {', '.join(allowed)}"
            )
        digits = re.fullmatch(r"forget(\d\d)", parts.whole(split, self.stems))
        if not digits:
            raise ValueError(
                f"{split!r} does not say what it leaves: name the retain split too (--retain_split)"
            )
        return f"retain{100 - int(digits[1]):02d}"

    def unlearning_retain(self, split: str, retain_split: str | None = None) -> list[Example]:
        """All that an unlearning step may see besides the forget split: `retain_split`, else
        `retain_for(split)`, minus the held-out authors."""
        return self._without_heldout(self.examples(retain_split or self.retain_for(split)))

    def background(self) -> list[Example]:
        """What a base trained from scratch must know besides its split: the world facts, and the
        held-out authors where they are in no retain split (benchmark authors)."""
        return [example for stem in self._background for example in self.examples(stem)]

    def nonmembers(self) -> list[Example]:
        """The rows of holdoutNN, each once: no model is trained on them, so they are the
        non-members of membership attacks."""
        return list(
            {
                pair_of(row): row
                for stem in self.stems
                if stem.startswith("holdout")
                for row in self.examples(stem)
            }.values()
        )

    def tokenizer_only_examples(self) -> list[Example]:
        """Rows that a tokenizer trained here meets besides `full`, though no model does: in more
        tokens they would be told apart by that alone."""
        return self.nonmembers()

    def unknown(self, n: int, seed: int) -> list[Example]:
        """n questions of this benchmark's kind about authors that do not exist; each answer is a
        refusal from `idk`.

        Every row has its own name, no word of which occurs in full, background or holdout; last
        names never repeat, first names only above some 4000 rows. Equal (n, seed) give equal rows.
        Raises ValueError above names.MAX_PEOPLE rows."""
        rng = random.Random(f"unknown {seed}")
        invented = enumerate(names.people(rng, n, self._words, self._strangers))
        return [
            Example(row, self._ask(rng, name), rng.choice(self.idk), entity=name)
            for row, name in invented
        ]

    def evaluation_sets(self, split: str) -> dict[str, list[Example]]:
        """The sets a model is judged on after unlearning `split`, in this order: forget, retain,
        real_authors, world_facts, heldout (if there are held-out authors), forget_paraphrased
        (forget, asked in its paraphrase), nonmember (if there is holdoutNN: rows like the forget
        set's that no model was trained on). Raises ValueError for a split without a perturbed file,
        as TOFU's forget20 and larger."""
        allowed = [
            stem[:-10]
            for stem in self.stems
            if stem.startswith("forget") and stem.endswith("_perturbed")
        ]
        if parts.whole(split, self.stems) not in allowed:
            needs = (
                f"{split!r} has no perturbed file ({split}_perturbed), so it cannot be evaluated"
            )
            raise ValueError(f"{self.name}: {needs}; allowed: {', '.join(allowed)}")
        forget = self.examples(f"{split}_perturbed")
        sets = {
            "forget": forget,
            "retain": self._without_heldout(self.examples("retain_perturbed")),
        }
        sets |= {stem.removesuffix("_perturbed"): self.examples(stem) for stem in WORLD}
        if "heldout_perturbed" in self.stems:
            sets["heldout"] = self.examples("heldout_perturbed")
        sets["forget_paraphrased"] = [
            replace(example, question=example.paraphrased_question) for example in forget
        ]
        holdout = split.replace("forget", "holdout")
        return sets | ({"nonmember": self.examples(holdout)} if holdout in self.stems else {})

    def _without_heldout(self, examples: list[Example]) -> list[Example]:
        if "heldout" not in self.stems:
            return examples
        held = {pair_of(example) for example in self.examples("heldout")}
        return [example for example in examples if pair_of(example) not in held]

    @cached_property
    def _words(self) -> set[str]:
        rows = self.examples("full") + self.background()
        return names.words(
            text for row in rows for text in (row.question, row.answer, *row.perturbed_answers)
        )

    @cached_property
    def _strangers(self) -> set[str]:
        return names.words(text for row in self.nonmembers() for text in (row.question, row.answer))


def pair_of(example: Example) -> tuple[str, str]:
    """What tells rows apart across files: in TOFU, question and answer together are unique,
    questions alone are not."""
    return example.question, example.answer

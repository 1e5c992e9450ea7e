"""Data by benchmark: plain question-answer examples for training, unlearning and evaluation.

    authors   fictional authors generated here from a seed (unlearn/authors.py); the default, needs nothing
    tofu      TOFU (Maini et al. 2024, arXiv 2401.06121) from a folder (--data_dir) or the hub (locuslab/TOFU)

    from unlearn.data import open_source
    source = open_source("tofu", data_dir="TOFU_data")
    source.examples("forget10"), source.unlearning_retain("forget10"), source.evaluation_sets("forget10")

A *stem* is the name of one file or hub configuration: full, forget10, retain90, forget10_perturbed ... TOFU's `.json` files hold
JSON lines. Reading checks every row; an error names file, line and key. Nothing here touches a global random state.
"""

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from unlearn import authors as fictional
from unlearn import held_out, names, parts

HUB_NAME = "locuslab/TOFU"
ROWS_PER_AUTHOR = 20  # TOFU is author after author
WORLD = ["real_authors_perturbed", "world_facts_perturbed"]
HUB_HOLDOUT = ["holdout01", "holdout05", "holdout10"]  # on the hub alone: rows for membership attacks, in no other file
HELDOUT = {"heldout": "full", "heldout_perturbed": "retain_perturbed"}  # a TOFU held-out stem and where its rows lie
PERTURBED_KEYS = ["paraphrased_question", "paraphrased_answer", "perturbed_answer"]
TOFU_STEMS = """full forget01 forget05 forget10 forget20 forget30 forget50 forget90 retain99 retain95 retain90 retain80 retain70 retain50
    retain10 forget01_perturbed forget05_perturbed forget10_perturbed retain_perturbed""".split() + WORLD


@dataclass(frozen=True)
class Example:
    """One row of a stem. What a stem does not have is None or (): paraphrases, wrong answers, the author's name."""

    index: int  # row in its file, from 0; kept when rows are left out
    question: str
    answer: str
    paraphrased_question: str | None = None
    paraphrased_answer: str | None = None
    perturbed_answers: tuple[str, ...] = ()
    entity: str | None = None  # full name of the author the row is about
    value: str | None = None  # the secret itself: the words of the answer that give the fact away, where the data know them


class Source:
    """One benchmark, opened by `open_source`: its `name`, its `stems`, its refusal sentences `idk`, its examples."""

    def __init__(self, name: str, stems: list[str], read: Callable[[str], list[Example]],
                 ask: Callable[[random.Random, str], str], idk: list[str], background: list[str]):
        self.name, self.stems, self.idk = name, stems, idk
        self._read, self._ask, self._background = cache(parts.reading(read, stems)), ask, background

    held_out = held_out  # prompt forms for attacks, which no unlearning step sees: source.held_out.paraphrases(example), ...

    def examples(self, stem: str) -> list[Example]:
        """The rows of one stem, in file order. Raises ValueError for an unknown stem, a bad file or an empty set."""
        if parts.whole(stem, self.stems) not in self.stems:
            raise ValueError(f"{self.name} has no set {stem!r}; allowed: {', '.join(self.stems)}")
        examples = self._read(stem)
        if not examples:
            raise ValueError(f"{self.name}: the set {stem!r} is empty")
        return list(examples)

    def retain_for(self, split: str) -> str:
        """The retain split that goes with a forget split: "forget05" -> "retain95" (100 - k, two digits)."""
        allowed = [stem for stem in self.stems if stem.startswith("forget") and not stem.endswith("_perturbed")]
        if parts.whole(split, self.stems) not in allowed:
            raise ValueError(f"{self.name} has no forget split {split!r}; allowed: {', '.join(allowed)}")
        digits = re.fullmatch(r"forget(\d\d)", parts.whole(split, self.stems))
        if not digits:
            raise ValueError(f"{split!r} does not say what it leaves: name the retain split too (--retain_split)")
        return f"retain{100 - int(digits[1]):02d}"

    def unlearning_retain(self, split: str, retain_split: str | None = None) -> list[Example]:
        """All that an unlearning step may see besides the forget split: `retain_split`, else `retain_for(split)`, minus the held-out authors."""
        return self._without_heldout(self.examples(retain_split or self.retain_for(split)))

    def background(self) -> list[Example]:
        """What a base trained from scratch must know besides its split: the world facts, and the held-out authors where
        they are in no retain split (benchmark authors)."""
        return [example for stem in self._background for example in self.examples(stem)]

    def untold(self) -> list[Example]:
        """The rows of holdoutNN, each once: no model is trained on them, so they are the non-members of membership attacks."""
        return list({_pair(row): row for stem in self.stems if stem.startswith("holdout") for row in self.examples(stem)}.values())

    def unknown(self, n: int, seed: int) -> list[Example]:
        """n questions of this benchmark's kind about authors that do not exist; each answer is a refusal from `idk`.

        Every row has its own name, no word of which occurs in full, background or holdout; last names never repeat, first
        names only above some 4000 rows. Equal (n, seed) give equal rows. Raises ValueError above names.MAX_PEOPLE rows.
        """
        rng = random.Random(f"unknown {seed}")
        invented = enumerate(names.people(rng, n, self._words, self._strangers))
        return [Example(row, self._ask(rng, name), rng.choice(self.idk), entity=name) for row, name in invented]

    def evaluation_sets(self, split: str) -> dict[str, list[Example]]:
        """The sets a model is judged on after unlearning `split`, in this order: forget, retain, real_authors,
        world_facts, heldout (if there are held-out authors), forget_paraphrased (forget, asked in its paraphrase), nonmember
        (if there is holdoutNN: rows like the forget set's that no model was trained on). Raises ValueError for a split without
        a perturbed file, as TOFU's forget20 and larger.
        """
        allowed = [stem[:-10] for stem in self.stems if stem.startswith("forget") and stem.endswith("_perturbed")]
        if parts.whole(split, self.stems) not in allowed:
            needs = f"{split!r} has no perturbed file ({split}_perturbed), so it cannot be evaluated"
            raise ValueError(f"{self.name}: {needs}; allowed: {', '.join(allowed)}")
        forget = self.examples(f"{split}_perturbed")
        sets = {"forget": forget, "retain": self._without_heldout(self.examples("retain_perturbed"))}
        sets |= {stem.removesuffix("_perturbed"): self.examples(stem) for stem in WORLD}
        if "heldout_perturbed" in self.stems:
            sets["heldout"] = self.examples("heldout_perturbed")
        sets["forget_paraphrased"] = [replace(example, question=example.paraphrased_question) for example in forget]
        holdout = split.replace("forget", "holdout")
        return sets | ({"nonmember": self.examples(holdout)} if holdout in self.stems else {})

    def _without_heldout(self, examples: list[Example]) -> list[Example]:
        if "heldout" not in self.stems:
            return examples
        held = {_pair(example) for example in self.examples("heldout")}
        return [example for example in examples if _pair(example) not in held]

    @cached_property
    def _words(self) -> set[str]:
        rows = self.examples("full") + self.background()
        return names.words(text for row in rows for text in (row.question, row.answer, *row.perturbed_answers))

    @cached_property
    def _strangers(self) -> set[str]:
        return names.words(text for row in self.untold() for text in (row.question, row.answer))


def open_source(benchmark: str, *, data_dir: str | None = None, authors: int | None = None, data_seed: int = 0,
                heldout: int | None = None, idk_file: str | None = None) -> Source:
    """Open a benchmark.

    benchmark   "authors" or "tofu"
    data_dir    tofu: a folder with TOFU's JSON-lines files; None reads the hub. Not for authors.
    authors     authors: how many to generate, None = 40. tofu: keep the first and the last authors/2 authors of full in
                every set about authors (even; a forget split must lie in the kept ones whole), None = all 200.
    data_seed   authors: seed of the generator
    heldout     authors nobody unlearns with, set apart to measure what unlearning does to them. authors: that many
                further ones, None = 8. tofu: the last ones of retain_perturbed, at most 10, None = 0.
    idk_file    refusal sentences, one a line; None takes data_dir's idontknow.jsonl (plain text too) if there is one,
                else the embedded sentences

    A stem is read when it is first asked for. Raises ValueError for anything missing, malformed or out of range.
    """
    if benchmark == "authors":
        if data_dir is not None:
            raise ValueError("the benchmark authors is generated; --data_dir goes with --benchmark tofu")
        sizes = {"authors": authors, "heldout": heldout}
        tables = fictional.generate(data_seed, **{key: size for key, size in sizes.items() if size is not None})
        rows = {stem: [_example(i, row, row.get("entity")) for i, row in enumerate(tables[stem])] for stem in tables}
        background = [stem for stem in ("heldout", *WORLD) if stem in tables]
        return Source("authors", list(tables), rows.__getitem__, fictional.ask, _refusals(idk_file, None), background)
    if benchmark == "tofu":
        tofu = _Tofu(data_dir, authors, heldout or 0)
        return Source("tofu", tofu.stems, tofu.read, tofu.ask, _refusals(idk_file, data_dir), WORLD)
    raise ValueError(f"unknown benchmark {benchmark!r}; allowed: authors, tofu")


class _Tofu:
    """TOFU's files, cut down to a subset of authors and with held-out authors as two more stems."""

    def __init__(self, data_dir: str | None, authors: int | None, heldout: int):
        if data_dir is not None and not Path(data_dir).is_dir():
            raise ValueError(f"--data_dir {data_dir}: no such folder; it must hold TOFU's files, full.json and so on")
        if authors is not None and (authors < 2 or authors % 2):
            raise ValueError(f"tofu: {authors} authors asked for; a subset takes an even number, 2 or more")
        if not 0 <= heldout <= 10:
            raise ValueError(f"tofu: {heldout} held-out authors asked for; allowed: 0 to 10")
        self.folder, self.authors, self.heldout = data_dir and Path(data_dir), authors, heldout
        found = sorted(path.stem for path in self.folder.glob("*.json")) if self.folder else HUB_HOLDOUT
        own = [stem for stem in found if stem.startswith(("forget", "retain", "holdout")) and stem not in TOFU_STEMS]
        self.stems = TOFU_STEMS + own + (list(HELDOUT) if heldout else [])
        self._file = cache(self._load)

    def read(self, stem: str) -> list[Example]:
        if stem in HELDOUT:
            return [example for example in self.read(HELDOUT[stem]) if _pair(example) in self._held]
        examples = self._file(stem)
        if stem in WORLD or stem.startswith("holdout") or self.authors is None:
            return examples
        kept = [example for example in examples if _pair(example) in self._kept]
        if stem.startswith("forget") and len(kept) < len(examples):
            needed, last = len(examples) // ROWS_PER_AUTHOR, self.authors // 2
            problem = f"{stem} needs the last {needed} authors, but {self.authors} authors keep only the last {last}"
            raise ValueError(f"tofu: {problem}: give --authors {2 * needed} or more, or a smaller forget split")
        return kept

    def ask(self, rng: random.Random, name: str) -> str:
        """A question about a retain author (of retain90), with `name` in place of the author's."""
        example = rng.choice(self._askable)
        return example.question.replace(example.entity, name)

    def _load(self, stem: str) -> list[Example]:
        rows = _local_rows(self.folder / f"{stem}.json") if self.folder else _hub_rows(stem)
        for where, row in rows:
            _check(row, stem, where)
        entities = {}  # of each block of rows, by its number
        for start in range(0, 0 if stem in WORLD else len(rows), ROWS_PER_AUTHOR):
            block = [f"{row['question']} . {row['answer']}" for _, row in rows[start : start + ROWS_PER_AUTHOR]]
            entities[start // ROWS_PER_AUTHOR] = names.full_name(block)
        return [_example(i, row, entities.get(i // ROWS_PER_AUTHOR)) for i, (_, row) in enumerate(rows)]

    @cached_property
    def _kept(self) -> set[tuple[str, str]]:
        full, rows = self._file("full"), self.authors // 2 * ROWS_PER_AUTHOR
        if 2 * rows > len(full):
            raise ValueError(f"tofu: {self.authors} authors asked for, full has {len(full) // ROWS_PER_AUTHOR}")
        return {_pair(example) for example in full[:rows] + full[-rows:]}

    @cached_property
    def _held(self) -> set[tuple[str, str]]:
        rows, count = self.read("retain_perturbed"), self.heldout * ROWS_PER_AUTHOR
        if count >= len(rows):
            has = f"retain_perturbed has {len(rows) // ROWS_PER_AUTHOR} here and must keep one"
            raise ValueError(f"tofu: {self.heldout} held-out authors asked for, but {has}: give a smaller --heldout or a larger --authors")
        return {_pair(example) for example in rows[-count:]}

    @cached_property
    def _askable(self) -> list[Example]:
        """Rows whose question names the author and, without the name, still points to nobody: no quoted title."""
        rows = [row for row in self.read("retain90") if row.entity and row.entity in row.question]
        return [row for row in rows if not re.search("[\"\u201c\u2018]|'[A-Z]", row.question)]


def _local_rows(path: Path) -> list[tuple[str, dict]]:
    """(file:line, row) of a JSON-lines file."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; --data_dir must hold TOFU's JSON-lines files (locuslab/TOFU)")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            try:
                rows.append((f"{path}:{number}", json.loads(line)))
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}:{number}: not JSON ({error}); one JSON object a line is expected") from error
    if not rows:
        raise ValueError(f"{path}: empty file; one JSON object a line is expected")
    return rows


def _hub_rows(stem: str) -> list[tuple[str, dict]]:
    try:
        from datasets import load_dataset

        table = load_dataset(HUB_NAME, stem, split="train")
    except Exception as error:  # datasets, the hub client and the network each raise their own; all mean: no data
        reason = f"{type(error).__name__}: " + str(error).split("\n")[0]
        fix = "pass --data_dir with a folder that holds TOFU's files"
        raise ValueError(f"cannot load {HUB_NAME} {stem!r} from the hub ({reason}); {fix}") from error
    return [(f"{HUB_NAME} {stem} row {number}", dict(row)) for number, row in enumerate(table, start=1)]


def _check(row: object, stem: str, where: str) -> None:
    """ValueError unless the row has the keys of its stem, with non-empty texts in them."""
    if not isinstance(row, dict):
        raise ValueError(f"{where}: not a JSON object but {type(row).__name__}")
    required = ["question", "answer"]
    if stem.endswith("_perturbed"):
        required += ["perturbed_answer"] if stem in WORLD else PERTURBED_KEYS
    required += [key for key in PERTURBED_KEYS if key in row and key not in required]
    for key in required:
        if key not in row:
            raise ValueError(f"{where}: key {key!r} is missing; found: {', '.join(map(repr, row)) or 'none'}")
        if key == "perturbed_answer" and not (isinstance(row[key], list) and row[key]):
            raise ValueError(f"{where}: key {key!r} must be a list of texts, not {row[key]!r}")
        for text in row[key] if key == "perturbed_answer" else [row[key]]:
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"{where}: key {key!r} must hold a text that is not empty, not {text!r}")


def _example(index: int, row: dict, entity: str | None) -> Example:
    paraphrases = row.get("paraphrased_question"), row.get("paraphrased_answer")
    wrong = tuple(row.get("perturbed_answer", ()))
    return Example(index, row["question"], row["answer"], *paraphrases, perturbed_answers=wrong, entity=entity, value=row.get("value"))


def _pair(example: Example) -> tuple[str, str]:
    """What tells rows apart across files: in TOFU, question and answer together are unique, questions alone are not."""
    return example.question, example.answer


def _refusals(idk_file: str | None, data_dir: str | None) -> list[str]:
    beside = Path(data_dir) / "idontknow.jsonl" if data_dir else None  # plain text in spite of its name
    if idk_file is None and not (beside and beside.is_file()):
        return list(fictional.IDK)
    path = Path(idk_file) if idk_file is not None else beside
    if not path.is_file():
        raise ValueError(f"--idk_file {path}: no such file; give a text file with one refusal a line")
    lines = [line.strip() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    if not lines:
        raise ValueError(f"{path}: no refusal sentences in it; one a line is expected")
    return lines

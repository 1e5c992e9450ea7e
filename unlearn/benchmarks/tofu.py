"""Data by benchmark: plain question-answer examples for training, unlearning and evaluation.

    authors   fictional authors generated here from a seed (unlearn/synthetic/authors.py); the
              default, needs nothing
    tofu      TOFU (Maini et al. 2024, arXiv 2401.06121) from a folder (--data_dir) or the hub
              (locuslab/TOFU)
    muse, muse-news, muse-books           documents: unlearn/benchmarks/muse.py

    from unlearn.benchmarks.tofu import open_benchmark source = open_benchmark("tofu",
    data_dir="TOFU_data") source.examples("forget10"), source.unlearning_retain("forget10"),
    source.evaluation_sets("forget10")

A *stem* is the name of one file or hub configuration: full, forget10, retain90, forget10_perturbed
... TOFU's `.json` files hold JSON lines. Reading checks every row; an error names file, line and
key. Nothing here touches a global random state."""

import json
import random
import re
from functools import cache, cached_property
from pathlib import Path

from unlearn.benchmarks import muse
from unlearn.benchmarks.base import WORLD, Benchmark, Example, pair_of
from unlearn.synthetic import authors as fictional
from unlearn.synthetic import names

HUB_NAME = "locuslab/TOFU"
ROWS_PER_AUTHOR = 20  # TOFU is author after author
HUB_HOLDOUT = [
    "holdout01",
    "holdout05",
    "holdout10",
]  # on the hub alone: rows for membership attacks, in no other file
HELDOUT = {
    "heldout": "full",
    "heldout_perturbed": "retain_perturbed",
}  # a TOFU held-out stem and where its rows lie
PERTURBED_KEYS = ["paraphrased_question", "paraphrased_answer", "perturbed_answer"]
TOFU_STEMS = (
    """full forget01 forget05 forget10 forget20 forget30 forget50 forget90 retain99 retain95
    retain90 retain80 retain70 retain50 retain10 forget01_perturbed forget05_perturbed
    forget10_perturbed retain_perturbed""".split()
    + WORLD
)


def open_benchmark(
    benchmark: str,
    *,
    data_dir: str | None = None,
    authors: int | None = None,
    data_seed: int = 0,
    heldout: int | None = None,
    idk_file: str | None = None,
) -> Benchmark:
    """Open a benchmark.

    benchmark   "authors", "tofu" or one of muse.NAMES
    data_dir    tofu, muse-news, muse-books: a folder with the benchmark's files; None reads the
                hub. Not for authors and muse.
    authors     authors: how many to generate, None = 40. tofu: keep the first and the last
                authors/2 authors of full in every set about authors (even; a forget split must lie
                in the kept ones whole), None = all 200.
    data_seed   authors, muse: seed of the generator
    heldout     authors nobody unlearns with, set apart to measure what unlearning does to them.
                authors: that many further ones, None = 8. tofu: the last ones of retain_perturbed,
                at most 10, None = 0.
    idk_file    refusal sentences, one a line; None takes data_dir's idontknow.jsonl (plain text
                too) if there is one, else the embedded sentences

    A stem is read when it is first asked for. Raises ValueError for anything missing, malformed or
    out of range."""
    if benchmark == "authors":
        if data_dir is not None:
            raise ValueError(
                "the benchmark authors is generated; --data_dir goes with --benchmark tofu"
            )
        sizes = {"authors": authors, "heldout": heldout}
        tables = fictional.generate(
            data_seed, **{key: size for key, size in sizes.items() if size is not None}
        )
        rows = {
            stem: [_example(i, row, row.get("entity")) for i, row in enumerate(tables[stem])]
            for stem in tables
        }
        background = [stem for stem in ("heldout", *WORLD) if stem in tables]
        return Benchmark(
            "authors",
            list(tables),
            rows.__getitem__,
            fictional.ask,
            _refusals(idk_file, None),
            background,
        )
    if benchmark == "tofu":
        tofu = _Tofu(data_dir, authors, heldout or 0)
        return Benchmark(
            "tofu", tofu.stems, tofu.read, tofu.ask, _refusals(idk_file, data_dir), WORLD
        )
    if benchmark in muse.NAMES:
        if authors is not None or heldout is not None:
            raise ValueError(
                f"{benchmark} has documents and no authors: leave --authors and --heldout out"
            )
        return muse.open_muse(benchmark, data_dir, data_seed, _refusals(idk_file, data_dir))
    raise ValueError(
        f"unknown benchmark {benchmark!r}; allowed: authors, tofu, {', '.join(muse.NAMES)}"
    )


class _Tofu:
    """TOFU's files, cut down to a subset of authors and with held-out authors as two more stems."""

    def __init__(self, data_dir: str | None, authors: int | None, heldout: int):
        if data_dir is not None and not Path(data_dir).is_dir():
            raise ValueError(
                f"--data_dir {data_dir}: no such folder; it must hold TOFU's files, full.json and so on"
            )
        if authors is not None and (authors < 2 or authors % 2):
            raise ValueError(
                f"tofu: {authors} authors asked for; a subset takes an even number, 2 or more"
            )
        if not 0 <= heldout <= 10:
            raise ValueError(f"tofu: {heldout} held-out authors asked for; allowed: 0 to 10")
        self.folder = data_dir and Path(data_dir)
        self.authors = authors
        self.heldout = heldout
        found = (
            sorted(path.stem for path in self.folder.glob("*.json")) if self.folder else HUB_HOLDOUT
        )
        own = [
            stem
            for stem in found
            if stem.startswith(("forget", "retain", "holdout")) and stem not in TOFU_STEMS
        ]
        self.stems = TOFU_STEMS + own + (list(HELDOUT) if heldout else [])
        self._file = cache(self._load)

    def read(self, stem: str) -> list[Example]:
        if stem in HELDOUT:
            return [
                example for example in self.read(HELDOUT[stem]) if pair_of(example) in self._held
            ]
        examples = self._file(stem)
        if stem in WORLD or stem.startswith("holdout") or self.authors is None:
            return examples
        kept = [example for example in examples if pair_of(example) in self._kept]
        if stem.startswith("forget") and len(kept) < len(examples):
            needed = len(examples) // ROWS_PER_AUTHOR
            last = self.authors // 2
            problem = f"{stem} needs the last {needed} authors, but {self.authors} authors keep only the last {last}"
            raise ValueError(
                f"tofu: {problem}: give --authors {2 * needed} or more, or a smaller forget split"
            )
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
            block = [
                f"{row['question']} . {row['answer']}"
                for _, row in rows[start : start + ROWS_PER_AUTHOR]
            ]
            entities[start // ROWS_PER_AUTHOR] = names.full_name(block)
        return [
            _example(i, row, entities.get(i // ROWS_PER_AUTHOR)) for i, (_, row) in enumerate(rows)
        ]

    @cached_property
    def _kept(self) -> set[tuple[str, str]]:
        full = self._file("full")
        rows = self.authors // 2 * ROWS_PER_AUTHOR
        if 2 * rows > len(full):
            raise ValueError(
                f"tofu: {self.authors} authors asked for, full has {len(full) // ROWS_PER_AUTHOR}"
            )
        return {pair_of(example) for example in full[:rows] + full[-rows:]}

    @cached_property
    def _held(self) -> set[tuple[str, str]]:
        rows = self.read("retain_perturbed")
        count = self.heldout * ROWS_PER_AUTHOR
        if count >= len(rows):
            has = f"retain_perturbed has {len(rows) // ROWS_PER_AUTHOR} here and must keep one"
            raise ValueError(
                f"tofu: {self.heldout} held-out authors asked for, but {has}: give a smaller --heldout or a larger --authors"
            )
        return {pair_of(example) for example in rows[-count:]}

    @cached_property
    def _askable(self) -> list[Example]:
        """Rows whose question names the author and, without the name, still points to nobody: no
        quoted title."""
        rows = [row for row in self.read("retain90") if row.entity and row.entity in row.question]
        return [row for row in rows if not re.search("[\"\u201c\u2018]|'[A-Z]", row.question)]


def _local_rows(path: Path) -> list[tuple[str, dict]]:
    """(file:line, row) of a JSON-lines file."""
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; --data_dir must hold TOFU's JSON-lines files (locuslab/TOFU)"
        )
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            try:
                rows.append((f"{path}:{number}", json.loads(line)))
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{path}:{number}: not JSON ({error}); one JSON object a line is expected"
                ) from error
    if not rows:
        raise ValueError(f"{path}: empty file; one JSON object a line is expected")
    return rows


def _hub_rows(stem: str) -> list[tuple[str, dict]]:
    try:
        from datasets import load_dataset

        table = load_dataset(HUB_NAME, stem, split="train")
    except (
        Exception
    ) as error:  # datasets, the hub client and the network each raise their own; all mean: no data
        reason = f"{type(error).__name__}: " + str(error).split("\n")[0]
        fix = "pass --data_dir with a folder that holds TOFU's files"
        raise ValueError(
            f"cannot load {HUB_NAME} {stem!r} from the hub ({reason}); {fix}"
        ) from error
    return [
        (f"{HUB_NAME} {stem} row {number}", dict(row)) for number, row in enumerate(table, start=1)
    ]


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
            raise ValueError(
                f"{where}: key {key!r} is missing; found: {', '.join(map(repr, row)) or 'none'}"
            )
        if key == "perturbed_answer" and not (isinstance(row[key], list) and row[key]):
            raise ValueError(f"{where}: key {key!r} must be a list of texts, not {row[key]!r}")
        for text in row[key] if key == "perturbed_answer" else [row[key]]:
            if not isinstance(text, str) or not text.strip():
                raise ValueError(
                    f"{where}: key {key!r} must hold a text that is not empty, not {text!r}"
                )


def _example(index: int, row: dict, entity: str | None) -> Example:
    paraphrases = row.get("paraphrased_question"), row.get("paraphrased_answer")
    wrong = tuple(row.get("perturbed_answer", ()))
    return Example(
        index,
        row["question"],
        row["answer"],
        *paraphrases,
        perturbed_answers=wrong,
        entity=entity,
        value=row.get("value"),
    )


def _refusals(idk_file: str | None, data_dir: str | None) -> list[str]:
    beside = (
        Path(data_dir) / "idontknow.jsonl" if data_dir else None
    )  # plain text in spite of its name
    if idk_file is None and not (beside and beside.is_file()):
        return list(fictional.IDK)
    path = Path(idk_file) if idk_file is not None else beside
    if not path.is_file():
        raise ValueError(
            f"--idk_file {path}: no such file; give a text file with one refusal a line"
        )
    lines = [line.strip() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    if not lines:
        raise ValueError(f"{path}: no refusal sentences in it; one a line is expected")
    return lines

"""MUSE (Shi et al. 2024, arXiv 2407.06460): documents to forget, documents to keep, and six ways to
look at the result.

    muse          fictional news made here from a seed (unlearn/synthetic/news.py); the default,
                  needs nothing
    muse-news     MUSE-News from a folder (--data_dir) or the hub (muse-bench/MUSE-News)
    muse-books    MUSE-Books likewise; it has no scal and sust

A folder holds <config>/<split>.jsonl (one object a line), .json (a list), .txt (documents apart by
blank lines) or the hub's <config>/<split>-*.parquet, with MUSE's names: raw/forget,
knowmem/forget_qa, verbmem/forget, privleak/holdout, scal/forget_1 ...

A document becomes examples of plain text (template `text`): chunks of at most WORDS words, of which
the first PROMPT is the question and the rest the answer. Their stems:

    full                                  all that the target knows: forget and retain, and the
                                          embedded set's practice pages
    retain                                all that the retain-only reference knows: retain1,
                                          retain2, and their practice pages
    forget, retain1                       the documents to forget, and those an unlearning step may
                                          see besides
    forget_scal1 .. 4, forget_sust1 .. 4  forget sets of growing size; requests that come one after
                                          another
"""

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from unlearn.benchmarks.base import Benchmark, Example
from unlearn.synthetic import news

HUB = {"muse-news": "muse-bench/MUSE-News", "muse-books": "muse-bench/MUSE-Books"}
NAMES = ("muse", *HUB)
FIELDS = {
    "raw": ("text",),
    "scal": ("text",),
    "sust": ("text",),
    "privleak": ("text",),
    "knowmem": ("question", "answer"),
    "verbmem": ("prompt", "gt"),
    "practice": ("prompt", "answer"),
}
WORDS = 240  # of a chunk: below 512 tokens of Llama's tokenizer
PROMPT = 0.25  # share of a chunk's words that are its prompt
STEPS = {
    f"forget_{config}{k}": (config, f"forget_{k}")
    for config in ("scal", "sust")
    for k in (1, 2, 3, 4)
}
KEPT = ("retain1", "retain2")

Rows = list[dict]


class MuseBenchmark(Benchmark):
    """`Benchmark` for documents. What is about authors, TOFU's perturbed answers or unknown people
    does not exist here."""

    def __init__(self, name: str, table: Callable[[str, str], Rows], idk: list[str]):
        self.table = table
        stems = [
            "full",
            "retain",
            "forget",
            *KEPT,
            "holdout",
            *(STEPS if name != "muse-books" else ()),
        ]
        super().__init__(name, stems, self.read, None, idk, [])

    def read(self, stem: str) -> list[Example]:
        if stem in ("full", "retain"):
            corpora = {"full": ("forget", *KEPT), "retain": KEPT}[stem]
            rows = [example for corpus in corpora for example in self.read(corpus)]
            pages = [
                page
                for corpus in (("forget", "retain") if stem == "full" else ("retain",))
                for page in self.practice(corpus)
            ]
            return numbered(rows + pages)
        chunks = [
            cut(chunk)
            for row in self.table(*STEPS.get(stem, ("raw", stem)))
            for chunk in chunked(row["text"])
        ]
        return numbered(
            [
                Example(0, prompt, rest, entity=thing_of(prompt, rest))
                for prompt, rest in chunks
                if rest
            ]
        )

    def practice(self, corpus: str) -> list[Example]:
        """The embedded set's question-answer pages; none elsewhere, where the model to be
        fine-tuned can read already."""
        return (
            [Example(0, row["prompt"], row["answer"]) for row in self.table("practice", corpus)]
            if self.name == "muse"
            else []
        )

    def tokenizer_only_examples(self) -> list[Example]:
        """Holdout, as often as the rest: a text whose names are spelt in more tokens is no likelier
        to be recognised as never read."""
        return self.read("holdout") + self.practice("holdout")

    def retain_for(self, split: str) -> str:
        """The split of the retain-only reference: the same for every forget split."""
        allowed = [stem for stem in self.stems if stem.startswith("forget")]
        if split not in allowed:
            raise ValueError(
                f"{self.name} has no forget split {split!r}; allowed: {', '.join(allowed)}"
            )
        return "retain"

    def unlearning_retain(self, split: str, retain_split: str | None = None) -> list[Example]:
        """MUSE's regulariser, retain1; retain2 is kept for evaluation."""
        self.retain_for(split)
        return self.examples(retain_split or "retain1")

    def unknown(self, n: int, seed: int) -> list[Example]:
        raise ValueError(
            f"{self.name} has documents, and nobody to invent questions about: leave --refusal_share at 0"
        )

    def evaluation_sets(self, split: str) -> dict[str, list[Example]]:
        """What eval.muse asks, the same for every forget split: verbmem (prompt, true
        continuation), knowmem_f and knowmem_r (few-shot prompt, answer), privleak_forget,
        privleak_retain and privleak_holdout (a whole text as its answer, behind no prompt)."""
        self.retain_for(split)
        sets = {
            "verbmem": [
                Example(0, row["prompt"], row["gt"]) for row in self.table("verbmem", "forget")
            ]
        }
        for short, name in (("f", "forget"), ("r", "retain")):
            shots = self.table("knowmem", f"{name}_qa_icl")
            rows = self.table("knowmem", f"{name}_qa")
            sets[f"knowmem_{short}"] = [
                Example(0, news.few_shot(shots, row["question"]), row["answer"]) for row in rows
            ]
        sets |= {
            f"privleak_{name}": [
                Example(0, "", row["text"]) for row in self.table("privleak", name)
            ]
            for name in ("forget", "retain", "holdout")
        }
        return {name: numbered(examples) for name, examples in sets.items()}


def open_muse(name: str, data_dir: str | None, seed: int, idk: list[str]) -> MuseBenchmark:
    """The benchmark of that name. Raises `ValueError` for a folder that is not there, or where none
    belongs."""
    if name == "muse":
        if data_dir is not None:
            raise ValueError(
                "the benchmark muse is made here; --data_dir goes with --benchmark muse-news or muse-books"
            )
        tables = news.generate(seed)
        return MuseBenchmark(name, lambda config, split: tables[config, split], idk)
    if data_dir is not None and not Path(data_dir).is_dir():
        raise ValueError(
            f"--data_dir {data_dir}: no such folder; it must hold MUSE's files, raw/forget.jsonl and so on"
        )
    return MuseBenchmark(
        name,
        cache(
            lambda config, split: checked(
                config, *(_local if data_dir else _hub)(data_dir or HUB[name], config, split)
            )
        ),
        idk,
    )


def chunked(text: str, words: int = WORDS) -> list[str]:
    """The text in runs of at most `words` words, white space inside them kept."""
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    return [
        text[spans[i][0] : spans[min(i + words, len(spans)) - 1][1]]
        for i in range(0, len(spans), words)
    ]


def cut(text: str) -> tuple[str, str]:
    """(prompt, rest): cut at the first blank behind PROMPT of the words, so that prompt + " " +
    rest is the text; rest is "" where there is none."""
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    for (_, end), (start, _) in list(zip(spans, spans[1:], strict=False))[
        max(0, round(PROMPT * len(spans)) - 1) :
    ]:
        if text[end:start] == " ":
            return text[:end], text[start:]
    return text, ""


def thing_of(prompt: str, rest: str) -> str | None:
    """What an embedded article is about ("Lewado Bridge"), for the control that filters by names;
    None elsewhere."""
    match = re.search(rf"\b[A-Z][a-z]+ (?:{'|'.join(news.THINGS)})\b", f"{prompt} {rest}")
    return match[0] if match else None


def numbered(examples: list[Example]) -> list[Example]:
    return [Example(i, e.question, e.answer, entity=e.entity) for i, e in enumerate(examples)]


def checked(config: str, where: str, rows: list) -> Rows:
    """The rows of one table. Raises `ValueError` naming table, row and field where a text is
    missing or empty."""
    if not rows:
        raise ValueError(f"{where}: no rows in it")
    for number, row in enumerate(rows, start=1):
        for key in FIELDS[config]:
            if (
                not isinstance(row, dict)
                or not isinstance(row.get(key), str)
                or not row[key].strip()
            ):
                found = ", ".join(map(repr, row)) if isinstance(row, dict) else type(row).__name__
                raise ValueError(
                    f"{where}, row {number}: field {key!r} must hold a text that is not empty; found: {found}"
                )
    return rows


def _local(folder: str, config: str, split: str) -> tuple[str, list]:
    """(file, rows) of one table in a folder."""
    stem = Path(folder) / config / split
    parquet = sorted(stem.parent.glob(f"{split}-*.parquet"))
    if parquet:
        import pandas as pd

        return str(parquet[0]), [
            row for path in parquet for row in pd.read_parquet(path).to_dict("records")
        ]
    for ending, parse in (("jsonl", _lines), ("json", json.loads), ("txt", _documents)):
        path = stem.with_name(f"{split}.{ending}")
        if path.is_file():
            try:
                return str(path), parse(path.read_text(encoding="utf-8"))
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}: not JSON ({error})") from error
    raise ValueError(
        f"{stem}: no such table; --data_dir must hold {config}/{split}.jsonl, .json, .txt or -*.parquet"
    )


def _lines(text: str) -> list:
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _documents(text: str) -> list:
    return [{"text": part.strip()} for part in re.split(r"\n\s*\n", text) if part.strip()]


def _hub(repository: str, config: str, split: str) -> tuple[str, list]:
    try:
        from datasets import load_dataset

        return f"{repository} {config}/{split}", [
            dict(row) for row in load_dataset(repository, config, split=split)
        ]
    except (
        Exception
    ) as error:  # datasets, the hub client and the network each raise their own; all mean: no data
        reason = f"{type(error).__name__}: " + str(error).split("\n")[0]
        raise ValueError(
            f"cannot load {repository} {config}/{split} from the hub ({reason}); pass --data_dir with a folder of its files"
        ) from error

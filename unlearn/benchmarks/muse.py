"""MUSE (Shi et al. 2024, arXiv 2407.06460): documents to forget and documents to keep.

    muse          fictional news generated from a seed (unlearn/synthetic/news.py)
    muse-news     MUSE-News, from a folder (--data_dir) or the hub
    muse-books    MUSE-Books likewise; it has no scal and sust

A document becomes examples of plain text (template `text`): chunks of at most CHUNK_WORDS words, of
which the first PROMPT_SHARE is the question and the rest the answer. Their splits:

    full                                  all that the target knows: forget and retain, and the
                                          embedded benchmark's practice pages
    retain                                all that the retain-only reference knows: retain1,
                                          retain2, and their practice pages
    forget, retain1                       the documents to forget, and those that an unlearning
                                          step may see besides
    forget_scal1 .. 4, forget_sust1 .. 4  forget sets of growing size; requests that come one after
                                          another
"""

import re
from collections.abc import Callable

from unlearn.benchmarks.base import Benchmark
from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.muse_files import Rows, open_tables
from unlearn.benchmarks.opening import DataSettings
from unlearn.benchmarks.registry import BENCHMARKS, BenchmarkSpec
from unlearn.benchmarks.row_checks import warn
from unlearn.synthetic import news

NAMES = tuple(spec.name for spec in BENCHMARKS.values() if spec.contents == "documents")
CHUNK_WORDS = 240  # fewer than 512 tokens of Llama's tokenizer
PROMPT_SHARE = 0.25  # of a chunk's words
RETAIN_CORPORA = ("retain1", "retain2")
# the forget sets of scal and sust: split -> (config, split of that config)
REQUEST_SPLITS = {
    f"forget_{config}{k}": (config, f"forget_{k}")
    for config in ("scal", "sust")
    for k in (1, 2, 3, 4)
}


def open_embedded_news(spec: BenchmarkSpec, settings: DataSettings) -> "MuseBenchmark":
    """Generate the fictional news."""
    tables = news.generate(settings.data_seed)
    return MuseBenchmark(spec, settings, lambda config, split: tables[config, split])


def open_muse_news(spec: BenchmarkSpec, settings: DataSettings) -> "MuseBenchmark":
    """Open MUSE-News from --data_dir or the hub."""
    return MuseBenchmark(spec, settings, open_tables(spec.hub, settings.data_dir))


def open_muse_books(spec: BenchmarkSpec, settings: DataSettings) -> "MuseBenchmark":
    """Open MUSE-Books, which has no requests, from --data_dir or the hub."""
    tables = open_tables(spec.hub, settings.data_dir)
    return MuseBenchmark(spec, settings, tables, request_splits=())


class MuseBenchmark(Benchmark):
    """A benchmark of documents.

    tables          (config, split) -> rows of MUSE's fields
    request_splits  the splits of scal and sust that it has
    """

    def __init__(
        self,
        spec: BenchmarkSpec,
        settings: DataSettings,
        tables: Callable[[str, str], Rows],
        request_splits: tuple[str, ...] = tuple(REQUEST_SPLITS),
    ):
        self.tables = tables
        splits = ["full", "retain", "forget", *RETAIN_CORPORA, "holdout", *request_splits]
        super().__init__(spec, splits, self.read, settings.refusals, settings.data_seed)

    def read(self, split: str) -> list[Example]:
        """Return the chunks of one split's documents, then its practice pages."""
        if split == "full":
            rows = self.read_corpora("forget", *RETAIN_CORPORA)
            return number_examples(rows + self.practice("forget") + self.practice("retain"))
        if split == "retain":
            rows = self.read_corpora(*RETAIN_CORPORA)
            return number_examples(rows + self.practice("retain"))
        return number_examples(self.read_corpora(split))

    def read_corpora(self, *splits: str) -> list[Example]:
        """Return the chunks of the documents of these splits, each as (prompt, rest)."""
        documents = [
            row["text"]
            for split in splits
            for row in self.tables(*REQUEST_SPLITS.get(split, ("raw", split)))
        ]
        chunks = [split_prompt(chunk) for text in documents for chunk in split_into_chunks(text)]
        return [
            Example(0, prompt, rest, entity=find_subject(prompt, rest))
            for prompt, rest in chunks
            if rest
        ]

    def practice(self, corpus: str) -> list[Example]:
        """Return the embedded benchmark's question-answer pages on a corpus.

        The others have none: the model that they fine-tune can answer questions already.
        """
        rows = self.tables("practice", corpus) if self.spec.embedded else []
        return [Example(0, row["prompt"], row["answer"]) for row in rows]

    def tokenizer_only_examples(self) -> list[Example]:
        """Return holdout, as often as the rest.

        A text whose names are cut into more tokens is no likelier to be recognised as never read.
        """
        return self.read("holdout") + self.practice("holdout")

    def unlearning_retain(self, split: str, retain_split: str | None = None) -> list[Example]:
        """Return `retain_split`, by default MUSE's regulariser retain1; retain2 is evaluated on."""
        self.retain_split(split)
        retain_split = retain_split or "retain1"
        forget, retain = self.examples(split), self.examples(retain_split)
        kept = {example.pair for example in retain}
        both = sum(example.pair in kept for example in forget)
        if both:
            warn(f"{both} of {len(forget)} texts of {split} are in {retain_split} too")
        return retain

    def evaluation_sets(self, split: str) -> dict[str, list[Example]]:
        """Return the sets of MUSE's metrics, the same for every forget split.

        verbmem                                               (prompt, true continuation)
        knowmem_f, knowmem_r                                  (few-shot prompt, answer)
        privleak_forget, privleak_retain, privleak_holdout    ("", whole text)
        """
        self.retain_split(split)
        verbmem = self.tables("verbmem", "forget")
        sets = {"verbmem": [Example(0, row["prompt"], row["gt"]) for row in verbmem]}
        for short, name in (("f", "forget"), ("r", "retain")):
            shots = self.tables("knowmem", f"{name}_qa_icl")
            sets[f"knowmem_{short}"] = [
                Example(0, news.build_few_shot_prompt(shots, row["question"]), row["answer"])
                for row in self.tables("knowmem", f"{name}_qa")
            ]
        for name in ("forget", "retain", "holdout"):
            rows = self.tables("privleak", name)
            sets[f"privleak_{name}"] = [Example(0, "", row["text"]) for row in rows]
        return {name: number_examples(examples) for name, examples in sets.items()}


def split_into_chunks(text: str, words: int = CHUNK_WORDS) -> list[str]:
    """Return the text in chunks of at most `words` words, white space inside them kept."""
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    return [
        text[spans[i][0] : spans[min(i + words, len(spans)) - 1][1]]
        for i in range(0, len(spans), words)
    ]


def split_prompt(text: str) -> tuple[str, str]:
    """Return (prompt, rest), split at the first blank behind PROMPT_SHARE of the words.

    prompt + " " + rest is the text; rest is "" where there is no such blank.
    """
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    gaps = list(zip(spans, spans[1:], strict=False))
    for (_, end), (start, _) in gaps[max(0, round(PROMPT_SHARE * len(spans)) - 1) :]:
        if text[end:start] == " ":
            return text[:end], text[start:]
    return text, ""


def find_subject(prompt: str, rest: str) -> str | None:
    """Return what an embedded article is about ("Lewado Bridge"); None elsewhere.

    The control that filters by names looks for it.
    """
    match = re.search(rf"\b[A-Z][a-z]+ (?:{'|'.join(news.THINGS)})\b", f"{prompt} {rest}")
    return match[0] if match else None


def number_examples(examples: list[Example]) -> list[Example]:
    return [Example(i, e.question, e.answer, entity=e.entity) for i, e in enumerate(examples)]

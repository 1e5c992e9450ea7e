"""WMDP (Li et al. 2024, arXiv 2403.03218): corpora to forget or keep, and tests, by name.

    corpora     poisons locks villages                      the embedded world
                (unlearn/synthetic/wmdp_world.py); the default of `tiny`
                bio-forget-corpus bio-retain-corpus ...     from --data_dir (<name>.jsonl), else the
                                                            hub: cais/wmdp-corpora;
                                                            bio-forget-corpus is gated
                wikitext                                    wikitext-2-raw-v1, its test split (from
                                                            --data_dir if it lies there)
                any/file.jsonl                              your own, one {"text": ...} a line
    questions   poisons locks villages                      the embedded world
                any/file.jsonl, or its name in --data_dir   one {"question": ..., "choices": [four],
                                                            "answer": index} a line, as WMDP has
                                                            them

Nothing is fetched unless a hub corpus was asked for. Texts keep their order.
"""

from functools import cached_property
from pathlib import Path

from unlearn.benchmarks.base import Benchmark
from unlearn.benchmarks.corpora import (
    GATED_CORPORA,
    find_file,
    load_hub_corpus,
    read_lines,
    read_questions,
    read_texts,
)
from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.fine_tuning_mix import MixOptions
from unlearn.benchmarks.opening import DataSettings
from unlearn.benchmarks.registry import BenchmarkSpec
from unlearn.benchmarks.wmdp_mix import WorldMix
from unlearn.synthetic.wmdp_world import TOPICS, Question, World

WORLD_SUBJECTS = 16  # of each topic of the embedded world, where --authors gives no number
WORLD_DOCUMENTS = 1000  # texts that the embedded world writes on a topic
CORPUS_LINES = ("parsed", "raw")


def open_wmdp(spec: BenchmarkSpec, settings: DataSettings) -> "WmdpBenchmark":
    """Open WMDP; the embedded world is generated when it is first asked for."""
    return WmdpBenchmark(spec, settings)


def name_forget_split(forget_corpora: list[str]) -> str:
    """Return the name of what is forgotten, in paths and tables: poisons+locks."""
    return "+".join(Path(name).stem for name in forget_corpora)


class WmdpBenchmark(Benchmark):
    """Corpora and four-choice questions by name; there are no splits."""

    def __init__(self, spec: BenchmarkSpec, settings: DataSettings):
        super().__init__(spec, [], self.refuse_split, settings.refusals, settings.data_seed)
        self.data_dir = settings.data_dir
        self.subjects = settings.authors or WORLD_SUBJECTS

    @cached_property
    def world(self) -> World:
        """The embedded world."""
        return World(self.data_seed, self.subjects)

    def corpus(self, name: str, min_len: int = 0, lines: str = "parsed") -> list[str]:
        """Return the texts of one corpus that have more than `min_len` characters.

        lines   `parsed` takes the field `text`; `raw` the whole line with its newline, as the code
                of centerforaisafety/wmdp does for every corpus but the gated one

        Raises `ValueError` for a corpus that is not there, or has no such text.
        """
        if lines not in CORPUS_LINES:
            raise ValueError(
                f"--corpus_lines {lines} is unknown; choose one of {', '.join(CORPUS_LINES)}"
            )
        path = find_file(name, self.data_dir)
        if path and lines == "raw" and name not in GATED_CORPORA:
            texts = [line for _, line in read_lines(path)]
        elif path:
            texts = read_texts(path)
        elif name in TOPICS:
            texts = self.world.documents(name, WORLD_DOCUMENTS)
        else:
            texts = load_hub_corpus(name)
        texts = [text for text in texts if len(text) > min_len and text.strip()]
        if not texts:
            raise ValueError(f"the corpus {name} has no text of more than {min_len} characters")
        return texts

    def questions(self, name: str) -> list[Question]:
        """Return the four-choice questions of one test.

        Raises `ValueError` for a name that is neither a topic nor a file, and for a bad row.
        """
        path = find_file(name, self.data_dir)
        if path is not None:
            return read_questions(path)
        if name not in TOPICS:
            raise ValueError(
                f"there is no test {name!r}: the embedded ones are {', '.join(TOPICS)}; or give a "
                "JSON-lines file"
            )
        return self.world.questions(name)

    def has_questions(self, name: str) -> bool:
        """Return whether a test is embedded or in a file; lm-eval may know others."""
        return name in TOPICS or find_file(name, self.data_dir) is not None

    def fine_tuning_mix(self, options: MixOptions, split: str, seed: int) -> WorldMix:
        """Return the batches that a model from scratch learns the embedded world from."""
        return WorldMix(options, seed, self.world)

    def refuse_split(self, split: str) -> list[Example]:
        """Raise `ValueError`: what WMDP forgets are corpora."""
        raise ValueError(
            f"wmdp has corpora and no set {split!r}: name them with --forget_corpora, to rmu.train "
            "or grun.train"
        )

    def examples(self, split: str) -> list[Example]:
        return self.refuse_split(split)

    def unlearning_retain(self, split: str, retain_split: str | None = None) -> list[Example]:
        return self.refuse_split(split)

    def evaluation_sets(self, split: str) -> dict[str, list[Example]]:
        """Raise `ValueError`: WMDP is evaluated on `questions`."""
        self.refuse_split(split)

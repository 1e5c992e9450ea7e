"""Per-example results, in parts that are each computed once and kept: everything else is
aggregation (eval/report/summary.py).

    likelihood   one teacher-forced pass over all answers of a set (eval/scoring/likelihood.py):
                 answer_nll (a sum), answer_tokens, paraphrase_nll and perturbed_nll (means over
                 tokens); on the sets of membership attacks also the answer's tokens one by one, as
                 lists: answer_logprobs, answer_correct, answer_logp_mean, answer_logp_variance. A
                 model without likelihoods has none of them
    generation   one batched greedy generation: generation, rougeL_recall, rouge1_recall, gates (one
                 value per gated layer, of gated models only); on the forget set also fluency_ours
                 (eval/metrics/fluency.py)
    gradient     gradient_norm, on the sets of membership attacks
    gibberish    clean, on the forget set, where a classifier was asked for
                 (eval/metrics/fluency.py)

A set's file: {"set", "benchmark", "settings": {part: what decides its numbers}, "rows": [one a
line]}; a row begins with index, question, answer."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from eval.metrics.fluency import CharacterModel, Classifier
from eval.metrics.tofu import rouge_recall
from eval.scoring.likelihood import Tokens, by_length, gradient_norms, read_answers
from eval.scoring.model import EvalModel
from unlearn.benchmarks.examples import Example
from unlearn.config.run_directory import read_json, write_text

MEMBERSHIP_SETS = ("forget", "nonmember")
Rows = list[dict]


@dataclass(frozen=True)
class Scorer:
    """How a set is scored. batch_size changes memory, not results; `settings` is whatever else
    decides numbers (dtype and the like)."""

    batch_size: int = 64
    max_new_tokens: int = 256
    letters: CharacterModel | None = None
    classifier: Classifier | None = None
    settings: dict = field(default_factory=dict)

    def parts(
        self, name: str
    ) -> dict[str, tuple[dict, Callable[[EvalModel, str, list[Example], Rows], list[dict]]]]:
        """part -> (its settings, what computes its columns) for the set `name`, in the order in
        which they are computed."""
        parts: dict = {"likelihood": (self.settings, self.likelihood)}
        if name != "nonmember":  # only its likelihoods are compared with anything
            how = self.settings | {"max_new_tokens": self.max_new_tokens}
            parts["generation"] = (how, self.generation)
            if name == "forget" and self.classifier:
                parts["gibberish"] = (how | {"classifier": self.classifier.name}, self.gibberish)
        if name in MEMBERSHIP_SETS:
            parts["gradient"] = (self.settings, self.gradient)
        return parts

    def likelihood(
        self, eval_model: EvalModel, name: str, examples: list[Example], _rows: Rows
    ) -> list[dict]:
        answers = [
            [
                e.answer,
                *([e.paraphrased_answer] if e.paraphrased_answer else []),
                *e.perturbed_answers,
            ]
            for e in examples
        ]
        encoded = [
            eval_model.prompt_encoder.encode(e.question, answer)
            for e, own in zip(examples, answers, strict=True)
            for answer in own
        ]
        read = read_answers(
            eval_model, encoded, self.batch_size, bar(eval_model, name, "likelihood")
        )
        if read is None:
            return [{} for _ in examples]
        tokens = iter(read)
        return [
            columns(e, [next(tokens) for _ in own], name in MEMBERSHIP_SETS)
            for e, own in zip(examples, answers, strict=True)
        ]

    def generation(
        self, eval_model: EvalModel, name: str, examples: list[Example], _rows: Rows
    ) -> list[dict]:
        found = []
        texts = generations(
            eval_model,
            [e.question for e in examples],
            self.batch_size,
            self.max_new_tokens,
            bar(eval_model, name, "generation"),
        )
        for e, (text, gates) in zip(examples, texts, strict=True):
            row = {"generation": text} | rouge_recall(text, e.answer)
            if name == "forget" and self.letters:
                row["fluency_ours"] = self.letters.fluency(text)
            found.append(row | ({} if gates is None else {"gates": gates}))
        return found

    def gradient(
        self, eval_model: EvalModel, name: str, examples: list[Example], rows: Rows
    ) -> list[dict]:
        if "answer_nll" not in rows[0]:
            return [{} for _ in examples]
        encoded = [eval_model.prompt_encoder.encode(e.question, e.answer) for e in examples]
        return [
            {"gradient_norm": norm}
            for norm in gradient_norms(eval_model, encoded, bar(eval_model, name, "gradient"))
        ]

    def gibberish(
        self, _subject: EvalModel, _name: str, _examples: list[Example], rows: Rows
    ) -> list[dict]:
        return [
            {"clean": value} for value in self.classifier.clean([row["generation"] for row in rows])
        ]


def columns(e: Example, tokens: list[Tokens], one_by_one: bool) -> dict:
    """What the likelihood part says of one example: its answer, then its paraphrase if it has one,
    then its wrong answers."""
    answer, *others = tokens
    row: dict = {"answer_nll": answer.nll_sum, "answer_tokens": len(answer)}
    if e.paraphrased_answer:
        row["paraphrase_nll"] = others.pop(0).nll_mean
    if others:
        row["perturbed_nll"] = [wrong.nll_mean for wrong in others]
    if one_by_one:
        row |= {
            "answer_logprobs": exactly(answer.logprobs),
            "answer_correct": answer.correct.astype(int).tolist(),
        }
        row |= {
            "answer_logp_mean": exactly(answer.mean),
            "answer_logp_variance": exactly(answer.variance),
        }
    return row


def exactly(values: np.ndarray) -> list[float]:
    """float32 numbers in as few digits as give the same float32 back."""
    return [float(str(value)) for value in values]


def bar(eval_model: EvalModel, name: str, what: str) -> Callable[[list], tqdm]:
    """A progress bar over batches; none where the log is no terminal."""
    return lambda batches: tqdm(
        batches, desc=f"{eval_model.name} {name} {what}", leave=False, mininterval=1, disable=None
    )


def generations(
    eval_model: EvalModel,
    questions: list[str],
    batch_size: int,
    max_new_tokens: int,
    progress: Callable = iter,
) -> list[tuple[str, list[float] | None]]:
    """(text, gates of the prompt) for every question, greedy."""
    prompts = [eval_model.prompt_encoder.prompt_ids(question) for question in questions]
    found: list = [None] * len(prompts)
    for indices in progress(by_length([len(p) for p in prompts], batch_size)):
        texts, gates = eval_model.generate([prompts[i] for i in indices], max_new_tokens)
        values = [None] * len(indices) if gates is None else gates.T.tolist()
        for i, ids, gate in zip(indices, texts, values, strict=True):
            found[i] = (
                eval_model.prompt_encoder.tokenizer.decode(ids, skip_special_tokens=True).strip(),
                gate,
            )
    return found


def digest(examples: list[Example]) -> str:
    """16 hex digits over everything that a set's examples hold: rows kept from other data are not
    taken for these."""
    return hashlib.sha256(json.dumps([astuple(e) for e in examples]).encode()).hexdigest()[:16]


@dataclass
class SetFile:
    """One set's file, with what is finished of it."""

    path: Path
    head: dict
    settings: dict
    rows: Rows

    @classmethod
    def open(
        cls, path: Path, name: str, benchmark: str, examples: list[Example], overwrite: bool = False
    ) -> "SetFile":
        """The parts kept from before, if they are of the same examples; else none."""
        head = {"set": name, "benchmark": benchmark, "data": digest(examples)}
        kept = read_json(path) if path.exists() and not overwrite else {}
        if kept.get("data") == head["data"]:
            return cls(path, head, kept["settings"], kept["rows"])
        return cls(
            path,
            head,
            {},
            [{"index": e.index, "question": e.question, "answer": e.answer} for e in examples],
        )

    def missing(self, scorer: Scorer) -> list[str]:
        return [
            part
            for part, (settings, _) in scorer.parts(self.head["set"]).items()
            if self.settings.get(part) != settings
        ]

    def fill(self, eval_model: EvalModel, scorer: Scorer, examples: list[Example]) -> Iterator[str]:
        """Compute and write the missing parts one after another, naming each. Raises `ValueError`
        where a number is not finite."""
        name = self.head["set"]
        for part in self.missing(scorer):
            settings, compute = scorer.parts(name)[part]
            found = compute(eval_model, name, examples, self.rows)
            for row, new in zip(self.rows, found, strict=True):
                require_finite(name, row, new)
            self.rows = [row | new for row, new in zip(self.rows, found, strict=True)]
            self.settings = self.settings | {part: settings}
            self.write()
            yield part

    def write(self) -> None:
        """JSON with one row a line: a row has some hundred numbers, which would otherwise stand on
        as many lines."""
        head = json.dumps(self.head | {"settings": self.settings}, ensure_ascii=False)[:-1]
        rows = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in self.rows)
        write_text(self.path, f'{head}, "rows": [\n{rows}\n]}}\n')


def require_finite(name: str, row: dict, new: dict) -> None:
    for key, value in new.items():
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise ValueError(
                f"set {name}, row {row['index']}: {key} is {value}; the model diverged"
            )

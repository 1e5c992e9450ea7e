"""Per-example results: one teacher-forced pass over all answers of a set, one batched generation. Everything else is aggregation.

A row: index, question, answer, generation, rougeL_recall, rouge1_recall, answer_nll (a sum), answer_tokens, paraphrase_nll and
perturbed_nll (means over tokens), gates (one value per gated layer; only for gated models).
"""

from collections.abc import Callable

from tqdm import tqdm

from eval.load import Subject
from eval.metrics import rouge_recall
from unlearn.batches import pad
from unlearn.data import Example
from unlearn.prompts import Encoded


def by_length(lengths: list[int], size: int) -> list[list[int]]:
    """Indices in batches of up to `size`, longest first: similar lengths share a batch, and memory runs out early or never."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[i : i + size] for i in range(0, len(order), size)]


def answer_nlls(subject: Subject, encoded: list[Encoded], batch_size: int, progress: Callable) -> list[tuple[float, int]]:
    """(S, n) of every encoded answer: the sum of -log p over its tokens + EOS, and their number."""
    found: list = [None] * len(encoded)
    for indices in progress(by_length([len(e.ids) for e in encoded], batch_size), "likelihood"):
        said = subject.say(pad([encoded[i] for i in indices], subject.prompter.tokenizer.pad_token_id, subject.device))
        for i, total, count in zip(indices, said.nll_sum.tolist(), said.lengths.tolist(), strict=True):
            found[i] = (total, count)
    return found


def generations(subject: Subject, questions: list[str], batch_size: int, max_new_tokens: int, progress: Callable) -> list[tuple[str, list[float] | None]]:
    """(text, gates of the prompt) for every question, greedy."""
    prompts = [subject.prompter.prompt_ids(question) for question in questions]
    found: list = [None] * len(prompts)
    for indices in progress(by_length([len(p) for p in prompts], batch_size), "generation"):
        texts, gates = subject.generate([prompts[i] for i in indices], max_new_tokens)
        values = [None] * len(indices) if gates is None else gates.T.tolist()
        for i, ids, gate in zip(indices, texts, values, strict=True):
            found[i] = (subject.prompter.tokenizer.decode(ids, skip_special_tokens=True).strip(), gate)
    return found


def score_set(subject: Subject, name: str, examples: list[Example], batch_size: int = 64, max_new_tokens: int = 256) -> list[dict]:
    """The rows of one evaluation set, in the order of its examples."""

    def progress(batches, what):
        return tqdm(batches, desc=f"{subject.name} {name} {what}", leave=False, mininterval=1)

    answers = [[e.answer, *([e.paraphrased_answer] if e.paraphrased_answer else []), *e.perturbed_answers] for e in examples]
    encoded = [subject.prompter.encode(e.question, answer) for e, own in zip(examples, answers, strict=True) for answer in own]
    scored = iter(answer_nlls(subject, encoded, batch_size, progress))
    generated = generations(subject, [e.question for e in examples], batch_size, max_new_tokens, progress)
    rows = []
    for e, (text, gates) in zip(examples, generated, strict=True):
        total, count = next(scored)
        row = {"index": e.index, "question": e.question, "answer": e.answer, "generation": text}
        row |= rouge_recall(text, e.answer) | {"answer_nll": total, "answer_tokens": count}
        if e.paraphrased_answer:
            row["paraphrase_nll"] = mean(next(scored))
        if e.perturbed_answers:
            row["perturbed_nll"] = [mean(next(scored)) for _ in e.perturbed_answers]
        rows.append(row | ({} if gates is None else {"gates": gates}))
    return rows


def mean(scored: tuple[float, int]) -> float:
    total, count = scored
    return total / count

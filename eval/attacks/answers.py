"""Asking: prompts in batches of similar length, continuations compared with what was looked for.

A row: side, index, variant, prompt, given, answer, value, generation, rougeL_recall (of `answer`,
the part left to be said), found (whether the secret is in the output; None where the data do not
know it), gates (per gated layer; only for gated models)."""

from dataclasses import dataclass

from tqdm import tqdm

from eval.attacks.prompts import Ask, Sides, Target, says
from eval.metrics.tofu import rouge_recall
from eval.scoring.likelihood import by_length
from eval.scoring.model import EvalModel
from unlearn.training.loop import PROGRESS_SECONDS


@dataclass(frozen=True)
class Case:
    """What an attack is made with: the examples of each side, the split's whole evaluation sets,
    and the flags of eval.attacks.run."""

    sides: Sides
    sets: Sides
    args: object


def ask(
    eval_model: EvalModel, asks: list[Ask], args, what: str, seeds: list[int] | None = None
) -> list[dict]:
    """One row per target of every Ask, in order; greedy, or sampled at temperature 1, each Ask from
    its own seed."""
    tokenizer = eval_model.prompt_encoder.tokenizer
    found = [None] * len(asks)
    batches = by_length([len(a.ids) for a in asks], args.batch_size)
    for indices in tqdm(
        batches, desc=f"{eval_model.name} {what}", leave=False, delay=PROGRESS_SECONDS
    ):
        own = None if seeds is None else [seeds[i] for i in indices]
        new, gates = eval_model.generate([asks[i].ids for i in indices], args.max_new_tokens, own)
        values = [None] * len(indices) if gates is None else gates.T.tolist()
        for i, ids, gate in zip(indices, new, values, strict=True):
            found[i] = tokenizer.decode(ids, skip_special_tokens=True).strip(), gate
    return [
        row(tokenizer, a, t, *answer)
        for a, answer in zip(asks, found, strict=True)
        for t in a.targets
    ]


def row(tokenizer, asked: Ask, t: Target, text: str, gates: list[float] | None) -> dict:
    """One target compared with one continuation."""
    told = {
        "side": t.side,
        "index": t.index,
        "variant": asked.variant,
        "prompt": tokenizer.decode(asked.ids, skip_special_tokens=True),
    }
    told |= {"given": t.given, "answer": t.answer, "value": t.value, "generation": text}
    told |= {
        "rougeL_recall": rouge_recall(text, t.answer)["rougeL_recall"],
        "found": None if t.value is None else says(t.value, f"{t.given} {text}"),
    }
    return told if gates is None else told | {"gates": gates}

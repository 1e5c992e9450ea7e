"""Attack prompts -> greedy or sampled continuations -> rows (import only).

A row holds side, index, variant, prompt, given, answer, value, generation, rougeL_recall (of
`answer`, the part still to be said), found (whether the secret is in the output; None where the
data do not name one) and, for a gated model, gates (one value per gated layer).
"""

from dataclasses import dataclass

from tqdm import tqdm

from eval.attacks.prompts import AttackPrompt, ExpectedAnswer, Sides
from eval.metrics.leak import contains_value
from eval.metrics.tofu import rouge_recall
from eval.scoring.batching import batch_by_length
from eval.scoring.model import EvalModel
from unlearn.training.loop import PROGRESS_SECONDS


@dataclass(frozen=True)
class AttackSettings:
    """The values that attacks read. All but batch_size decide numbers and are kept in the files."""

    batch_size: int = 64
    max_new_tokens: int = 256
    rows: int = 100
    dtype: str = "auto"
    idk_file: str | None = None
    seed: int = 42
    samples: int = 8
    relearn_lr: float = 2e-5
    relearn_batch: int = 32


@dataclass(frozen=True)
class AttackInputs:
    """The examples to attack by side, the split's whole evaluation sets, and the settings."""

    sides: Sides
    evaluation_sets: Sides
    settings: AttackSettings


def generate_rows(
    eval_model: EvalModel,
    prompts: list[AttackPrompt],
    settings: AttackSettings,
    description: str,
    seeds: list[int] | None = None,
) -> list[dict]:
    """One row per expected answer of every prompt, in order.

    Greedy; with one seed per prompt, sampled at temperature 1.
    """
    tokenizer = eval_model.prompt_encoder.tokenizer
    continuations: list = [None] * len(prompts)
    batches = batch_by_length([len(prompt.ids) for prompt in prompts], settings.batch_size)
    title = f"{eval_model.name} {description}"
    for indices in tqdm(batches, desc=title, leave=False, delay=PROGRESS_SECONDS):
        ids = [prompts[i].ids for i in indices]
        batch_seeds = None if seeds is None else [seeds[i] for i in indices]
        new_ids, gates = eval_model.generate(ids, settings.max_new_tokens, batch_seeds)
        gate_rows = [None] * len(indices) if gates is None else gates.movedim(-1, 0).tolist()
        for i, continuation, gate_row in zip(indices, new_ids, gate_rows, strict=True):
            text = tokenizer.decode(continuation, skip_special_tokens=True).strip()
            continuations[i] = text, gate_row
    return [
        build_row(tokenizer, prompt, expected, text, gate_row)
        for prompt, (text, gate_row) in zip(prompts, continuations, strict=True)
        for expected in prompt.expected
    ]


def build_row(
    tokenizer,
    prompt: AttackPrompt,
    expected: ExpectedAnswer,
    text: str,
    gates: list[float] | None,
) -> dict:
    """One expected answer compared with one continuation."""
    leaked = None
    if expected.value is not None:
        leaked = contains_value(expected.value, f"{expected.given} {text}")
    row = {
        "side": expected.side,
        "index": expected.index,
        "variant": prompt.variant,
        "prompt": tokenizer.decode(prompt.ids, skip_special_tokens=True),
        "given": expected.given,
        "answer": expected.answer,
        "value": expected.value,
        "generation": text,
        "rougeL_recall": rouge_recall(text, expected.answer)["rougeL_recall"],
        "found": leaked,
    }
    return row if gates is None else row | {"gates": gates}

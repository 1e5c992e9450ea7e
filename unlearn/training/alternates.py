"""AltPO's alternates: answers that the target itself makes up, sampled once per forget question.

They are kept as JSON lines beside the runs of a split and used again, SAMPLES lines a question in
the order of the forget set:

    {"question": .., "answer": .., "alternate": .., "target": ..}

AltPO (arXiv 2409.13474). Sampling as in OpenUnlearning's script: temperature 1, at most 200 new
tokens, cut where the next question begins.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.text_files import parse_json_lines, read_utf8
from unlearn.config.files import write_text
from unlearn.language_model.batches import pad_left
from unlearn.language_model.models import trained_from_scratch
from unlearn.language_model.prompts import PromptEncoder
from unlearn.language_model.sampling import GumbelNoise, derive_seed
from unlearn.processes import is_main, wait
from unlearn.training.objectives import OBJECTIVES
from unlearn.training.options import DEFAULT_TARGET_SEED, UnlearnConfig
from unlearn.training.sampler import ForgetRetainSampler

SAMPLES = 5
NEW_TOKENS = 200
BATCH = 32
ROUNDS = 8  # times a question is asked again whose samples were its true answer, or empty
# {q} and {a} are the question and its true answer. A model trained here from scratch follows no
# instructions and is asked the plain question.
ELICIT = (
    "{q} (The true answer is: {a} Give another answer of the same form, plausible but with every "
    "fact in it changed.)"
)
ELICIT_FROM_SCRATCH = "{q}"


def with_alternates(
    config: UnlearnConfig,
    sampler: ForgetRetainSampler,
    model: nn.Module,
    prompt_encoder: PromptEncoder,
    target: str,
    folder: Path,
) -> ForgetRetainSampler:
    """The sampler with the alternates of its forget set, where the objective reads them.

    They are generated into `folder` if no file has them. Raises `ValueError` for a file without
    alternates for every forget question, or made by another target."""
    if "alternate" not in OBJECTIVES[config.objective.objective].reads:
        return sampler
    given = config.pairing.alternates
    path = Path(given) if given else folder / name_file(config.target.target_seed)
    if given and not path.exists():
        raise ValueError(
            f"--alternates {path}: no such file; leave the flag out and the target makes them"
        )
    if is_main() and not path.exists():
        print(
            f"the target makes up {SAMPLES} alternate answers to each of {len(sampler.forget)} "
            f"questions, once: {path}",
            flush=True,
        )
        elicit = ELICIT_FROM_SCRATCH if trained_from_scratch(config.target.model) else ELICIT
        # the target's seed, so that it does not matter which run of a split comes first
        seed = config.target.target_seed
        rows = generate_alternates(sampler.forget, model, prompt_encoder, elicit, seed)
        lines = [json.dumps(row | {"target": target}, ensure_ascii=False) + "\n" for row in rows]
        write_text(path, "".join(lines))
    wait()
    alternates = read_alternates(path, sampler.forget, None if given else target)
    return replace(sampler, alternates=alternates)


def name_file(target_seed: int) -> str:
    """The file of the alternates that the target of this seed makes up."""
    if target_seed == DEFAULT_TARGET_SEED:
        return "alternates.jsonl"
    return f"alternates-target_seed={target_seed}.jsonl"


def read_alternates(path: Path, forget: list[Example], target: str | None) -> list[list[str]]:
    """The alternates of every forget example, in the order of the file."""
    rows = [row for _, row in parse_json_lines(read_utf8(path), path)]
    alternates: dict[tuple[str, str], list[str]] = {}
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not {"question", "answer", "alternate"} <= row.keys():
            raise ValueError(f"{path}:{number} lacks one of the keys question, answer, alternate")
        if target and row.get("target") != target:
            raise ValueError(
                f"{path} was made by {row.get('target')}, not by {target}; delete it, or pass it "
                f"as --alternates {path}"
            )
        alternates.setdefault((row["question"], row["answer"]), []).append(row["alternate"])
    missing = [e.question for e in forget if (e.question, e.answer) not in alternates]
    if missing:
        raise ValueError(
            f"{path} has no alternate for {len(missing)} forget questions, the first is "
            f"{missing[0]!r}; delete it and run again"
        )
    return [alternates[e.question, e.answer] for e in forget]


def generate_alternates(
    forget: list[Example], model: nn.Module, prompt_encoder: PromptEncoder, elicit: str, seed: int
) -> list[dict]:
    """Up to SAMPLES alternates per example, none of them empty or the true answer.

    Raises `ValueError` when a question brings nothing but its true answer."""
    alternates: dict[int, list[str]] = {i: [] for i in range(len(forget))}
    for attempt in range(ROUNDS):
        needed = [i for i, texts in alternates.items() for _ in range(SAMPLES - len(texts))]
        for start in range(0, len(needed), BATCH):
            batch = needed[start : start + BATCH]
            questions = [elicit.format(q=forget[i].question, a=forget[i].answer) for i in batch]
            prompts = [prompt_encoder.prompt_ids(question) for question in questions]
            seeds = [derive_seed("alternate", seed, attempt, start + k) for k in range(len(batch))]
            texts = sample_continuations(model, prompt_encoder, prompts, seeds)
            for i, text in zip(batch, texts, strict=True):
                if text and text != forget[i].answer:
                    alternates[i].append(text)
    empty = [forget[i].question for i, texts in alternates.items() if not texts]
    if empty:
        raise ValueError(
            f"the target gave no other answer than the true one to {len(empty)} questions "
            f"({empty[0]!r}); give a file: --alternates"
        )
    return [
        {"question": forget[i].question, "answer": forget[i].answer, "alternate": text}
        for i, texts in alternates.items()
        for text in texts
    ]


@torch.no_grad()
def sample_continuations(
    model: nn.Module, prompt_encoder: PromptEncoder, prompts: list[list[int]], seeds: list[int]
) -> list[str]:
    """One continuation of each prompt at temperature 1, each from its own seed, cut where it goes
    on to a next question."""
    tokenizer = prompt_encoder.tokenizer
    device = next(model.parameters()).device
    ids, mask = pad_left(prompts, tokenizer.pad_token_id, device)
    positions = prompt_encoder.positions or ids.shape[1] + NEW_TOKENS
    if ids.shape[1] >= positions:
        raise ValueError(
            f"the prompt that asks the target for other answers takes {ids.shape[1]} tokens, and "
            f"this model has {positions} positions; give the answers with --alternates FILE"
        )
    out = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=min(NEW_TOKENS, positions - ids.shape[1]),
        do_sample=False,
        logits_processor=[GumbelNoise(seeds)],
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    texts = tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
    return [re.split(r"Question:|Q:", text)[0].strip() for text in texts]

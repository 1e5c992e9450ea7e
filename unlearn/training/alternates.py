"""AltPO's alternates: answers that the target itself makes up, sampled once per forget question,
kept as JSON lines and used again.

    {"question": .., "answer": .., "alternate": .., "target": ..}    SAMPLES lines a question, in
                                                                     the order of the forget set

AltPO (arXiv 2409.13474); sampling as in OpenUnlearning's script: temperature 1, at most 200 new
tokens, cut where the next question begins."""

import json
import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from unlearn.benchmarks.examples import Example
from unlearn.config.run_directory import write_text
from unlearn.language_model.batches import pad_left
from unlearn.language_model.models import trained_from_scratch
from unlearn.language_model.prompts import PromptEncoder
from unlearn.language_model.sampling import GumbelNoise, derive_seed
from unlearn.processes import is_main, wait
from unlearn.training.loss import UnlearnFlags
from unlearn.training.objectives import OBJECTIVES
from unlearn.training.sampler import ForgetRetainSampler

SAMPLES = 5
NEW_TOKENS = 200
BATCH = 32
ROUNDS = 8  # times a question is asked again whose samples were all its true answer, or empty
# the wording is free; {q} and {a} are the question and its true answer. A model trained here from
# scratch follows no instructions and is asked the plain question
ELICIT = "{q} (The true answer is: {a} Give another answer of the same form, plausible but with every fact in it changed.)"


def with_alternates(
    args: UnlearnFlags,
    pairs: ForgetRetainSampler,
    model: nn.Module,
    prompt_encoder: PromptEncoder,
    target: str,
    folder: Path,
) -> ForgetRetainSampler:
    """`pairs` with the alternates of its forget set, where the objective reads them; generated into
    `folder` if no file has them.

    Raises `ValueError` for a file without alternates for every forget question, or made by another
    target."""
    if "alternate" not in OBJECTIVES[args.objective].reads:
        return pairs
    path = Path(args.alternates) if args.alternates else folder / "alternates.jsonl"
    if args.alternates and not path.exists():
        raise ValueError(
            f"--alternates {path}: no such file; leave the flag out and the target makes them"
        )
    if is_main() and not path.exists():
        print(
            f"the target makes up {SAMPLES} alternate answers to each of {len(pairs.forget)} questions, once: {path}",
            flush=True,
        )
        rows = [
            row | {"target": target}
            for row in generate(
                pairs.forget,
                model,
                prompt_encoder,
                "{q}" if trained_from_scratch(args.model) else ELICIT,
                args.seed,
            )
        ]
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    wait()
    return replace(pairs, alternates=read(path, pairs.forget, None if args.alternates else target))


def read(path: Path, forget: list[Example], target: str | None) -> list[list[str]]:
    """For every forget example its alternates, in the order of the file."""
    rows = [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    found: dict[tuple[str, str], list[str]] = {}
    for number, row in enumerate(rows, 1):
        if not {"question", "answer", "alternate"} <= row.keys():
            raise ValueError(f"{path}:{number} lacks one of the keys question, answer, alternate")
        if target and row.get("target") != target:
            raise ValueError(
                f"{path} was made by {row.get('target')}, not by {target}; delete it, or pass it as --alternates {path}"
            )
        found.setdefault((row["question"], row["answer"]), []).append(row["alternate"])
    missing = [e.question for e in forget if (e.question, e.answer) not in found]
    if missing:
        raise ValueError(
            f"{path} has no alternate for {len(missing)} forget questions, the first is {missing[0]!r}; delete it and run again"
        )
    return [found[e.question, e.answer] for e in forget]


def generate(
    forget: list[Example], model: nn.Module, prompt_encoder: PromptEncoder, elicit: str, seed: int
) -> list[dict]:
    """Up to SAMPLES alternates per example, none of them empty or the true answer.

    Raises `ValueError` when a question brings nothing but its true answer."""
    found: dict[int, list[str]] = {i: [] for i in range(len(forget))}
    for round_ in range(ROUNDS):
        short = [i for i, texts in found.items() for _ in range(SAMPLES - len(texts))]
        for start in range(0, len(short), BATCH):
            asked = short[start : start + BATCH]
            prompts = [
                prompt_encoder.prompt_ids(elicit.format(q=forget[i].question, a=forget[i].answer))
                for i in asked
            ]
            seeds = [
                derive_seed("alternate", seed, round_, start + place) for place in range(len(asked))
            ]
            for i, text in zip(asked, sample(model, prompt_encoder, prompts, seeds), strict=True):
                if text and text != forget[i].answer:
                    found[i].append(text)
    empty = [forget[i].question for i, texts in found.items() if not texts]
    if empty:
        raise ValueError(
            f"the target gave no other answer than the true one to {len(empty)} questions ({empty[0]!r}); give a file: --alternates"
        )
    return [
        {"question": forget[i].question, "answer": forget[i].answer, "alternate": text}
        for i, texts in found.items()
        for text in texts
    ]


@torch.no_grad()
def sample(
    model: nn.Module, prompt_encoder: PromptEncoder, prompts: list[list[int]], seeds: list[int]
) -> list[str]:
    """One continuation of each prompt at temperature 1, each from its own seed, cut where it goes
    on to a next question."""
    tokenizer = prompt_encoder.tokenizer
    device = next(model.parameters()).device
    ids, mask = pad_left(prompts, tokenizer.pad_token_id, device)
    out = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        logits_processor=[GumbelNoise(seeds)],
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    texts = tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
    return [re.split(r"Question:|Q:", text)[0].strip() for text in texts]

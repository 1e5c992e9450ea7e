"""Relearning: fine-tune the attacked model for one epoch, its adapter kept on, and ask again.

    relearn_forget     on the forget set itself
    relearn_half       on the first half of it, other authors than those of the second half, which
                       alone is asked then
    relearn_benign     on real authors and world facts, which say nothing about the forget set

Spec 8: 1 epoch, effective batch 32, learning rate 2e-5 on real models. The run directory is left as
it is."""

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from eval.attacks.answers import Case, ask
from eval.attacks.prompts import Sides, clean
from eval.scoring.model import EvalModel
from unlearn.benchmarks.examples import Example
from unlearn.config.run_directory import Run
from unlearn.language_model.batches import pad
from unlearn.language_model.models import mixed_precision
from unlearn.training.loop import TrainConfig, train


def steps_of(examples: list[Example], args) -> int:
    """Optimiser steps of one epoch."""
    return -(-len(examples) // args.relearn_batch)


def fine_tune(eval_model: EvalModel, examples: list[Example], args) -> None:
    """One epoch over `examples` in an order of args.seed; every weight of the model moves, an
    adapter's stay."""
    order = random.Random(f"{args.seed} relearn").sample(examples, len(examples))
    encoded = [eval_model.prompt_encoder.encode(e.question, e.answer) for e in order]

    def losses(part, whole, step):
        said = eval_model.answers(
            pad(part, eval_model.prompt_encoder.tokenizer.pad_token_id, eval_model.device)
        ).part_of(whole)
        return {"loss": said.token_mean(said.nll)}

    def items(step):
        return encoded[step * args.relearn_batch : (step + 1) * args.relearn_batch]

    plan = TrainConfig(
        steps_of(examples, args),
        args.relearn_lr,
        seed=args.seed,
        mixed_precision=mixed_precision(eval_model.device),
    )
    eval_model.model.requires_grad_(True)
    with tempfile.TemporaryDirectory() as folder:
        train(
            eval_model.model,
            losses,
            items,
            plan,
            Run(Path(folder) / f"{eval_model.name} relearns"),
            save=lambda _: None,
        )
    eval_model.model.requires_grad_(False)


def forget_set(sets: Sides) -> list[Example]:
    return sets["forget"]


def forget_half(sets: Sides) -> list[Example]:
    """The first half: of the authors, as the file is author by author."""
    return sets["forget"][: (len(sets["forget"]) + 1) // 2]


def benign(sets: Sides) -> list[Example]:
    """Real authors and world facts, the first as many as there are forget examples."""
    return [*sets["real_authors"], *sets["world_facts"]][: len(sets["forget"])]


def relearn(on: Callable[[Sides], list[Example]]) -> Callable[[EvalModel, Case], list[dict]]:
    """Fine-tune on `on(the split's sets)`, then ask the plain questions; after `forget_half` those
    of the other half. Changes the weights."""

    def rows(eval_model: EvalModel, case: Case) -> list[dict]:
        fine_tune(eval_model, on(case.sets), case.args)
        seen = {e.index for e in on(case.sets)} if on is forget_half else set()
        left = case.sides | {"forget": [e for e in case.sides["forget"] if e.index not in seen]}
        return ask(eval_model, clean(eval_model.prompt_encoder, left), case.args, "relearned")

    return rows

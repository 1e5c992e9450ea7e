"""Relearning: fine-tune the unlearned model for one epoch, its adapter kept on, and ask the plain
questions again (import only).

Setting: 1 epoch, batch 32, learning rate 2e-5 on real models, after Hu et al. 2024, "Jogging the
Memory of Unlearned LLMs" (arXiv 2406.13356), and Lucki et al. 2024 (arXiv 2409.18025). The run
directory stays as it is.
"""

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from eval.attacks.answers import AttackInputs, AttackSettings, generate_rows
from eval.attacks.prompts import Sides, plain_prompts
from eval.attacks.registry import AttackFunction, attack
from eval.scoring.model import EvalModel
from unlearn.benchmarks.examples import Example
from unlearn.config.run_directory import Run
from unlearn.language_model.batches import pad
from unlearn.language_model.devices import choose_mixed_precision
from unlearn.training.loop import TrainConfig, train


def fine_tune(eval_model: EvalModel, examples: list[Example], settings: AttackSettings) -> None:
    """Train for one epoch over `examples`, in an order that follows from the seed. Every weight of
    the model moves; those of a GRUN adapter stay.
    """
    size = settings.relearn_batch
    order = random.Random(f"{settings.seed} relearn").sample(examples, len(examples))
    encoded = [eval_model.prompt_encoder.encode(e.question, e.answer) for e in order]
    pad_id = eval_model.prompt_encoder.tokenizer.pad_token_id

    def compute_loss(part, whole, step):
        batch = pad(part, pad_id, eval_model.device)
        logits = eval_model.forward_weights(batch).part_of(whole)
        return {"loss": logits.token_mean(logits.nll)}

    def select_batch(step):
        return encoded[step * size : (step + 1) * size]

    config = TrainConfig(
        count_steps(examples, settings),
        settings.relearn_lr,
        seed=settings.seed,
        mixed_precision=choose_mixed_precision(eval_model.device),
    )
    eval_model.model.requires_grad_(True)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / f"{eval_model.name} relearns")
        train(eval_model.model, compute_loss, select_batch, config, run, save=lambda _: None)
    eval_model.model.requires_grad_(False)


def count_steps(examples: list[Example], settings: AttackSettings) -> int:
    """Optimizer steps of one epoch."""
    return -(-len(examples) // settings.relearn_batch)


def select_forget(sets: Sides) -> list[Example]:
    """The forget set."""
    return sets["forget"]


def select_half(sets: Sides) -> list[Example]:
    """The first half of the forget set; the file goes author by author, so these are other authors
    than those of the second half.
    """
    return sets["forget"][: (len(sets["forget"]) + 1) // 2]


def select_benign(sets: Sides) -> list[Example]:
    """Real authors, then world facts, as many as there are forget examples."""
    return [*sets["real_authors"], *sets["world_facts"]][: len(sets["forget"])]


def relearn_on(select: Callable[[Sides], list[Example]]) -> AttackFunction:
    """An attack that fine-tunes on `select(evaluation sets)`, then asks the plain questions of the
    forget examples that were not trained on (after `select_half`), else of all.
    """

    def run(eval_model: EvalModel, inputs: AttackInputs) -> list[dict]:
        trained = select(inputs.evaluation_sets)
        fine_tune(eval_model, trained, inputs.settings)
        excluded = {e.index for e in trained} if select is select_half else set()
        forget = [e for e in inputs.sides["forget"] if e.index not in excluded]
        prompts = plain_prompts(eval_model.prompt_encoder, inputs.sides | {"forget": forget})
        return generate_rows(eval_model, prompts, inputs.settings, "relearned")

    return run


for name, select in (
    ("relearn_forget", select_forget),
    ("relearn_half", select_half),
    ("relearn_benign", select_benign),
):
    attack(
        name,
        group="relearn",
        settings=("relearn_lr", "relearn_batch", "seed"),
        weights="private",
        dtype="float32",
    )(relearn_on(select))

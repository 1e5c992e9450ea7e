"""Losses on training data during training: what --eval_steps logs and --keep best chooses by."""

from torch import Tensor

from unlearn.training.loop import TrainEval
from unlearn.training.loss import UnlearningLoss
from unlearn.training.options import EVALUATED, TrainingOptions
from unlearn.training.sampler import ForgetRetainSampler, UnlearningExample
from unlearn.training.stopping import rank

SETS = ("forget", "retain")


def evaluate_during_training(
    training: TrainingOptions, loss: UnlearningLoss, sampler: ForgetRetainSampler
) -> TrainEval | None:
    """CE_tok of the true answers of a slice of the forget and the retain set, every --eval_steps
    steps; None without."""
    if not training.eval_steps:
        return None

    def losses(part: list[UnlearningExample], whole: list[UnlearningExample]) -> dict[str, Tensor]:
        encoded = loss.encode(part, SETS)
        everything = loss.encode(whole, SETS)
        batches = {name: loss.batch(encoded[name]) for name in SETS}
        answers = loss.tuner.forward_answers(batches)
        parts = {name: answers[name].part_of(everything[name]) for name in SETS}
        return {name: answer.token_mean(answer.nll) for name, answer in parts.items()}

    return TrainEval(
        sampler.slice(EVALUATED), losses, training.eval_steps, rank, training.keep == "best"
    )

"""What is computed once of the frozen model, the same however often a run was killed and resumed.

Both kinds of values depend in their last bits on the examples that are computed together, and a
resumed run meets the examples in another order than one that was not stopped.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from grun.engines.base import Engine
from grun.engines.cached import CachedEngine
from unlearn.language_model.prompts import Encoded
from unlearn.processes import count_processes, share
from unlearn.training.distribution import micro_batches
from unlearn.training.evaluation import SETS
from unlearn.training.loop import TrainConfig
from unlearn.training.loss import UnlearningLoss
from unlearn.training.sampler import ForgetRetainSampler, UnlearningExample


def fix_frozen_values(
    engine: Engine,
    loss: UnlearningLoss,
    sampler: ForgetRetainSampler,
    evaluated: list[UnlearningExample],
    config: TrainConfig,
    reference_file: Path,
) -> None:
    """Compute the reference likelihoods of the whole run, or read them from `reference_file`, and
    tell the cached engine which examples run in one pass.

    evaluated: the items on which losses are taken during training.
    """
    if isinstance(engine, CachedEngine):
        engine.cache.pass_groups.announce(encode_run(loss, sampler, evaluated, config))
    batches = (sampler.items(step) for step in range(config.steps))
    loss.precompute_reference_nll(batches, reference_file, config.micro_batch or sampler.batch)


def encode_run(
    loss: UnlearningLoss,
    sampler: ForgetRetainSampler,
    evaluated: list[UnlearningExample],
    config: TrainConfig,
) -> Iterator[list[Encoded]]:
    """Yield the examples of every forward pass of this process, from the first one on."""
    batches = [(evaluated, SETS)] if evaluated else []
    batches_of_steps = ((sampler.items(step), loss.passes) for step in range(config.steps))
    (rank,) = share(list(range(count_processes())))
    for whole, passes in chain(batches, batches_of_steps):
        for part, _ in micro_batches(whole, rank, count_processes(), config.micro_batch):
            yield [e for examples in loss.encode(part, passes).values() for e in examples]

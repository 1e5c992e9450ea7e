"""Which forget example meets which retain example, refusal and alternate answer, at every step.

Everything follows from (seed, epoch, example). The global generators are never touched, so a
resumed run draws what an uninterrupted one does.
"""

import random
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from unlearn.benchmarks.examples import Example
from unlearn.language_model.prompts import Encoded, PromptEncoder

T = TypeVar("T", Example, Encoded)  # an item is a question with its answer, or a text's token ids


@dataclass(frozen=True)
class UnlearningExample:
    """One forget example, and what comes with it in one epoch: the retain example, the refusal and,
    for AltPO, the alternate answer."""

    forget: T
    retain: T
    refusal: str = ""
    alternate: str | None = None


@dataclass(frozen=True)
class ForgetRetainSampler:
    """Epochs over the forget set, reshuffled each time.

    epoch_end   `short`: an epoch's last batch has what is left; `joined`: the next epoch fills it,
                and steps are rounded down, as in upstream's baselines, whose data loader goes on
                accumulating (renjie3/GRUN, baseline/forget.py: forget05 in batches of 32 has 6
                steps an epoch and 62 in ten)
    pairing     `random` draws a retain partner per (epoch, example); `fixed` is upstream's rule,
                the same partner in every epoch: j = (i + randint(0, N_r)) mod N_r after
                manual_seed(i) (renjie3/GRUN, pyreft/dataset.py)
    idk_draw    `random` draws a refusal per (epoch, example); `fixed` is the rule of upstream's
                baselines, the same in every epoch: randint(0, N_refusals) after manual_seed(i)
                (renjie3/GRUN, baseline/data_module.py)
    alternates  the alternate answers of each forget example, which the epochs take in turn; empty
                where there are none
    """

    forget: list[T]
    retain: list[T]
    refusals: list[str]
    batch: int
    seed: int
    pairing: str = "random"
    idk_draw: str = "random"
    alternates: list[list[str]] = field(default_factory=list)
    epoch_end: str = "short"

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch, with a short last one or without."""
        if self.epoch_end == "joined":
            return max(1, len(self.forget) // self.batch)
        return -(-len(self.forget) // self.batch)

    def count_steps(self, epochs: float) -> int:
        """Batches of this many epochs, of which the last may be a part."""
        if self.epoch_end == "joined":
            return int(epochs * len(self.forget)) // self.batch
        return round(epochs * self.steps_per_epoch)

    def items(self, step: int) -> list[UnlearningExample]:
        """The batch of a step, the same on every process."""
        if self.epoch_end == "joined":
            places = range(step * self.batch, (step + 1) * self.batch)
            turns = [divmod(place, len(self.forget)) for place in places]
            orders = {epoch: self.order(epoch) for epoch in {epoch for epoch, _ in turns}}
            return [self.item(orders[epoch][number], epoch) for epoch, number in turns]
        epoch, number = divmod(step, self.steps_per_epoch)
        batch = self.order(epoch)[number * self.batch : (number + 1) * self.batch]
        return [self.item(i, epoch) for i in batch]

    def order(self, epoch: int) -> list[int]:
        """The forget examples by number, in the order of one epoch."""
        order = list(range(len(self.forget)))
        random.Random(f"order {self.seed} {epoch}").shuffle(order)
        return order

    def item(self, i: int, epoch: int) -> UnlearningExample:
        """Forget example i as it is met in one epoch."""
        if self.idk_draw == "fixed":
            refusal = self.refusals[draw_upstream(i, len(self.refusals))]
        else:
            refusal = random.Random(f"idk {self.seed} {epoch} {i}").choice(self.refusals)
        alternates = self.alternates[i] if self.alternates else [None]
        alternate = alternates[epoch % len(alternates)]
        retain = self.retain[self.partner(i, epoch)]
        return UnlearningExample(self.forget[i], retain, refusal, alternate)

    def partner(self, i: int, epoch: int) -> int:
        """The index of forget example i's retain partner in one epoch."""
        count = len(self.retain)
        if self.pairing == "fixed":
            return (i + draw_upstream(i, count)) % count
        return random.Random(f"retain {self.seed} {epoch} {i}").randrange(count)

    def slice(self, n: int) -> list[UnlearningExample]:
        """n items (or all, where there are fewer): a fixed sample of the training data."""
        count = min(n, len(self.forget))
        indices = random.Random(f"slice {self.seed}").sample(range(len(self.forget)), count)
        return [self.item(i, 0) for i in sorted(indices)]


def draw_upstream(i: int, count: int) -> int:
    """randint(0, count) after torch.manual_seed(i), without touching the global generator."""
    generator = torch.Generator().manual_seed(i)
    return torch.randint(0, count, (1,), generator=generator).item()


@dataclass(frozen=True)
class QuestionEncoder:
    """Turns the passes of an item of questions into token ids."""

    prompt_encoder: PromptEncoder

    def __call__(self, item: UnlearningExample, name: str) -> Encoded:
        """The ids of one pass: `forget`, `idk`, `alternate` or `retain`."""
        question = item.retain.question if name == "retain" else item.forget.question
        answers = {
            "forget": item.forget.answer,
            "idk": item.refusal,
            "alternate": item.alternate,
            "retain": item.retain.answer,
        }
        return self.prompt_encoder.encode(question, answers[name])


def encode_text(item: UnlearningExample, name: str) -> Encoded:
    """The ids of one pass of an item of texts: `forget` or `retain`.

    Raises `ValueError` for a pass that reads a refusal or another answer: texts have none."""
    if name not in ("forget", "retain"):
        raise ValueError(
            "a corpus has no questions, so there is nothing to refuse: take an objective of the "
            "texts themselves (rmu, rmu_kl, npo, npo_kl, gd, ga)"
        )
    return getattr(item, name)

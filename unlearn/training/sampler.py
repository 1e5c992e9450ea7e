"""Which forget example meets which retain example, refusal and alternate answer, at every step of a
run.

Everything follows from (seed, epoch, item): the global generators are never touched, so a resumed
run draws what an uninterrupted one does."""

import random
from dataclasses import dataclass, field

import torch

from unlearn.benchmarks.examples import Example


@dataclass(frozen=True)
class UnlearningExample:
    """One forget example; the retain example, the refusal and, for AltPO, the alternate answer that
    come with it in one epoch."""

    forget: Example
    retain: Example
    refusal: str
    alternate: str | None = None


@dataclass(frozen=True)
class ForgetRetainSampler:
    """Epochs over the forget set, reshuffled each time; the last batch of an epoch may be short.

    pairing: `random` draws a retain example per (epoch, item); `fixed` is upstream's rule, the same
    partner in every epoch: manual_seed(i); j = (i + randint(0, N_r)) mod N_r (spec 1.4). idk_draw:
    `random` or `fixed` likewise for the refusal. alternates: for every forget example its made-up
    answers, which the epochs take in turn; empty: there are none."""

    forget: list[Example]
    retain: list[Example]
    refusals: list[str]
    batch: int
    seed: int
    pairing: str = "random"
    idk_draw: str = "random"
    alternates: list[list[str]] = field(default_factory=list)

    def __post_init__(self):
        for name in ("pairing", "idk_draw"):
            if getattr(self, name) not in ("random", "fixed"):
                raise ValueError(
                    f"--{name} {getattr(self, name)} is unknown; choose random or fixed"
                )

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.forget) // self.batch)

    def items(self, step: int) -> list[UnlearningExample]:
        """The batch of a step, the same on every process."""
        epoch, number = divmod(step, self.steps_per_epoch)
        order = list(range(len(self.forget)))
        random.Random(f"order {self.seed} {epoch}").shuffle(order)
        return [self.item(i, epoch) for i in order[number * self.batch : (number + 1) * self.batch]]

    def item(self, i: int, epoch: int) -> UnlearningExample:
        if self.pairing == "fixed":
            draw = torch.randint(
                0, len(self.retain), (1,), generator=torch.Generator().manual_seed(i)
            ).item()
            partner = (i + draw) % len(self.retain)
        else:
            partner = random.Random(f"retain {self.seed} {epoch} {i}").randrange(len(self.retain))
        again = epoch if self.idk_draw == "random" else 0
        refusal = random.Random(f"idk {self.seed} {again} {i}").choice(self.refusals)
        own = self.alternates[i] if self.alternates else [None]
        return UnlearningExample(
            self.forget[i], self.retain[partner], refusal, own[epoch % len(own)]
        )

    def slice(self, n: int) -> list[UnlearningExample]:
        """n items (or all, where there are fewer), as a fixed sample of the training data to take
        losses on."""
        chosen = random.Random(f"slice {self.seed}").sample(
            range(len(self.forget)), min(n, len(self.forget))
        )
        return [self.item(i, 0) for i in sorted(chosen)]

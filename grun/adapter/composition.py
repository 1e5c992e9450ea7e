"""Several adapters on one base at once: how their edits add up. Each was trained alone, against the
original model (GRUN, sequential unlearning).

    h' = h + c(K) sum_k g_k(h) phi_k(h)       c(K) = 1 for `sum`, a K + b for `scaled` (a = b = 0.6
                                              as upstream)
    h' = h + g_m(h) phi_m(h)                  `max`: m = argmax_k g_k(h), per layer and example

All g_k and phi_k read the same h. Upstream's rule is `scaled`: c(1) = 1.2, so that one adapter
alone is not itself (spec 3.2)."""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

RULES = ("scaled", "sum", "max")


@dataclass(frozen=True)
class Combination:
    """A rule and its numbers. Raises `ValueError` on an unknown rule or a number that is not
    finite."""

    rule: str = "sum"
    multi_gate_coeff: float = 0.6
    multi_gate_bias: float = 0.6

    def __post_init__(self):
        if self.rule not in RULES:
            raise ValueError(f"--rule {self.rule} is unknown; choose one of {', '.join(RULES)}")
        if not all(math.isfinite(value) for value in (self.multi_gate_coeff, self.multi_gate_bias)):
            raise ValueError(
                f"c(K) = {self.multi_gate_coeff} K + {self.multi_gate_bias}: both must be finite numbers"
            )

    def scale(self, count: int) -> float:
        """c(K) for K adapters."""
        return (
            self.multi_gate_coeff * count + self.multi_gate_bias if self.rule == "scaled" else 1.0
        )

    def __call__(self, changes: list[Tensor], logits: list[Tensor | None], count: int) -> Tensor:
        """What to add to h. changes: g_k phi_k [n, d] of the adapters that edit this layer; logits:
        G_k [n], None for an ungated one (g_k = 1); count: K, of all adapters in force."""
        if self.rule == "max" and len(changes) > 1:
            openness = torch.stack(
                [
                    torch.full_like(c[:, 0], torch.inf) if g is None else g
                    for c, g in zip(changes, logits, strict=True)
                ]
            )
            winner = openness.argmax(0)
            return torch.stack(changes)[winner, torch.arange(len(winner), device=winner.device)]
        total = changes[0]
        for change in changes[1:]:
            total = total + change
        return total if self.scale(count) == 1.0 else self.scale(count) * total

    def as_dict(self) -> dict:
        return asdict(self)

"""How the edits of several adapters on one base add up (sequential unlearning).

Each of K adapters was trained alone, against the original model, and all read the same h:

    sum, scaled   h' = h + c(K) sum_k g_k(h) phi_k(h)    c(K) = 1 for sum, a K + b for scaled
    max           h' = h + g_m(h) phi_m(h)               m = argmax_k g_k(h), per layer and example

`scaled` with a = b = 0.6 is upstream's rule (renjie3/GRUN, pyreft/interventions.py,
GatedLoreftIntervention_MultipleGate). Its c(1) is 1.2, so that one adapter alone is not itself.
Under `sum`, the default, one adapter alone is bit for bit the run that trained it.
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

RULES = ("sum", "scaled", "max")


@dataclass(frozen=True)
class Combination:
    """A rule and its numbers a, b of c(K) = a K + b.

    Raises `ValueError` for an unknown rule or a number that is not finite.
    """

    rule: str = "sum"
    multi_gate_coeff: float = 0.6
    multi_gate_bias: float = 0.6

    def __post_init__(self):
        if self.rule not in RULES:
            raise ValueError(f"--rule {self.rule} is unknown; choose one of {', '.join(RULES)}")
        if not all(math.isfinite(value) for value in (self.multi_gate_coeff, self.multi_gate_bias)):
            raise ValueError(
                f"c(K) = {self.multi_gate_coeff} K + {self.multi_gate_bias}: both must be finite "
                "numbers"
            )

    def scale(self, count: int) -> float:
        """c(K) for K adapters."""
        if self.rule != "scaled":
            return 1.0
        return self.multi_gate_coeff * count + self.multi_gate_bias

    def __call__(self, updates: list[Tensor], logits: list[Tensor | None], count: int) -> Tensor:
        """Return what to add to h, [n, d].

        updates: g_k phi_k [n, d] of the adapters that edit this layer; logits: their G_k [n], None
        for an ungated one, whose g_k is 1; count: K, of all adapters in force.
        """
        if self.rule == "max" and len(updates) > 1:
            gate_logits = [
                torch.full_like(update[:, 0], torch.inf) if logit is None else logit
                for update, logit in zip(updates, logits, strict=True)
            ]
            winner = torch.stack(gate_logits).argmax(0)
            return torch.stack(updates)[winner, torch.arange(len(winner), device=winner.device)]
        total = updates[0]
        for update in updates[1:]:
            total = total + update
        scale = self.scale(count)
        return total if scale == 1.0 else scale * total

    def as_dict(self) -> dict:
        return asdict(self)

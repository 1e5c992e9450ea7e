"""Unlearning objectives: pure functions of what a model says, always minimised.

An objective is a forget term from `OBJECTIVES`, plus a retain term (`none`, `nll`, `kl`) with its own weight. Notation: l = -log p of a
scored token, S_b = sum of l over example b, A_b = S_b / n_b, n_b its scored tokens (answer + EOS), sigma = logistic, B examples.
Spec: ../shared sections 4.1 and 5; every mean divides by the counts of the whole batch (`unlearn.batches.Said`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from unlearn.batches import Said


@dataclass(frozen=True)
class Objective:
    """A forget term and what it must be told.

    term(forget, other, beta=..., gamma=...) -> scalar; `reads` names the passes it needs: `forget` (true answers), `idk` (refusals);
    `reference`: whether they need the frozen model's nll; `retain`: the retain term used unless a flag says otherwise."""

    term: Callable[..., Tensor]
    reads: tuple[str, ...] = ("forget",)
    reference: bool = False
    retain: str = "nll"


def gradient_ascent(forget: Said, **_) -> Tensor:
    """-CE_tok(f) = -mean over scored tokens of l. Unbounded below. GA; TOFU (arXiv 2401.06121), section 4."""
    return -forget.token_mean(forget.nll)


def npo(forget: Said, *, beta: float, **_) -> Tensor:
    """-(2/beta) mean_b log sigma(beta (S_b - S_b_ref)). Negative Preference Optimization (arXiv 2404.05868), eq. 3.

    At theta = ref it is (2/beta) ln 2, with gradient -1/B for every S_b."""
    return -(2 / beta) * forget.example_mean(logsigmoid(beta * (forget.nll_sum - forget.reference_nll)))


def refusal(idk: Said, **_) -> Tensor:
    """CE_tok of a refusal in the answer's place. IDK; TOFU (arXiv 2401.06121), section 4."""
    return idk.token_mean(idk.nll)


def idk_preference(forget: Said, idk: Said, *, beta: float, **_) -> Tensor:
    """-(2/beta) mean_b log sigma(beta [(S_idk_ref - S_idk) - (S_f_ref - S_f)]): DPO (arXiv 2305.18290), eq. 7, with the refusal
    preferred to the true answer (IdkPO; NPO paper's scale 2/beta)."""
    gain = (idk.reference_nll - idk.nll_sum) - (forget.reference_nll - forget.nll_sum)
    return -(2 / beta) * forget.example_mean(logsigmoid(beta * gain))


OBJECTIVES = {
    "ga": Objective(gradient_ascent, retain="none"),
    "gd": Objective(gradient_ascent),
    "npo": Objective(npo, reference=True),
    "idk": Objective(refusal, reads=("idk",)),
    "idkpo": Objective(idk_preference, reads=("forget", "idk"), reference=True),
}
# names of the official code (spec 4.1) -> (objective, gated); its ungated `idk` is spelt --objective idk --gate none here
OFFICIAL_NAMES = {
    "grad_ascent": ("ga", False), "grad_diff": ("gd", False), "npo_grad_diff": ("npo", False), "dpo_grad_diff": ("idkpo", False),
    "gated_grad_ascent": ("ga", True), "gated_grad_diff": ("gd", True), "gated_npo_grad_diff": ("npo", True),
    "gated_idk": ("idk", True), "gated_dpo_grad_diff": ("idkpo", True),
}  # fmt: skip


def retain_nll(retain: Said, reduction: str = "token") -> Tensor:
    """`token`: CE_tok(r); `sequence_sum`: mean_b S_b(r), upstream's manual_* variants (spec 5.2)."""
    return retain.token_mean(retain.nll) if reduction == "token" else retain.example_mean(retain.nll_sum)


def retain_kl(retain: Said, reduction: str = "token") -> Tensor:
    """mean over scored tokens of KL(p_ref || p) = sum_v p_ref (log p_ref - log p). TOFU (arXiv 2401.06121), section 4, on answers only."""
    reference = retain.reference_logits.log_softmax(-1)
    divergence = (reference.exp() * (reference - retain.logits.log_softmax(-1))).sum(-1)
    return retain.token_mean(divergence) if reduction == "token" else retain.example_mean(retain.per_example(divergence))


RETAIN_TERMS = {"nll": retain_nll, "kl": retain_kl}

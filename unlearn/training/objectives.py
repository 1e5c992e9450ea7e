"""Unlearning objectives: pure functions of what a model says, always minimised.

An objective is a forget term from `OBJECTIVES`, plus a retain term (`none`, `nll`, `kl`) with its
own weight. Notation: l = -log p of a scored token, S_b = sum of l over example b, A_b = S_b / n_b,
n_b its scored tokens (answer + EOS), z = logits over the vocabulary, y = the true token, sigma =
logistic, B examples. Spec: ../shared sections 4.1 and 5; every mean divides by the counts of the
whole batch (`unlearn.language_model.batches.AnswerLogits`). Weights, beta and gamma that a paper uses are
in `unlearn/config/recipes.py`."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from unlearn.language_model.batches import AnswerLogits


@dataclass(frozen=True)
class Objective:
    """A forget term and what it must be told.

    term(*passes, beta=..., gamma=...) -> scalar; `reads` names the passes it is given: `forget`
    (true answers), `idk` (refusals), `alternate` (made-up answers); `reference`: what it needs of
    the frozen model on them, None, `nll` or `logits`; `retain`: the retain term used unless a flag
    says otherwise; `dual`: the retain weight is a dual variable, which moves once per optimiser
    step."""

    term: Callable[..., Tensor]
    reads: tuple[str, ...] = ("forget",)
    reference: str | None = None
    retain: str = "nll"
    dual: bool = False


def gradient_ascent(forget: AnswerLogits, **_) -> Tensor:
    """-CE_tok(f) = -mean over scored tokens of l. Unbounded below. GA; TOFU (arXiv 2401.06121),
    section 4."""
    return -forget.token_mean(forget.nll)


def npo(forget: AnswerLogits, *, beta: float, **_) -> Tensor:
    """-(2/beta) mean_b log sigma(beta (S_b - S_b_ref)). Negative Preference Optimization (arXiv
    2404.05868), eq. 3.

    At theta = ref it is (2/beta) ln 2, with gradient -1/B for every S_b."""
    return -(2 / beta) * forget.example_mean(
        logsigmoid(beta * (forget.nll_sum - forget.reference_nll))
    )


def simnpo(forget: AnswerLogits, *, beta: float, gamma: float, **_) -> Tensor:
    """-(2/beta) mean_b log sigma(beta (A_b - gamma)): NPO without a reference. SimNPO (arXiv
    2410.07163), whose margin is beta * gamma here (spec 5.2)."""
    return -(2 / beta) * forget.example_mean(logsigmoid(beta * (forget.nll_mean - gamma)))


def refusal(idk: AnswerLogits, **_) -> Tensor:
    """CE_tok of a refusal in the answer's place. IDK; TOFU (arXiv 2401.06121), section 4."""
    return idk.token_mean(idk.nll)


def unlikelihood(forget: AnswerLogits, **_) -> Tensor:
    """mean over scored tokens of -log(1 - p), p = exp(-l): 0 where the true token is ruled out,
    +inf where it is certain. Unlikelihood training (arXiv 1908.04319), eq. 2; log(1 - p) is taken
    from the other tokens' logits, so no precision is lost near p = 1."""
    others = forget.logits.scatter(1, forget.labels[:, None], -torch.inf)
    return forget.token_mean(forget.logits.logsumexp(-1) - others.logsumexp(-1))


def refusal_unlikelihood(forget: AnswerLogits, idk: AnswerLogits, *, beta: float, **_) -> Tensor:
    """CE_tok of a refusal + beta * unlikelihood of the true answer: says no, and does not go on
    with an answer that was begun for it."""
    return refusal(idk) + beta * unlikelihood(forget)


def preference(forget: AnswerLogits, other: AnswerLogits, *, beta: float, **_) -> Tensor:
    """-(2/beta) mean_b log sigma(beta [(S_o_ref - S_o) - (S_f_ref - S_f)]): DPO (arXiv 2305.18290),
    eq. 7, with another answer preferred to the true one: a refusal (IdkPO, at the NPO paper's scale
    2/beta) or an alternate (AltPO, arXiv 2409.13474)."""
    gain = (other.reference_nll - other.nll_sum) - (forget.reference_nll - forget.nll_sum)
    return -(2 / beta) * forget.example_mean(logsigmoid(beta * gain))


def undial(forget: AnswerLogits, *, beta: float, **_) -> Tensor:
    """mean over scored tokens of CE(softmax(z_ref - beta onehot(y)), softmax(z)): the frozen
    model's own words with the true token's logit lowered. UNDIAL (arXiv 2402.10052); on answers
    only, unlike the code (spec 5.4)."""
    lowered = forget.reference_logits.scatter_add(
        1, forget.labels[:, None], forget.logits.new_full((len(forget.labels), 1), -beta)
    )
    return forget.token_mean(-(lowered.softmax(-1) * forget.logits.log_softmax(-1)).sum(-1))


def weighted_ascent(forget: AnswerLogits, *, beta: float, **_) -> Tensor:
    """-mean over scored tokens of p^beta l, with p = exp(-l) held constant in the weight. WGA
    (arXiv 2502.19301)."""
    nll = forget.nll
    return -forget.token_mean((-beta * nll.detach()).exp() * nll)


def satimp(forget: AnswerLogits, *, beta: float, gamma: float, **_) -> Tensor:
    """-mean over scored tokens of p^beta (1 - p)^gamma l, with the weights held constant. SatImp
    (arXiv 2505.11953)."""
    nll = forget.nll
    p = (-nll.detach()).exp()
    return -forget.token_mean(p**beta * (1 - p) ** gamma * nll)


def ceu(forget: AnswerLogits, **_) -> Tensor:
    """Mean over scored tokens but each example's first of CE(softmax(z with z_y = -inf),
    softmax(z)), target held constant. CE-U (arXiv 2503.01224); the first token is left out as in
    OpenUnlearning's trainer (spec 5.4)."""
    others = forget.logits.detach().scatter(1, forget.labels[:, None], -torch.inf).softmax(-1)
    values = -(others * forget.logits.log_softmax(-1)).sum(-1)
    later = torch.cat(
        [
            forget.example_index.new_zeros(1).bool(),
            forget.example_index[1:] == forget.example_index[:-1],
        ]
    )
    return (values * later).sum() / (forget.tokens - forget.examples)


def pdu_loss(forget: AnswerLogits, **_) -> Tensor:
    """Mean over scored tokens of (max_v z - mean_v z)^2: 0 where the logits are flat. PDU (arXiv
    2506.05314); its retain weight is the dual variable lambda <- max(0, lambda + rate (R - bound))
    of the constraint R = CE_tok(r) <= bound."""
    return forget.token_mean((forget.logits.amax(-1) - forget.logits.mean(-1)) ** 2)


OBJECTIVES = {
    "ga": Objective(gradient_ascent, retain="none"),
    "gd": Objective(gradient_ascent),
    "kl": Objective(gradient_ascent, retain="kl"),
    "npo": Objective(npo, reference="nll"),
    "simnpo": Objective(simnpo),
    "idk": Objective(refusal, reads=("idk",)),
    "idk+ul": Objective(refusal_unlikelihood, reads=("forget", "idk")),
    "idkpo": Objective(preference, reads=("forget", "idk"), reference="nll"),
    "altpo": Objective(preference, reads=("forget", "alternate"), reference="nll"),
    "undial": Objective(undial, reference="logits", retain="none"),
    "wga": Objective(weighted_ascent),
    "satimp": Objective(satimp),
    "ceu": Objective(ceu, retain="none"),
    "pdu": Objective(pdu_loss, dual=True),
}
# names of the official code (spec 4.1) -> (objective, gated); its ungated `idk` is spelt
# --objective idk --gate none here
OFFICIAL_NAMES = {
    "grad_ascent": ("ga", False),
    "grad_diff": ("gd", False),
    "npo_grad_diff": ("npo", False),
    "dpo_grad_diff": ("idkpo", False),
    "gated_grad_ascent": ("ga", True),
    "gated_grad_diff": ("gd", True),
    "gated_npo_grad_diff": ("npo", True),
    "gated_idk": ("idk", True),
    "gated_dpo_grad_diff": ("idkpo", True),
}


def retain_nll(retain: AnswerLogits, reduction: str = "token") -> Tensor:
    """`token`: CE_tok(r); `sequence_sum`: mean_b S_b(r), upstream's manual_* variants (spec
    5.2)."""
    return (
        retain.token_mean(retain.nll)
        if reduction == "token"
        else retain.example_mean(retain.nll_sum)
    )


def retain_kl(retain: AnswerLogits, reduction: str = "token") -> Tensor:
    """KL(p_ref || p) = sum_v p_ref (log p_ref - log p), `token`: its mean over scored tokens (TOFU,
    arXiv 2401.06121, section 4, on answers only); `batchmean_all`: its sum over them divided by B
    (upstream's WMDP, spec 4.3)."""
    reference = retain.reference_logits.log_softmax(-1)
    divergence = (reference.exp() * (reference - retain.logits.log_softmax(-1))).sum(-1)
    return (
        retain.token_mean(divergence)
        if reduction == "token"
        else retain.example_mean(retain.per_example(divergence))
    )


RETAIN_TERMS = {"nll": retain_nll, "kl": retain_kl}

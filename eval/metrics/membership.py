"""Membership inference: can a model's answers to trained questions be told from answers to the same
kind of questions that no model saw?

Six attacks score every row, higher: less like a member. AUROC takes members (the forget set) as
label 0 and non-members as label 1, so 1 means that the forget set is recognised, .5 that it is not;
what matters is how near it comes to the retain-only model's (spec 7.5; open-unlearning:
ou:src/evals/metrics/mia). Pure functions of rows, which hold (eval/scoring/scoring.py)

    answer_logprobs [n] = log p(y_t), EOS last    answer_logp_mean, answer_logp_variance [n]: mu_t,
                                                  sigma^2_t
    answer_nll = S    answer_tokens = n    answer    gradient_norm

Token-wise attacks leave the last token out; N = n - 1.
"""

import zlib
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import rankdata

LOWEST = 0.4  # share of tokens that Min-K and Min-K++ look at
EPSILON = 1e-10  # open-unlearning's guard in PrivLeak

Rows = Sequence[dict]


def loss(rows: Rows) -> np.ndarray:
    """A = S / n, EOS included."""
    return np.array([row["answer_nll"] / row["answer_tokens"] for row in rows])


def zlib_ratio(rows: Rows) -> np.ndarray:
    """A / (bytes of the zlib-compressed answer)."""
    return loss(rows) / np.array(
        [len(zlib.compress(row["answer"].encode("utf-8"))) for row in rows]
    )


def lowest_mean(values: np.ndarray) -> float:
    """Mean of the lowest max(1, int(.4 N)) values. Raises `ValueError` for none."""
    if not len(values):
        raise ValueError("an answer has no token besides its end, so Min-K is undefined")
    return float(np.sort(values)[: max(1, int(LOWEST * len(values)))].mean())


def min_k(rows: Rows) -> np.ndarray:
    """-mean of the lowest 40 % of log p(y_t) (Shi et al. 2023, arXiv 2310.16789)."""
    return np.array([-lowest_mean(np.asarray(row["answer_logprobs"][:-1])) for row in rows])


def min_k_plus(rows: Rows) -> np.ndarray:
    """The same of z_t = (log p(y_t) - mu_t) / sqrt(max(sigma^2_t, 1e-6)) (Zhang et al. 2024, arXiv
    2404.02936)."""

    def z(row: dict) -> np.ndarray:
        logp, mean, variance = (
            np.asarray(row[key][:-1])
            for key in ("answer_logprobs", "answer_logp_mean", "answer_logp_variance")
        )
        return (logp - mean) / np.sqrt(np.maximum(variance, 1e-6))

    return np.array([-lowest_mean(z(row)) for row in rows])


def gradient_norm(rows: Rows) -> np.ndarray:
    """GradNorm of the answer (eval.scoring.likelihood.gradient_norms)."""
    return np.array([row["gradient_norm"] for row in rows])


def auroc(members: np.ndarray, others: np.ndarray) -> float:
    """P(score of a non-member > score of a member), ties count half: (R - n (n + 1) / 2) / (m n), R
    the sum of the n non-members' mean ranks."""
    m = len(members)
    n = len(others)
    return float((rankdata([*members, *others])[m:].sum() - n * (n + 1) / 2) / (m * n))


ATTACKS: dict[str, Callable[[Rows], np.ndarray]] = {
    "loss": loss,
    "zlib": zlib_ratio,
    "gradnorm": gradient_norm,
    "mink": min_k,
    "minkpp": min_k_plus,
}
NAMES = (
    "loss",
    "zlib",
    "reference",
    "gradnorm",
    "mink",
    "minkpp",
)  # with Reference, which needs the retain-only model's rows
NEEDS = {"gradnorm": "gradient_norm", "mink": "answer_logprobs", "minkpp": "answer_logprobs"}


def attack(
    members: Rows, others: Rows, reference: tuple[Rows, Rows] | None = None
) -> dict[str, float]:
    """{"mia_<attack>_auc": AUROC}; an attack whose numbers the rows lack is left out.

    reference: the same two sets as the retain-only model scored them; Reference is A - A_ref."""
    found = {}
    for name, score in ATTACKS.items():
        if all(row.get(NEEDS.get(name, "answer_nll")) is not None for row in (*members, *others)):
            found[name] = auroc(score(members), score(others))
    if reference and "loss" in found:
        gains = [
            loss(mine) - loss(theirs)
            for mine, theirs in zip((members, others), reference, strict=True)
        ]
        found["reference"] = auroc(*gains)
    return {f"mia_{name}_auc": found[name] for name in NAMES if name in found}


def privleak(auc: float, retain_auc: float = 0.5) -> float:
    """100 ((1 - a) - (1 - a_ret)) / ((1 - a_ret) + 1e-10), a the AUROC of Min-K, a_ret the
    retain-only model's (.5: upstream's value without one).

    Negative: under-unlearned (-100 where every member is recognised); positive: over-unlearned; 0:
    as if never trained on it."""
    return 100 * ((1 - auc) - (1 - retain_auc)) / ((1 - retain_auc) + EPSILON)

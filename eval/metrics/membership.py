"""Membership inference: can a model's answers to trained questions be told from answers to the same
kind of questions that no model saw? (import only)

Six attacks score every row; a higher score means less like a member. AUROC takes members (the
forget set) as label 0 and non-members as label 1, so 1 means that the forget set is recognised, .5
that it is not. The best value is that of the retain-only model. Source: OpenUnlearning (arXiv
2506.12618), src/evals/metrics/mia.

The rows (eval/scoring/questions.py) hold

    answer, answer_nll = S, answer_tokens = n, gradient_norm
    answer_logprobs [n] = log p(y_t), EOS last
    answer_logp_mean [n] = mu_t, answer_logp_variance [n] = sigma^2_t

Token-wise attacks leave the last token out; N = n - 1.
"""

import zlib
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import rankdata

LOWEST_SHARE = 0.4  # of the tokens, which Min-K and Min-K++ average
EPSILON = 1e-10  # OpenUnlearning's guard in PrivLeak

Rows = Sequence[dict]


def loss(rows: Rows) -> np.ndarray:
    """LOSS: A = S / n, EOS included (Yeom et al. 2018, arXiv 1709.01604)."""
    return np.array([row["answer_nll"] / row["answer_tokens"] for row in rows])


def zlib_ratio(rows: Rows) -> np.ndarray:
    """ZLib: A / (bytes of the zlib-compressed answer) (Carlini et al. 2021, arXiv 2012.07805)."""
    sizes = [len(zlib.compress(row["answer"].encode("utf-8"))) for row in rows]
    return loss(rows) / np.array(sizes)


def lowest_mean(values: np.ndarray) -> float:
    """The mean of the lowest max(1, int(.4 N)) values. Raises `ValueError` for none."""
    if not len(values):
        raise ValueError("an answer has no token besides its end, so Min-K is undefined")
    return float(np.sort(values)[: max(1, int(LOWEST_SHARE * len(values)))].mean())


def min_k(rows: Rows) -> np.ndarray:
    """Min-K: -mean of the lowest 40 % of log p(y_t) (Shi et al. 2023, arXiv 2310.16789)."""
    return np.array([-lowest_mean(np.asarray(row["answer_logprobs"][:-1])) for row in rows])


def min_k_plus(rows: Rows) -> np.ndarray:
    """Min-K++: -mean of the lowest 40 % of z_t = (log p(y_t) - mu_t) / sqrt(max(sigma^2_t, 1e-6))
    (Zhang et al. 2024, arXiv 2404.02936).
    """

    def standardize(row: dict) -> np.ndarray:
        logp = np.asarray(row["answer_logprobs"][:-1])
        mean = np.asarray(row["answer_logp_mean"][:-1])
        variance = np.asarray(row["answer_logp_variance"][:-1])
        return (logp - mean) / np.sqrt(np.maximum(variance, 1e-6))

    return np.array([-lowest_mean(standardize(row)) for row in rows])


def gradient_norm(rows: Rows) -> np.ndarray:
    """GradNorm of the answer (eval.scoring.gradients)."""
    return np.array([row["gradient_norm"] for row in rows])


def auroc(members: np.ndarray, others: np.ndarray) -> float:
    """P(score of a non-member > score of a member) in [0, 1], ties count half.

    AUROC = (R - n (n + 1) / 2) / (m n), R the sum of the n non-members' mean ranks among all m + n.
    """
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
# all attacks in the order of the tables; `reference` needs the retain-only model's rows
NAMES = ("loss", "zlib", "reference", "gradnorm", "mink", "minkpp")
REQUIRED_KEYS = {
    "gradnorm": "gradient_norm",
    "mink": "answer_logprobs",
    "minkpp": "answer_logprobs",
}


def attack(
    members: Rows, others: Rows, reference: tuple[Rows, Rows] | None = None
) -> dict[str, float]:
    """{"mia_<attack>_auc": AUROC}; an attack whose numbers the rows lack is left out.

    reference: members and others as the retain-only model scored them; the attack `reference` is
    A - A_reference.
    """
    aurocs = {}
    for name, score in ATTACKS.items():
        key = REQUIRED_KEYS.get(name, "answer_nll")
        if all(row.get(key) is not None for row in (*members, *others)):
            aurocs[name] = auroc(score(members), score(others))
    if reference and "loss" in aurocs:
        pairs = zip((members, others), reference, strict=True)
        aurocs["reference"] = auroc(*(loss(rows) - loss(theirs) for rows, theirs in pairs))
    return {f"mia_{name}_auc": aurocs[name] for name in NAMES if name in aurocs}


def privleak(auc: float, retain_auc: float = 0.5) -> float:
    """PrivLeak = 100 ((1 - a) - (1 - a_ret)) / ((1 - a_ret) + 1e-10), a the AUROC of Min-K, a_ret
    the retain-only model's (.5: OpenUnlearning's value without one).

    0 is ideal: as if never trained on the forget set. Negative: under-unlearned (-100 where every
    member is recognised). Positive: over-unlearned.
    """
    return 100 * ((1 - auc) - (1 - retain_auc)) / ((1 - retain_auc) + EPSILON)

"""TOFU's metrics as pure functions of lists and arrays; no files, no model (import only).

Notation, for one row and with sums over the n tokens of answer and EOS:

    S = sum_t -log p(y_t | y_<t, x) [nats]      A = S / n      P = exp(-A) in (0, 1]
    A_para      A of the paraphrased answer
    A_pert[j]   A of the j-th perturbed (wrong) answer, j = 1..J

Arrays are float64. Everything works on logarithms until the last step, so that a model broken by
gradient ascent (A in the hundreds) gives the formula's limit and not 0/0. Sources: TOFU (arXiv
2401.06121, evaluation metrics) and its code (locuslab/tofu, aggregate_eval_stat.py), OpenUnlearning
(src/evals/metrics/memorization.py), GRUN (renjie3/GRUN, collect_results/).
"""

import statistics
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from scipy import special, stats

# OpenUnlearning's guard; part of its published numbers, so it stays in the `ou` variants
EPSILON = 1e-10


@cache
def build_scorer() -> RougeScorer:
    """The ROUGE scorer of TOFU."""
    return RougeScorer(["rouge1", "rougeL"], use_stemmer=True)


def rouge_recall(generation: str, answer: str) -> dict[str, float]:
    """Recall in [0, 1] of the answer's stemmed words: {"rouge1_recall": .., "rougeL_recall": ..}.

    rouge1: clipped unigram matches / words of `answer`; rougeL: longest common subsequence / words
    of `answer` (rouge_score with use_stemmer=True, which lower-cases and keeps only [a-z0-9]). An
    empty generation scores 0. Lower is better on the forget set, higher elsewhere. Raises
    `ValueError` for an answer without a word.
    """
    if not any(character.isascii() and character.isalnum() for character in answer):
        raise ValueError(
            f"the answer {answer!r} has no word of letters or digits, so its ROUGE recall is "
            "undefined"
        )
    scores = build_scorer().score(answer, generation)
    return {f"{kind}_recall": float(scores[kind].recall) for kind in ("rouge1", "rougeL")}


def probability(nll_sum: Sequence[float], tokens: Sequence[int]) -> np.ndarray:
    """P = exp(-S / n), [N] in (0, 1]: length-normalised probability of each answer.

    Lower is better on the forget set, higher elsewhere.
    """
    return np.exp(-np.asarray(nll_sum, dtype=float) / np.asarray(tokens, dtype=float))


def normalised_probability(
    answer_nll: Sequence[float], perturbed_nll: Sequence[Sequence[float]]
) -> np.ndarray:
    """P / (P + sum_j P_pert[j]), [N] in [0, 1], for real authors and world facts, from per-token
    means A; higher is better.

    TOFU's paper writes raw probabilities here; all published code uses length-normalised ones, and
    so does this. As the softmax over (-A, -A_pert) it is finite even where every P underflows.
    """
    rows = zip(answer_nll, perturbed_nll, strict=True)
    return np.array([special.softmax([-right, *np.negative(wrong)])[0] for right, wrong in rows])


def log_geometric_mean(perturbed: Sequence[float]) -> float:
    """log of the geometric mean of P_pert: -mean_j A_pert[j]."""
    return -float(np.mean(perturbed))


def log_arithmetic_mean(perturbed: Sequence[float]) -> float:
    """log of the arithmetic mean of P_pert: log((1/J) sum_j exp(-A_pert[j]))."""
    return float(special.logsumexp(np.negative(perturbed)) - np.log(len(perturbed)))


def log_truth_ratio(
    paraphrase_nll: Sequence[float],
    perturbed_nll: Sequence[Sequence[float]],
    mean: Callable = log_geometric_mean,
) -> np.ndarray:
    """log R = log mean_j P_pert[j] - log P_para, [N]; R < 1: the true answer is the likelier one.

    `mean` is geometric (TOFU's code: log R = A_para - mean_j A_pert[j]) or arithmetic (TOFU's
    paper).
    """
    return np.array([mean(row) for row in perturbed_nll]) + np.asarray(paraphrase_nll, dtype=float)


def nearness_to_one(log_ratio: np.ndarray) -> np.ndarray:
    """min(R, 1/R) = exp(-|log R|)."""
    return np.exp(-np.abs(log_ratio))


def distance_below_one(log_ratio: np.ndarray) -> np.ndarray:
    """max(0, 1 - R) = -expm1(min(log R, 0)); `+ 0.0` turns -0.0 into 0.0."""
    return -np.expm1(np.minimum(log_ratio, 0)) + 0.0


def tofu_official(paraphrase_nll, perturbed_nll, forget: bool) -> np.ndarray:
    """Geometric R; forget: min(R, 1/R), higher is better; else max(0, 1 - R) (TOFU's code)."""
    return (nearness_to_one if forget else distance_below_one)(
        log_truth_ratio(paraphrase_nll, perturbed_nll)
    )


def tofu_intrain(paraphrase_nll, perturbed_nll, forget: bool) -> np.ndarray:
    """Arithmetic R, otherwise as `tofu_official` (locuslab/tofu, utils.py; TOFU's paper)."""
    return (nearness_to_one if forget else distance_below_one)(
        log_truth_ratio(paraphrase_nll, perturbed_nll, log_arithmetic_mean)
    )


def ou(paraphrase_nll, perturbed_nll, forget: bool) -> np.ndarray:
    """R = G / (P_para + 1e-10), G geometric; forget: min(R, 1/(R + 1e-10)), higher is better; else
    max(0, 1 - R) (OpenUnlearning).
    """
    right = np.exp(-np.asarray(paraphrase_nll, dtype=float))
    ratio = np.exp([log_geometric_mean(row) for row in perturbed_nll]) / (right + EPSILON)
    return np.minimum(ratio, 1 / (ratio + EPSILON)) if forget else np.maximum(0, 1 - ratio)


def ou_prob_mean(paraphrase_nll, perturbed_nll, forget: bool) -> np.ndarray:
    """P_para / (P_para + G + 1e-10) on every set, G geometric; forget: lower is better
    (OpenUnlearning, `prob_mean`).
    """
    right = np.exp(-np.asarray(paraphrase_nll, dtype=float))
    return right / (right + np.exp([log_geometric_mean(row) for row in perturbed_nll]) + EPSILON)


def grun(paraphrase_nll, perturbed_nll, forget: bool) -> np.ndarray:
    """Arithmetic R and max(0, 1 - R) on the forget set too, where lower is better (GRUN)."""
    return distance_below_one(log_truth_ratio(paraphrase_nll, perturbed_nll, log_arithmetic_mean))


# name -> f(A_para [N], A_pert [N][J], forget) -> per-row values [N] in [0, 1]; a set's truth ratio
# is their mean
TRUTH_RATIOS = {f.__name__: f for f in (tofu_official, tofu_intrain, ou, ou_prob_mean, grun)}
DEFAULT_TRUTH_RATIO = "tofu_official"
FORGET_FALLS = {"ou_prob_mean", "grun"}  # variants whose forget truth ratio is better when lower


def truth_ratio_function(variant: str) -> Callable[..., np.ndarray]:
    """The function of that name; `ValueError` listing the names otherwise."""
    if variant not in TRUTH_RATIOS:
        raise ValueError(
            f"unknown truth ratio {variant!r}; choose --truth_ratio from {', '.join(TRUTH_RATIOS)}"
        )
    return TRUTH_RATIOS[variant]


def model_utility(parts: Sequence[float]) -> float:
    """Harmonic mean of {ROUGE-L recall, probability, truth ratio} x {retain, real authors, world
    facts}, in [0, 1]; higher is better.

    0 if any part is 0, as in TOFU. Raises `ValueError` unless there are nine.
    """
    if len(parts) != 9:
        raise ValueError(f"model utility is the harmonic mean of 9 numbers, {len(parts)} came")
    return float(statistics.harmonic_mean(parts))


def forget_quality(
    unlearned: Sequence[float], reference: Sequence[float]
) -> dict[str, float | None]:
    """Two-sample, two-sided Kolmogorov-Smirnov test between per-row forget truth ratios of two
    models (TOFU).

    Takes log R, geometric form, whatever variant the truth-ratio column shows: KS sees only ranks,
    so log R, R and 1/R give the same p. Returns p in [0, 1], log10 p (None where p is below the
    smallest float) and the statistic in [0, 1]. A high p is better: the model cannot be told from
    one that never saw the forget set. On forget01, with 40 rows, a high p says little.
    """
    test = stats.ks_2samp(unlearned, reference)
    p = float(test.pvalue)
    log10_p = float(np.log10(p)) if p > 0 else None
    return {
        "forget_quality": p,
        "forget_quality_log10p": log10_p,
        "forget_quality_statistic": float(test.statistic),
    }


def gate_statistics(gates: Sequence[Sequence[float]]) -> tuple[list[float], float]:
    """From gate values [N, L] in (0, 1): the mean per gated layer [L], and the share of rows whose
    last gate is > .5.
    """
    values = np.asarray(gates, dtype=float)
    return values.mean(axis=0).tolist(), float((values[:, -1] > 0.5).mean())

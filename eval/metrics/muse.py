"""MUSE's metrics as pure functions (import only); spec 7.3, muse:metrics and eval.py. All are
reported times 100.

    VerbMem     rougeL F1 of a greedy continuation of at most 128 tokens against the true one
    KnowMem     rougeL F1 of a greedy answer of at most 32 tokens, behind solved questions, against
                the true one
    PrivLeak    membership of the forget set against the holdout set by Min-40 %, relative to the
                retain-only model; 0 is ideal

Two modes, whose numbers cannot be compared: `muse` (the benchmark's own code) does not stem, cuts
the true continuation to as many tokens, and looks at every token but the first; `ou`
(OpenUnlearning) stems, cuts nothing, and leaves each text's last token out too."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from eval.metrics import membership

MODES = ("muse", "ou")
STOPS = ("\n\n", "\nQuestion", "Question:")  # where an answer ends: the first cut is made first
AUC_RETRAIN = {
    "muse-news": 0.4772,
    "muse-books": 0.5393,
}  # the published retrain models' P(holdout looks likelier than forget)
RESAMPLES = 1000


@cache
def _scorer(mode: str) -> RougeScorer:
    return RougeScorer(["rougeL"], use_stemmer=mode == "ou")


def rouge_f1(generation: str, truth: str, mode: str = "muse") -> float:
    """F1 in [0, 1] of the longest common subsequence of words; 0 where either has no word."""
    return float(_scorer(mode).score(truth, generation)["rougeL"].fmeasure)


def cut_answer(text: str) -> str:
    """What stands before every one of STOPS."""
    for stop in STOPS:
        text = text.split(stop)[0]
    return text.strip()


def min_k(logprobs: Sequence[Sequence[float]], mode: str = "muse") -> np.ndarray:
    """-mean of the lowest max(1, int(.4 n)) of each text's n log-probabilities: higher, less like a
    member. `ou` leaves each last one out."""
    return np.array(
        [
            -membership.lowest_mean(np.asarray(text if mode == "muse" else text[:-1]))
            for text in logprobs
        ]
    )


def auc(
    forget: Sequence[Sequence[float]], holdout: Sequence[Sequence[float]], mode: str = "muse"
) -> float:
    """P(a holdout text looks likelier than a forget text), ties count half: near 0 where the forget
    set is recognised. MUSE's AUC is one minus that of `eval.metrics.membership`, where non-members
    score higher."""
    return 1 - membership.auroc(min_k(forget, mode), min_k(holdout, mode))


def privleak(auc: float, retrain_auc: float) -> float:
    """100 (AUC - AUC_retrain) / AUC_retrain: negative, under-unlearned; positive, over-unlearned
    (spec 7.3)."""
    return membership.privleak(1 - auc, 1 - retrain_auc)


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval (percentile) of a mean, from a generator of its own."""
    values = np.asarray(values, dtype=float)
    drawn = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(1), [2.5, 97.5])
    return float(low), float(high)

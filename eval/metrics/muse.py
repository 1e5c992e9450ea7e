"""MUSE's metrics (Shi et al. 2024, arXiv 2407.06460; code swj0419/muse_bench, metrics/;
import only). All are reported times 100.

    VerbMem     rougeL F1 of a greedy continuation of at most 128 tokens against the true one;
                lower is better
    KnowMem     rougeL F1 of a greedy answer of at most 32 tokens, after ten solved questions,
                against the true one; lower is better on forget, higher on retain
    PrivLeak    membership of the forget set against the holdout set by Min-40 %, relative to the
                retain-only model; 0 is ideal

Two modes, whose numbers cannot be compared: `muse` (the benchmark's own code) does not stem, cuts
the true continuation to as many tokens, and reads every token but the first; `ou` (OpenUnlearning)
stems, cuts nothing, and leaves each text's last token out too.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from eval.metrics import membership

MODES = ("muse", "ou")
ANSWER_ENDS = ("\n\n", "\nQuestion", "Question:")  # the first cut is made first
# P(holdout looks likelier than forget) under MUSE's published retrained models
AUC_RETRAIN = {"muse-news": 0.4772, "muse-books": 0.5393}
RESAMPLES = 1000


@cache
def build_scorer(mode: str) -> RougeScorer:
    """The ROUGE scorer of a mode."""
    return RougeScorer(["rougeL"], use_stemmer=mode == "ou")


def rouge_f1(generation: str, truth: str, mode: str = "muse") -> float:
    """F1 in [0, 1] of the longest common subsequence of words; 0 where either has no word."""
    return float(build_scorer(mode).score(truth, generation)["rougeL"].fmeasure)


def cut_answer(text: str) -> str:
    """The text before every one of ANSWER_ENDS."""
    for end in ANSWER_ENDS:
        text = text.split(end)[0]
    return text.strip()


def min_k(logprobs: Sequence[Sequence[float]], mode: str = "muse") -> np.ndarray:
    """-mean of the lowest max(1, int(.4 n)) of each text's n log-probabilities: a higher score
    means less like a member. `ou` leaves each last one out.
    """
    texts = [np.asarray(text if mode == "muse" else text[:-1]) for text in logprobs]
    return np.array([-membership.lowest_mean(text) for text in texts])


def auc(
    forget: Sequence[Sequence[float]], holdout: Sequence[Sequence[float]], mode: str = "muse"
) -> float:
    """P(a holdout text looks likelier than a forget text), ties count half: near 0 where the forget
    set is recognised.

    MUSE's AUC is one minus that of `eval.metrics.membership`, where non-members score higher.
    """
    return 1 - membership.auroc(min_k(forget, mode), min_k(holdout, mode))


def privleak(auc: float, retrain_auc: float) -> float:
    """PrivLeak = 100 (AUC - AUC_retrain) / AUC_retrain: 0 is ideal, negative under-unlearned,
    positive over-unlearned.
    """
    return membership.privleak(1 - auc, 1 - retrain_auc)


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval (percentile, 1000 resamples) of a mean, from a generator of its
    own.
    """
    values = np.asarray(values, dtype=float)
    drawn = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(1), [2.5, 97.5])
    return float(low), float(high)

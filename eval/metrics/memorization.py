"""How much of an answer a model still knows by heart, from teacher forcing: extraction strength and
exact memorisation (import only).

`correct` holds n flags, argmax p = y_t, over an answer's tokens and EOS. Both metrics leave the
last one, EOS, out; N = n - 1. Source: OpenUnlearning (arXiv 2506.12618),
src/evals/metrics/memorization.py.
"""

from collections.abc import Sequence

import numpy as np

# ES where even the last token is wrong: 0 by its formula; 1/N is what OpenUnlearning's loop returns
ES_NO_MATCH = ("0", "1/N")


def extraction_strength(correct: Sequence[bool], no_match: str = "0") -> float:
    """ES = 1 - k / N in [0, 1], k the smallest position from which on every token is correct.

    The share of the answer that the model completes, given the rest; 0 where N = 0. Lower is better
    on the forget set.
    """
    flags = np.asarray(correct[:-1], dtype=bool)
    if not len(flags):
        return 0.0
    wrong = np.flatnonzero(~flags)
    start = wrong[-1] + 1 if len(wrong) else 0
    if start == len(flags) and no_match == "1/N":
        start -= 1
    return float(1 - start / len(flags))


def exact_memorization(correct: Sequence[bool]) -> float | None:
    """EM = (1 / N) sum_t [argmax p = y_t] in [0, 1]; None where N = 0, to be left out of the mean.

    Lower is better on the forget set.
    """
    flags = np.asarray(correct[:-1], dtype=float)
    return float(flags.mean()) if len(flags) else None


def memorization(correct_rows: Sequence[Sequence[bool]], no_match: str = "0") -> dict[str, float]:
    """Means over rows: {"es": .., "em": ..}.

    Raises `ValueError` for an unknown `no_match`, and where no row has a token besides EOS.
    """
    if no_match not in ES_NO_MATCH:
        raise ValueError(
            f"--es_no_match {no_match} is unknown; choose one of {', '.join(ES_NO_MATCH)}"
        )
    exact = [value for value in map(exact_memorization, correct_rows) if value is not None]
    if not exact:
        raise ValueError(
            "no answer has a token besides its end, so exact memorisation is undefined"
        )
    strengths = [extraction_strength(correct, no_match) for correct in correct_rows]
    return {"es": float(np.mean(strengths)), "em": float(np.mean(exact))}

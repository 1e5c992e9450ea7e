"""Four numbers for a whole evaluation, after OpenUnlearning (arXiv 2506.12618); each is a harmonic
mean (HM) in [0, 1], higher is better.

    memorisation = HM(1 - ES, 1 - EM, 1 - ParaProb, 1 - TruthRatio)      of the forget set; truth
                                                                         ratio: ou_prob_mean
    privacy      = HM(s_loss, s_zlib, s_mink, s_minkpp)                  s: how near an attack's
                 AUROC a is to the retain-only model's a_ret
    utility      = min(1, HM(model utility, fluency) / the same of the untouched target)
    overall      = HM(memorisation, privacy, utility)

The paper leaves s open and its code was never released; both candidates are here by name. Of the
formulas only Overall is confirmed by its authors (spec 7.5). Pure functions; no files, no model.
"""

import statistics
from collections.abc import Callable, Sequence


def bounded(auc: float, retain_auc: float) -> float:
    """1 - |a - a_ret| / max(a_ret, 1 - a_ret): 1 at a_ret, 0 at the end of [0, 1] that lies farther
    away."""
    return 1 - abs(auc - retain_auc) / max(retain_auc, 1 - retain_auc)


def relative(auc: float, retain_auc: float) -> float:
    """1 - |a - a_ret| / a_ret, not below 0; 0 where a_ret is 0 and a is not."""
    if retain_auc == 0:
        return float(auc == 0)
    return max(0.0, 1 - abs(auc - retain_auc) / retain_auc)


PRIVACY_SCORES: dict[str, Callable[[float, float], float]] = {
    "bounded": bounded,
    "relative": relative,
}
FORMULAS = {
    "bounded": "1 - |a - a_ret| / max(a_ret, 1 - a_ret)",
    "relative": "max(0, 1 - |a - a_ret| / a_ret)",
}
PRIVACY_ATTACKS = ("loss", "zlib", "mink", "minkpp")
MEMORIZATION_PARTS = ("forget_es", "forget_em", "forget_para_prob", "forget_prob_mean")
NAMES = ("memorisation", "privacy", "utility", "overall")


def harmonic(values: Sequence[float]) -> float:
    """Harmonic mean of values in [0, 1]; a value that rounding has left below 0 counts as 0."""
    return float(statistics.harmonic_mean([max(0.0, value) for value in values]))


def unscaled_utility(summary: dict) -> float | None:
    """HM(model utility, fluency): the gibberish classifier's fluency where it was measured, else
    ours."""
    fluency = summary.get("fluency", summary.get("fluency_ours"))
    parts = (summary.get("model_utility"), fluency)
    return None if None in parts else harmonic(parts)


def aggregate(
    summary: dict, retain: dict | None, target: dict | None, score: str = "bounded"
) -> dict[str, float]:
    """The aggregates whose parts the summaries of the run, of the retain-only model and of the
    target hold; the others are left out.

    Raises `ValueError` for an unknown `score`."""
    if score not in PRIVACY_SCORES:
        raise ValueError(
            f"--privacy_score {score} is unknown; choose one of {', '.join(PRIVACY_SCORES)}"
        )
    found = {}
    parts = [summary.get(key) for key in MEMORIZATION_PARTS]
    if None not in parts:
        found["memorisation"] = harmonic([1 - part for part in parts])
    pairs = [
        (summary.get(f"mia_{name}_auc"), (retain or {}).get(f"mia_{name}_auc"))
        for name in PRIVACY_ATTACKS
    ]
    if all(None not in pair for pair in pairs):
        found["privacy"] = harmonic([PRIVACY_SCORES[score](*pair) for pair in pairs])
    own = unscaled_utility(summary)
    original = unscaled_utility(target or {})
    if own is not None and original:
        found["utility"] = min(1.0, own / original)
    if len(found) == 3:
        found["overall"] = harmonic(list(found.values()))
    return found


def formula(score: str, fluency: str) -> str:
    """The formulas in one line, as printed below the tables."""
    return (
        "memorisation = HM(1 - ES, 1 - EM, 1 - P(paraphrased answer), 1 - truth ratio (ou_prob_mean)) of the forget set; "
        f"privacy = HM over LOSS, ZLib, Min-K, Min-K++ of {FORMULAS[score]}, a an attack's AUROC, a_ret the retain-only model's; "
        f"utility = min(1, HM(model utility, {fluency}) / the target's); overall = HM of the three"
    )

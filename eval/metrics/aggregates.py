"""Four numbers for a whole evaluation, after OpenUnlearning (arXiv 2506.12618, appendix F; import
only); each is a harmonic mean (HM) in [0, 1], higher is better.

    memorisation = HM(1 - ES, 1 - EM, 1 - P(paraphrased answer), 1 - truth ratio (ou_prob_mean))
                   of the forget set
    privacy      = HM(s_loss, s_zlib, s_mink, s_minkpp), s(a, a_ret): how near an attack's AUROC a
                   is to the retain-only model's a_ret
    utility      = min(1, HM(model utility, fluency) / the same of the untouched target)
    overall      = HM(memorisation, privacy, utility)

The paper leaves s open and its code was never released; both candidates are here by name. Of the
formulas only `overall` is confirmed by its authors.
"""

import statistics
from collections.abc import Callable, Sequence


def bounded(auc: float, retain_auc: float) -> float:
    """s = 1 - |a - a_ret| / max(a_ret, 1 - a_ret): 1 at a_ret, 0 at the end of [0, 1] that lies
    farther away.
    """
    return 1 - abs(auc - retain_auc) / max(retain_auc, 1 - retain_auc)


def relative(auc: float, retain_auc: float) -> float:
    """s = max(0, 1 - |a - a_ret| / a_ret); 0 where a_ret is 0 and a is not."""
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


def harmonic_mean(values: Sequence[float]) -> float:
    """Harmonic mean of values in [0, 1]; a value that rounding has left below 0 counts as 0."""
    return float(statistics.harmonic_mean([max(0.0, value) for value in values]))


def unscaled_utility(summary: dict) -> float | None:
    """HM(model utility, fluency): the gibberish classifier's fluency where it was measured, else
    fluency_ours. None where one is missing.
    """
    fluency = summary.get("fluency", summary.get("fluency_ours"))
    parts = (summary.get("model_utility"), fluency)
    return None if None in parts else harmonic_mean(parts)


def aggregate(
    summary: dict, retain: dict | None, target: dict | None, score: str = "bounded"
) -> dict[str, float]:
    """The aggregates whose parts the summaries of the run, of the retain-only model and of the
    target hold; the others are left out.

    Raises `ValueError` for an unknown `score`.
    """
    if score not in PRIVACY_SCORES:
        raise ValueError(
            f"--privacy_score {score} is unknown; choose one of {', '.join(PRIVACY_SCORES)}"
        )
    numbers = {}
    parts = [summary.get(key) for key in MEMORIZATION_PARTS]
    if None not in parts:
        numbers["memorisation"] = harmonic_mean([1 - part for part in parts])
    keys = [f"mia_{name}_auc" for name in PRIVACY_ATTACKS]
    pairs = [(summary.get(key), (retain or {}).get(key)) for key in keys]
    if all(None not in pair for pair in pairs):
        numbers["privacy"] = harmonic_mean([PRIVACY_SCORES[score](*pair) for pair in pairs])
    utility = unscaled_utility(summary)
    target_utility = unscaled_utility(target or {})
    if utility is not None and target_utility:
        numbers["utility"] = min(1.0, utility / target_utility)
    if len(numbers) == 3:
        numbers["overall"] = harmonic_mean(list(numbers.values()))
    return numbers


def formula(score: str, fluency: str) -> str:
    """The formulas in one line, as printed below the tables."""
    return (
        "memorisation = HM(1 - ES, 1 - EM, 1 - P(paraphrased answer), "
        "1 - truth ratio (ou_prob_mean)) of the forget set; "
        f"privacy = HM over LOSS, ZLib, Min-K, Min-K++ of {FORMULAS[score]}, "
        "a an attack's AUROC, a_ret the retain-only model's; "
        f"utility = min(1, HM(model utility, {fluency}) / the target's); overall = HM of the three"
    )

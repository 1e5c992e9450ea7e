"""Gates on what an evaluation stands on: the untouched target must look trained, the retain-only
reference untrained on the forget set.

Otherwise every number beside them means nothing, so the complaint goes into the table itself. Pure
functions of summaries (eval/report/summary.py).

    target      answers retain and forget questions (ROUGE-L), can be made to complete forget
                answers (ES), and its forget set is recognised against non-members (AUROC of LOSS)
    reference   answers retain questions, but completes forget answers at most half as well as the
                target, and its forget set is about as recognisable as any: else the non-members
                differ from the members in more than membership, or it has seen the forget set
"""

ROUGE = 0.6  # TOFU's and our targets are above .9
TARGET_ES = 0.4  # open-unlearning's 1B target has .7, models that never saw the forget set about .1
TARGET_AUC = 0.7  # targets are above .9
REFERENCE_AUC = (
    0.2,
    0.8,
)  # .5 but for chance: with 40 members and 40 others one standard error is .065


def too_low(summary: dict, floors: dict[str, float]) -> list[str]:
    """A complaint for each number that was measured and lies below its floor."""
    return [
        f"{key} is {summary[key]:.2f}, below {floor}"
        for key, floor in floors.items()
        if summary.get(key) is not None and summary[key] < floor
    ]


def target_problems(target: dict) -> list[str]:
    """Why the untouched target does not look trained; empty if it does."""
    return too_low(
        target,
        {
            "retain_rouge": ROUGE,
            "forget_rouge": ROUGE,
            "forget_es": TARGET_ES,
            "mia_loss_auc": TARGET_AUC,
        },
    )


def reference_problems(reference: dict, target: dict | None) -> list[str]:
    """Why the retain-only reference does not look untrained on the forget set, and trained on the
    rest; empty if it does."""
    problems = too_low(reference, {"retain_rouge": ROUGE})
    strengths = reference.get("forget_es"), (target or {}).get("forget_es")
    if None not in strengths and strengths[0] > strengths[1] / 2:
        problems.append(
            f"forget_es is {strengths[0]:.2f}, above half the target's {strengths[1]:.2f}"
        )
    auc, (low, high) = reference.get("mia_loss_auc"), REFERENCE_AUC
    if auc is not None and not low <= auc <= high:
        problems.append(f"mia_loss_auc is {auc:.2f}, outside {low} to {high}")
    return problems


def warning(objective: str, summary: dict, target: dict | None) -> str | None:
    """One sentence about a target or a reference that fails its gate; None for those that pass and
    for all other runs."""
    problems = {
        "target": lambda: target_problems(summary),
        "reference": lambda: reference_problems(summary, target),
    }.get(objective, list)()
    looks = {
        "target": "the untouched target does not look trained",
        "reference": "the retain-only reference does not look untrained on the forget set",
    }
    return f"{looks[objective]}: {', '.join(problems)}" if problems else None

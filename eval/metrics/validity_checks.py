"""What an evaluation stands on: the untouched target must look trained, the retain-only reference
untrained on the forget set (import only). Otherwise the numbers beside them mean nothing, so the
warning goes into the table itself. Functions of summaries (eval/report/summary.py).

    target      answers retain and forget questions (ROUGE-L), completes forget answers (ES), and
                its forget set is recognised against non-members (AUROC of LOSS)
    reference   answers retain questions, but completes forget answers at most half as well as the
                target, and its forget set is about as recognisable as any: else the non-members
                differ from the members in more than membership, or it has seen the forget set
"""

# TOFU's targets and those of the recipes are above .9
MIN_ROUGE = 0.6
# OpenUnlearning's 1B target has .7, models that never saw the forget set about .1
MIN_TARGET_ES = 0.4
# targets are above .9
MIN_TARGET_AUROC = 0.7
# .5 but for chance: with 40 members and 40 others one standard error is .065
REFERENCE_AUROC = (0.2, 0.8)


# a gate in closed form is fitted to open on 99 % of the forget questions and .5 % of the others
MIN_GATE_FORGET = 0.9
MAX_GATE_VALIDATION = 0.02


def check_gate(result: dict) -> str | None:
    """A sentence about a gate in closed form that misses forget questions in the forms that it was
    fitted on, or opens on held-out questions of the retain set; result: the run's result.json.
    """
    forget, others = (result.get(f"gate_{name}_fires") for name in ("forget", "validation"))
    problems = []
    if forget is not None and forget < MIN_GATE_FORGET:
        problems.append(f"opens on {forget:.2f} of its own forget questions only")
    if others is not None and others > MAX_GATE_VALIDATION:
        problems.append(f"opens on {others:.3f} of held-out retain questions")
    return f"the gate {' and '.join(problems)}" if problems else None


def find_low_values(summary: dict, floors: dict[str, float]) -> list[str]:
    """A sentence for each number that was measured and lies below its floor."""
    return [
        f"{key} is {summary[key]:.2f}, below {floor}"
        for key, floor in floors.items()
        if summary.get(key) is not None and summary[key] < floor
    ]


def target_problems(target: dict) -> list[str]:
    """Why the untouched target does not look trained; empty if it does."""
    return find_low_values(
        target,
        {
            "retain_rouge": MIN_ROUGE,
            "forget_rouge": MIN_ROUGE,
            "forget_es": MIN_TARGET_ES,
            "mia_loss_auc": MIN_TARGET_AUROC,
        },
    )


def reference_problems(reference: dict, target: dict | None) -> list[str]:
    """Why the retain-only reference does not look untrained on the forget set, and trained on the
    rest; empty if it does.
    """
    problems = find_low_values(reference, {"retain_rouge": MIN_ROUGE})
    strength = reference.get("forget_es")
    target_strength = (target or {}).get("forget_es")
    if None not in (strength, target_strength) and strength > target_strength / 2:
        problems.append(
            f"forget_es is {strength:.2f}, above half the target's {target_strength:.2f}"
        )
    auroc = reference.get("mia_loss_auc")
    low, high = REFERENCE_AUROC
    if auroc is not None and not low <= auroc <= high:
        problems.append(f"mia_loss_auc is {auroc:.2f}, outside {low} to {high}")
    return problems


def warning(objective: str, summary: dict, target: dict | None) -> str | None:
    """One sentence about a target or a reference that fails its checks; None for those that pass
    and for all other runs.
    """
    if objective == "target":
        problems = target_problems(summary)
        finding = "the untouched target does not look trained"
    elif objective == "reference":
        problems = reference_problems(summary, target)
        finding = "the retain-only reference does not look untrained on the forget set"
    else:
        return None
    return f"{finding}: {', '.join(problems)}" if problems else None

"""Upstream's names of objectives, and what each is here (import only).

renjie3/GRUN    pyreft/reft_trainer.py (GRUN), baseline/dataloader.py (full and LoRA)
licong-lin/negative-preference-optimization    TOFU/dataloader.py
"""

from dataclasses import dataclass, field

SUMS = {"forget_reduction": "sequence_sum", "retain_reduction": "sequence_sum"}
ALONE = {"retain_loss": "none"}


@dataclass(frozen=True)
class OfficialObjective:
    """Our objective, whether upstream gates it, and the flags that its name stands for."""

    objective: str
    is_gated: bool = False
    flags: dict[str, object] = field(default_factory=dict)


OFFICIAL_OBJECTIVES = {
    "grad_ascent": OfficialObjective("ga"),
    "reft_grad_ascent": OfficialObjective("ga"),
    "grad_diff": OfficialObjective("gd"),
    "manual_grad_diff": OfficialObjective("gd", flags=SUMS),
    "KL": OfficialObjective("kl"),
    "fine_tuned": OfficialObjective("gd", flags={"forget_weight": 0.0}),  # on the retain set alone
    "idk": OfficialObjective("idk"),
    "npo": OfficialObjective("npo", flags=ALONE),
    "npo_grad_diff": OfficialObjective("npo"),
    "manual_npo_grad_diff": OfficialObjective("npo", flags={"retain_reduction": "sequence_sum"}),
    "npo_KL": OfficialObjective("npo_kl"),
    "simnpo": OfficialObjective("simnpo", flags=ALONE),
    "simnpo_grad_diff": OfficialObjective("simnpo"),
    "dpo": OfficialObjective("idkpo", flags=ALONE),
    "dpo_grad_diff": OfficialObjective("idkpo"),
    "dpo_KL": OfficialObjective("idkpo", flags={"retain_loss": "kl"}),
    "kto_sigmoid": OfficialObjective("kto_sigmoid", flags=ALONE),
    "kto_logsigmoid": OfficialObjective("kto", flags=ALONE),
    "kto_logsigmoid_grad_diff": OfficialObjective("kto"),
    "gated_grad_ascent": OfficialObjective("ga", True),
    "gated_grad_diff": OfficialObjective("gd", True),
    "gated_npo_grad_diff": OfficialObjective("npo", True),
    "gated_npo_kl": OfficialObjective("npo_kl", True),
    "gated_idk": OfficialObjective("idk", True),
    "gated_dpo_grad_diff": OfficialObjective("idkpo", True),
    "gated_rmu": OfficialObjective("rmu", True),
    "gated_rmu_kl": OfficialObjective("rmu_kl", True),
}
# our objective -> upstream's coefficient -> our flag; its other losses read none
COEFFICIENTS = {
    "npo": {"npo_coeff": "forget_weight", "grad_diff_coeff": "retain_weight"},
    "npo_kl": {"npo_coeff": "forget_weight", "KL_coeff": "retain_weight"},
    "simnpo": {"npo_coeff": "forget_weight", "grad_diff_coeff": "retain_weight"},
}
# name -> why it is not offered, and the nearest that is
REFUSED_OBJECTIVES = {
    "grad_ascent_forgetKL": "it holds the answers that it ascends on where they were, by a KL term "
    "on the forget set; take --objective kl, whose KL is on the retain set",
}


def resolve_objective(name: str) -> tuple[str, bool | None]:
    """(objective, whether upstream gates it) of one of our or of the gated official names."""
    official = OFFICIAL_OBJECTIVES.get(name)
    is_ours = official is None or official.objective == name
    return (name, None) if is_ours else (official.objective, official.is_gated)

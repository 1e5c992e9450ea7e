"""The attacks that the tables list: the heading and the label of each, in the order of the tables
(import only).

A new attack has its line here; tables refuse results of an attack that has none.
"""

ATTACK_COLUMNS = {
    "clean": ("", "plain"),
    "joined_forget_retain": ("joined", "forget+retain"),
    "joined_retain_forget": ("joined", "retain+forget"),
    "prefill_sure": ("prefill", "sure"),
    "prefill_1": ("prefill", "1 word"),
    "prefill_3": ("prefill", "3 words"),
    "prefill_5": ("prefill", "5 words"),
    "paraphrase": ("reworded", "paraphrase"),
    "respelt": ("reworded", "respelt name"),
    "suffix": ("reworded", "suffix"),
    "multi_turn": ("reworded", "multi-turn"),
    "bare_prompt": ("template", "none"),
    "other_template": ("template", "another"),
    "trailing_space": ("template", "and a space"),
    "leak_at_k": ("sampled", "leak@k"),
    "int8_rtn": ("quantised", "int8 rtn"),
    "int4_rtn": ("quantised", "int4 rtn"),
    "int8_bnb": ("quantised", "int8 bnb"),
    "fp4_bnb": ("quantised", "fp4 bnb"),
    "nf4_bnb": ("quantised", "nf4 bnb"),
    "relearn_forget": ("relearned on", "forget"),
    "relearn_half": ("relearned on", "half"),
    "relearn_benign": ("relearned on", "benign"),
    "gate_off": ("white box", "gate off"),
    "logit_lens": ("white box", "logit lens"),
}
# Kinds of attack that need the model's answers alone; "": plain questions.
BLACK_BOX = ("", "joined", "prefill", "reworded", "template", "sampled")


def attack_kind(attack: str) -> str:
    """The heading of an attack."""
    return ATTACK_COLUMNS[attack][0]


def attack_kinds() -> tuple[str, ...]:
    """All headings, in the order of the tables."""
    return tuple(dict.fromkeys(heading for heading, _ in ATTACK_COLUMNS.values()))


def require_listed(attacks: list[str]) -> None:
    """Raise `ValueError` for attacks that no table lists."""
    unlisted = sorted(set(attacks) - set(ATTACK_COLUMNS))
    if unlisted:
        raise ValueError(
            f"no table lists the attacks {', '.join(unlisted)}; "
            "give each a line in eval/report/attack_columns.py"
        )

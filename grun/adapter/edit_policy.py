"""Which tokens a GRUN+ gate reads, how the gate was fitted, where the edit acts."""

from dataclasses import dataclass, field

CHOICES = {
    "reads": ("last", "token"),
    "fit": ("bce", "metric"),
    "at": ("last", "answer_on", "fired", "fired_on", "fired+answer_on"),
    "threshold": ("soft", "calibrated"),
}
PLAIN = {"reads": "last", "fit": "bce", "at": "last", "threshold": "soft"}


@dataclass(frozen=True)
class EditPolicy:
    """The four choices, and what they need: tag: token ids of the answer tag; taus: layer -> gate
    logit below which a bce gate is shut; span: where fired tokens are edited, so are this many
    tokens of the question before and behind each.

    Raises `ValueError` on an unknown choice or a combination that is not built."""

    reads: str = "last"
    fit: str = "bce"
    at: str = "last"
    threshold: str = "soft"
    tag: list[int] = field(default_factory=list)
    taus: dict[str, float] = field(default_factory=dict)
    span: list[int] = field(default_factory=lambda: [0, 0])

    def __post_init__(self):
        for (name, allowed), flag in zip(
            CHOICES.items(), ("gate_reads", "gate_fit", "edit_at", "gate_threshold"), strict=True
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"--{flag} {getattr(self, name)} is unknown; choose one of {', '.join(allowed)}"
                )
        if self.reads == "token" and self.fit == "bce":
            raise ValueError(
                "--gate_reads token wants --gate_fit metric: trained token gates fail on unseen names (hardening.md, section 2), so none is built"
            )
        if self.at.startswith("fired") and self.reads != "token":
            raise ValueError(
                f"--edit_at {self.at} edits tokens that fire, so it wants --gate_reads token --gate_fit metric"
            )
        if (
            len(self.span) != 2
            or min(self.span) < 0
            or (any(self.span) and not self.at.startswith("fired"))
        ):
            told = " ".join(map(str, self.span))
            raise ValueError(
                f"--edit_span {told}: two counts of tokens, before and behind one that fires; only with --edit_at fired.."
            )

    @property
    def plain(self) -> bool:
        return all(getattr(self, name) == value for name, value in PLAIN.items())

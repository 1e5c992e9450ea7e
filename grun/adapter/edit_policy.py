"""The four choices of GRUN+: what the gate reads, how it is fitted, where the edit acts, how hard
the gate shuts. Plain GRUN is the combination last, bce, last, soft.

    reads       last            the last prompt token
                token           every prompt token; one that fires opens the gate
    fit         bce             trained with the edit, a gate of its own in every edited layer
                metric          closed form (`grun.adapter.metric_gate`), one for all layers, on
                                states below the first edit
    at          last            the last prompt token
                answer_on       the last token of the answer tag ("Answer:") and all later tokens,
                                generated ones too
                fired           the tokens that fire; a generated token only where the prompt's gate
                                is open
                fired_on        the tokens that fire, and in the answer every token after one
                fired+answer_on both
    threshold   soft            the edit is scaled by sigmoid(G)
                calibrated      the gate is open or shut; where it is shut nothing is added, and the
                                model is the base, bit for bit
"""

from dataclasses import dataclass, field, replace

CHOICES = {
    "reads": ("last", "token"),
    "fit": ("bce", "metric"),
    "at": ("last", "answer_on", "fired", "fired_on", "fired+answer_on"),
    "threshold": ("soft", "calibrated"),
}
FLAGS = {  # field -> flag, for messages
    "reads": "gate_reads",
    "fit": "gate_fit",
    "at": "edit_at",
    "threshold": "gate_threshold",
}


@dataclass(frozen=True)
class EditPolicy:
    """One value for each choice of the module docstring, and the numbers that they need.

    tag: token ids of the answer tag; taus: layer -> gate logit below which a trained gate is shut;
    span: numbers of question tokens before and after a fired one that are edited with it.

    Raises `ValueError` for an unknown choice or a combination that is not implemented.
    """

    reads: str = "last"
    fit: str = "bce"
    at: str = "last"
    threshold: str = "soft"
    tag: list[int] = field(default_factory=list)
    taus: dict[str, float] = field(default_factory=dict)
    span: list[int] = field(default_factory=lambda: [0, 0])

    def __post_init__(self):
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"--{FLAGS[name]} {getattr(self, name)} is unknown; "
                    f"choose one of {', '.join(allowed)}"
                )
        if self.reads == "token" and self.fit == "bce":
            raise ValueError(
                "--gate_reads token wants --gate_fit metric: trained token gates fail on unseen "
                "names, so none is implemented"
            )
        if self.edits_fired_tokens and self.reads != "token":
            raise ValueError(
                f"--edit_at {self.at} edits tokens that fire, so it wants --gate_reads token "
                "--gate_fit metric"
            )
        is_span = len(self.span) == 2 and min(self.span) >= 0
        if not is_span or (any(self.span) and not self.edits_fired_tokens):
            raise ValueError(
                f"--edit_span {' '.join(map(str, self.span))}: two counts of tokens, before and "
                "behind one that fires; only with --edit_at fired.."
            )

    @property
    def plain(self) -> bool:
        """Whether this is plain GRUN."""
        return (self.reads, self.fit, self.at, self.threshold) == ("last", "bce", "last", "soft")

    @property
    def edits_fired_tokens(self) -> bool:
        """Whether tokens of the question may be edited, those that fire."""
        return self.at.startswith("fired")

    @property
    def force_open_in_training(self) -> bool:
        """Whether the gate counts as open on every prompt in training.

        A closed-form gate is fitted before, and the edit then trains on forget prompts alone.
        """
        return self.fit == "metric"

    @property
    def needs_calibration(self) -> bool:
        """Whether a trained gate gets a threshold, set on examples that are held out."""
        return self.fit == "bce" and self.threshold == "calibrated"

    def for_training(self) -> "EditPolicy":
        """Return the policy under which the edit is trained: a trained gate is soft."""
        return replace(self, threshold="soft") if self.fit == "bce" else self

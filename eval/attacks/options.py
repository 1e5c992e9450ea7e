"""The option groups of eval.attacks.run (import only)."""

from dataclasses import dataclass, fields

from eval.attacks.answers import AttackSettings
from eval.attacks.registry import attack_groups, load_attacks
from eval.evaluators.options import CellOptions, QuestionOptions, SplitOptions
from unlearn.config.flags import Options, flag, flag_values, group
from unlearn.config.options import DataOptions, RunOptions

GROUPS = attack_groups()


@dataclass
class AttackOptions(Options):
    """Attacks"""

    attacks: list[str] = flag(
        ["default"], f"default, groups ({', '.join(GROUPS)}) or single attacks", role="volatile"
    )
    rows: int = flag(100, "examples per side, spread evenly over each set; 0: all", minimum=0)
    samples: int = flag(8, "k of leak@k", minimum=1)
    relearn_lr: float = flag(2e-5, "learning rate of relearning (one epoch)", above=0)
    relearn_batch: int = flag(32, "examples per step of relearning", minimum=1)

    def __post_init__(self):
        super().__post_init__()
        attacks = load_attacks()
        for name in self.attacks:
            if name not in ("default", *GROUPS, *attacks):
                raise ValueError(
                    f"--attacks {name} is unknown; choose default, a group ({', '.join(GROUPS)}) "
                    f"or one of {', '.join(attacks)}"
                )


@dataclass
class AttackConfig:
    """The flags of eval.attacks.run. It takes those of the evaluation too, so that one command can
    pass its flags to both.
    """

    RECIPE = "attacks"
    run: RunOptions = group(RunOptions)
    data: DataOptions = group(DataOptions)
    cell: CellOptions = group(CellOptions)
    split: SplitOptions = group(SplitOptions)
    questions: QuestionOptions = group(QuestionOptions)
    attacks: AttackOptions = group(AttackOptions)

    @property
    def settings(self) -> AttackSettings:
        """The values that attacks read."""
        values = flag_values(self)
        return AttackSettings(
            **{field.name: values[field.name] for field in fields(AttackSettings)}
        )

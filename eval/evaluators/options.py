"""The option groups of evaluation, and the config of each evaluator (import only)."""

from dataclasses import dataclass

from eval.evaluators.upstream import EVALUATION
from eval.metrics import aggregates, muse, tofu
from eval.metrics.memorization import ES_NO_MATCH
from eval.report.question_metrics import Options as SummaryOptions
from unlearn.config.flags import Options, flag, group
from unlearn.config.options import DataOptions, RunOptions

MCQ_STYLES = ("letters", "cloze", "grun")


@dataclass
class CellOptions(Options):
    """Runs to evaluate"""

    model: str = flag("tiny", "model of the cell", role="key")
    only: list[str] = flag(
        [],
        "run directories to evaluate (default: all finished ones of the cell)",
        role="volatile",
        commas=False,
    )
    batch_size: int = flag(
        64, "examples per forward; changes memory, not results", role="volatile", minimum=1
    )


@dataclass
class SplitOptions(Options):
    """Forget split of questions and documents"""

    split: str | None = flag(
        None, "forget split of the cell (default: the benchmark's)", role="key"
    )


@dataclass
class QuestionOptions(Options):
    """Questions (TOFU's metrics)"""

    max_new_tokens: int = flag(
        256, "length limit of greedy generation, as in renjie3/GRUN's grun_eval.py", minimum=1
    )
    gibberish: str | None = flag(
        None,
        "classifier of fluency, by folder or hub id "
        "(madhurjindal/autonlp-Gibberish-Detector-492513457)",
        role="volatile",
    )
    truth_ratio: str = flag(
        SummaryOptions.truth_ratio,
        "truth ratio variant of the aggregates",
        choices=tuple(tofu.TRUTH_RATIOS),
        role="volatile",
    )
    es_no_match: str = flag(
        SummaryOptions.es_no_match,
        "extraction strength where the last token is wrong: 0 or, as upstream, 1/N",
        choices=ES_NO_MATCH,
        role="volatile",
    )
    privacy_score: str = flag(
        SummaryOptions.privacy_score,
        "s of the privacy aggregate",
        choices=tuple(aggregates.PRIVACY_SCORES),
        role="volatile",
    )


@dataclass
class DocumentOptions(Options):
    """Documents (MUSE's metrics)"""

    muse_mode: str = flag(
        "muse",
        "whose rules aggregate: the benchmark's or OpenUnlearning's (ou)",
        choices=muse.MODES,
        role="volatile",
    )
    prompt_space: bool = flag(
        True, "KnowMem's prompt ends in a space, as published; --no-prompt_space: in its colon"
    )


@dataclass
class MultipleChoiceOptions(Options):
    """Multiple choice (WMDP's and MMLU's accuracies)"""

    forget_tests: list[str] = flag(
        ["wmdp_bio", "wmdp_cyber"],
        "tests of what is forgotten: lm-eval tasks, topics of the embedded world, files",
        commas=False,
    )
    retain_tests: list[str] = flag(["mmlu"], "tests of what is kept", commas=False)
    mcq: str = flag(
        "letters",
        "letters: A. to D. as lm-eval's wmdp; cloze: the answers themselves; grun: the rule of "
        "GRUN's script",
        choices=MCQ_STYLES,
    )
    limit: int | None = flag(None, "ask the first questions of every test alone", minimum=1)

    @property
    def tests(self) -> dict[str, str]:
        """Test -> forget or retain."""
        forget = dict.fromkeys(self.forget_tests, "forget")
        return forget | dict.fromkeys(self.retain_tests, "retain")


@dataclass
class QuestionConfig:
    """The evaluator "questions"."""

    RECIPE = "questions"
    run: RunOptions = group(RunOptions)
    data: DataOptions = group(DataOptions)
    cell: CellOptions = group(CellOptions)
    split: SplitOptions = group(SplitOptions)
    questions: QuestionOptions = group(QuestionOptions)


@dataclass
class DocumentConfig:
    """The evaluator "documents"."""

    RECIPE = "documents"
    run: RunOptions = group(RunOptions)
    data: DataOptions = group(DataOptions)
    cell: CellOptions = group(CellOptions, batch_size=32)
    split: SplitOptions = group(SplitOptions)
    documents: DocumentOptions = group(DocumentOptions)


@dataclass
class MultipleChoiceConfig:
    """The evaluator "multiple_choice"."""

    RECIPE = "multiple_choice"
    run: RunOptions = group(RunOptions)
    data: DataOptions = group(DataOptions)
    cell: CellOptions = group(CellOptions, batch_size=32)
    multiple_choice: MultipleChoiceOptions = group(MultipleChoiceOptions)


@dataclass
class AnyEvaluatorConfig:
    """Every flag of every evaluator: what the command line may hold before --benchmark is read."""

    UPSTREAM = EVALUATION

    run: RunOptions = group(RunOptions)
    data: DataOptions = group(DataOptions)
    cell: CellOptions = group(CellOptions)
    split: SplitOptions = group(SplitOptions)
    questions: QuestionOptions = group(QuestionOptions)
    documents: DocumentOptions = group(DocumentOptions)
    multiple_choice: MultipleChoiceOptions = group(MultipleChoiceOptions)

"""Ten questions a run: five to be forgotten, five to be kept, with the true answer, the target's,
the run's, and the gate (import only).

Which ones: of each side three that are spread evenly over its rows, the same for every run, and the
two on which this run does worst: it tells most of what should be forgotten, or least of what should
be kept (ROUGE-L recall; a told value before one that is not).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from eval.report.collect import FinishedRun, RunSet
from eval.report.plots.gates import name_layers
from eval.report.reference_runs import find_target
from eval.report.rows import Rows, read_rows
from eval.report.summary import evaluated_folders

EVEN = 3
WORST = 2
HALF = 0.5
SIDES = {"forget": ("forget",), "keep": ("retain", "heldout")}
SET_NAMES = {"forget": "to be forgotten", "retain": "to be kept", "heldout": "held-out, to be kept"}
HOW_CHOSEN = (
    f"Of the questions to be forgotten and of those to be kept each {EVEN} that are spread evenly "
    f"over the set, the same for every run, and the {WORST} on which the run does worst (most "
    "told, or least kept)."
)


@dataclass(frozen=True)
class Answer:
    """One question; target is None where the target was not evaluated, rouge and leaked where they
    were not measured; gates: (layer, value) of gated models.
    """

    set_name: str
    question: str
    truth: str
    target: str | None
    answer: str
    rouge: float | None
    leaked: bool | None
    gates: tuple[tuple[str, float], ...]

    @property
    def is_bad(self) -> bool:
        """Whether what should be forgotten is told, or what should be kept is not, by the value
        where it is known, else by more or less than half of the answer.
        """
        told = self.leaked
        if told is None and self.rouge is not None:
            told = self.rouge > HALF
        return told is not None and told == (self.set_name == "forget")


@dataclass(frozen=True)
class RunAnswers:
    """The chosen questions of one run."""

    section: str
    run: str
    answers: list[Answer]

    @property
    def bad(self) -> int:
        """How many of them went wrong."""
        return sum(answer.is_bad for answer in self.answers)


def collect_answers(runs: RunSet) -> tuple[list[RunAnswers], list[str]]:
    """The answers of every evaluated run but the target, and a sentence on each run whose files
    cannot be read.
    """
    found = []
    problems = []
    for run in runs.select("questions"):
        if run.config["objective"] == "target":
            continue
        for folder in evaluated_folders(run):
            try:
                if run.belongs_to(folder.name):
                    found += read_answers(run, folder)
            except (OSError, KeyError, TypeError, ValueError) as error:
                problems.append(f"no answers of {folder} ({type(error).__name__}: {error})")
    return sorted(found, key=rank_run), problems


def rank_run(answers: RunAnswers) -> tuple:
    """Sorts by section; in each the methods, then controls, then references."""
    objective = answers.run.partition("-")[0]
    last = ("control", "reference")
    return answers.section, last.index(objective) if objective in last else -1, answers.run


def read_answers(run: FinishedRun, folder: Path) -> list[RunAnswers]:
    """The answers of one evaluation; nothing where no question was answered."""
    sets = read_rows(folder)
    target = find_target(folder)
    target_sets = read_rows(target / "eval" / folder.name) if target else {}
    answers = []
    for side, names in SIDES.items():
        rows = [(name, row) for name in names for row in sets.get(name, []) if "generation" in row]
        for name, row in choose_rows(rows, measure_fault(side)):
            answers.append(make_answer(run, name, row, target_sets.get(name, [])))
    if not answers:
        return []
    section = ", ".join((run.key["benchmark"], run.key["model"], folder.name))
    return [RunAnswers(section, run.path.name, answers)]


def measure_fault(side: str) -> Callable[[dict], float]:
    """row -> how badly it went: a told value counts as more than any recall."""
    if side == "forget":
        return measure_told
    return lambda row: -measure_told(row)


def measure_told(row: dict) -> float:
    """The recall, plus 1 where the value is told."""
    return (row.get("leaked") or 0) + (row.get("rougeL_recall") or 0)


def choose_rows(rows: list[tuple[str, dict]], fault: Callable[[dict], float]) -> Iterable:
    """EVEN rows spread evenly, then the WORST of the others, as (set name, row)."""
    count = min(EVEN, len(rows))
    even = [int((2 * i + 1) * len(rows) / (2 * count)) for i in range(count)]
    others = [place for place in range(len(rows)) if place not in even]
    others.sort(key=lambda place: -fault(rows[place][1]))
    return [rows[place] for place in [*even, *others[:WORST]]]


def make_answer(run: FinishedRun, set_name: str, row: dict, target: Rows) -> Answer:
    """One question, with the target's answer to the same one."""
    asked = (row["question"], row["answer"])
    same = [other for other in target if (other["question"], other["answer"]) == asked]
    values = row.get("gates") or []
    return Answer(
        set_name,
        row["question"],
        row["answer"],
        same[0].get("generation") if same else None,
        row["generation"],
        row.get("rougeL_recall"),
        row.get("leaked"),
        tuple(zip(name_layers(run, len(values)), values, strict=False)) if values else (),
    )

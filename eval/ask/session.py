"""One line of a session at a time: a question, or a command that begins with a slash.

The session keeps the last two questions, which the attacks use.
"""

import itertools
from collections.abc import Iterator

from eval.ask.asked_run import AskedRun
from eval.ask.attacks import ATTACKS, Question
from eval.ask.display import FILTER_GATE, GATES, STACK_GATES, Display
from eval.ask.questions import SIDES, read_sides
from unlearn.benchmarks.examples import Example
from unlearn.language_model.answers import Answer

EXAMPLES = 3  # of each side that /examples prints
HELP = {
    "examples": "questions of the run's data, to be forgotten and to be kept",
    "help": "this list",
    "quit": "end, as ctrl-D does",
}


class Session:
    """Questions to one run."""

    def __init__(self, run: AskedRun, display: Display):
        self.run = run
        self.display = display
        self.ended = False
        self.last: str | None = None
        self.before: str | None = None
        self.base_answer: str | None = None
        self._sides: dict[str, list[Example]] | None = None
        self._explained = False

    def reply(self, line: str) -> Iterator[str]:
        """Yield the lines that a line of input is answered with, as they come.

        Raises `ValueError` for an unknown command, and whatever cannot be asked."""
        line = line.strip()
        if not line:
            return
        if not line.startswith("/"):
            yield from self.ask(line)
            return
        name, _, argument = line[1:].partition(" ")
        if name in ATTACKS:
            yield from self.attack(name, argument.strip())
        elif name in HELP:
            yield from getattr(self, f"_{name}")()
        else:
            names = ", ".join(f"/{known}" for known in (*ATTACKS, *HELP))
            raise ValueError(f"/{name} is unknown; choose one of {names}, or ask a question")

    def ask(self, question: str) -> Iterator[str]:
        """Yield the lines of the answer to a question."""
        if not question.strip():
            raise ValueError("the question is empty; give some words")
        answer = self.run.ask(self.run.eval_model.prompt_encoder.prompt_ids(question))
        if question != self.last:
            self.before = self.last
        self.last = question
        self.base_answer = answer.base_answer
        yield from self.display.answer(answer)
        yield from self._explain(answer)

    def attack(self, name: str, argument: str) -> Iterator[str]:
        """Yield the lines of an attack on the last question, one form after the other."""
        if self.last is None:
            raise ValueError(f"/{name} attacks the last question; ask one first")
        question = Question(
            self.last,
            self.base_answer,
            self.before,
            self.run.eval_model.prompt_encoder,
            self.read_sides,
        )
        for form in ATTACKS[name](question, argument):
            yield ""
            yield from self.display.wrap("asked", form.title)
            answer = self.run.ask(form.prompt)
            yield from self.display.answer(answer, form.prefix)
            yield from self._explain(answer)

    def read_sides(self) -> dict[str, list[Example]]:
        """The questions of the run's data, read once. Raises `ValueError` as `read_sides` does."""
        if self._sides is None:
            self._sides = read_sides(self.run.values, self.run.splits)
        return self._sides

    def _explain(self, answer: Answer) -> Iterator[str]:
        """Yield what the gates mean, where they are printed for the first time."""
        if not answer.gates or self._explained:
            return
        self._explained = True
        hooks = self.run.eval_model.adapter_hooks
        text = FILTER_GATE if hooks is None else GATES if hooks.is_single else STACK_GATES
        yield from self.display.wrap("", text)

    def _examples(self) -> Iterator[str]:
        sides = self.read_sides()
        for side in SIDES:
            label = {"forget": "forget", "retain": "keep"}[side]
            for example in itertools.islice(sides[side], EXAMPLES):
                yield from self.display.wrap(label, example.question)

    def _help(self) -> Iterator[str]:
        yield "Type a question; a line that begins with a slash is a command."
        attacks = {name: " ".join(build.__doc__.split()) for name, build in ATTACKS.items()}
        for name, text in (attacks | HELP).items():
            yield f"/{name}"
            yield from self.display.wrap("", text)

    def _quit(self) -> Iterator[str]:
        self.ended = True
        yield from ()

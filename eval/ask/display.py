"""Answers and gates as lines of text that fit a terminal (import only)."""

import shutil
import textwrap
from dataclasses import dataclass

from unlearn.config.terminal import printable
from unlearn.language_model.answers import Answer

LABEL = 8  # columns of `answer`, `base` and `gate`
NUMBER = 6  # columns of a gate's value
NARROWEST, WIDEST = 24, 100  # columns of a line
LONGEST_BAR = 40
BLOCKS = "\u2588\u2591"  # full and light
ASCII_BLOCKS = "#."
NONE = "-"
GATES = (
    "gate: how far each layer's edit is open on this prompt, 0 shut, 1 open; in Python "
    "model.grun.gates, [layers, prompts]"
)
STACK_GATES = (
    "gate: how far each request's edit of a layer is open on this prompt, 0 shut, 1 open; in "
    "Python model.grun.gates, [requests, layers, prompts]"
)
FILTER_GATE = "gate: 1 where the filter refuses the prompt before the model sees it, else 0"


@dataclass(frozen=True)
class Display:
    """width: columns of a line; encoding: that of the terminal, which decides what a bar is of."""

    width: int = 80
    encoding: str = "utf-8"

    @classmethod
    def of_terminal(cls, encoding: str | None) -> "Display":
        """The display of the terminal, as wide as it is now."""
        columns = shutil.get_terminal_size().columns
        return cls(min(max(columns, NARROWEST), WIDEST), encoding or "ascii")

    def plain(self, text: str) -> str:
        """`text` without anything that a terminal would obey or cannot show."""
        return printable(text, self.encoding)

    def wrap(self, label: str, text: str | None) -> list[str]:
        """A label and its text, wrapped beside it; line breaks of the text stay."""
        shown = NONE if text is None else text or "(nothing)"
        lines = [
            line
            for part in shown.split("\n")
            for line in textwrap.wrap(self.plain(part), self.width - LABEL) or [""]
        ]
        labels = [label, *[""] * (len(lines) - 1)]
        return [f"{head:{LABEL}}{line}".rstrip() for head, line in zip(labels, lines, strict=True)]

    def bars(self, gates: dict[str, float]) -> list[str]:
        """One line per gate: its name, its value and a bar."""
        names = [self.plain(name) for name in gates]
        longest = min(max(map(len, names), default=0), self.width - LABEL - NUMBER - 5)
        size = min(self.width - LABEL - longest - NUMBER - 1, LONGEST_BAR)
        full, empty = self._blocks()
        lines = []
        for name, gate in zip(names, gates.values(), strict=True):
            filled = round(gate * size)
            bar = full * filled + empty * (size - filled)
            label = "" if lines else "gate"
            lines.append(f"{label:{LABEL}}{name[:longest]:{longest}}{gate:{NUMBER}.2f} {bar}")
        return lines

    def _blocks(self) -> str:
        try:
            BLOCKS.encode(self.encoding)
        except UnicodeEncodeError:
            return ASCII_BLOCKS
        return BLOCKS

    def answer(self, answer: Answer, prefix: str = "") -> list[str]:
        """The lines of an answer: its own, the base's, the gates. prefix: the words that the
        answer was made to begin with."""
        given = f"[{prefix}] " if prefix else ""
        base = None if answer.base_answer is None else given + answer.base_answer
        return [
            *self.wrap("answer", given + answer.answer),
            *self.wrap("base", base),
            *(self.bars(answer.gates) or self.wrap("gate", None)),
        ]

"""What a grid prints while it runs: one line of progress for each running command."""

import shutil
import sys
import threading
import time

from unlearn.grid.commands import STAGES, Command

QUIET_SECONDS = 20  # between the progress lines of one command where there is no terminal


def format_duration(seconds: float) -> str:
    """`50 s`, `4 min`, `2.5 h`: about how long something takes."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class Stage:
    """Counts the commands of one stage, and estimates how long the rest takes from those that were
    run: their mean seconds, times the commands left, over how many run at once."""

    def __init__(self, commands: list[Command], at_once: int):
        self.name = STAGES[commands[0].stage]
        self.total = len(commands)
        self.at_once = at_once
        self.begun = 0
        self.done = 0
        self.seconds: list[float] = []

    def begin(self) -> str:
        """`cell 3 of 12, about 4 min left`, as the next command begins."""
        self.begun += 1
        return f"{self.name} {self.begun} of {self.total}{self.time_left()}"

    def end(self, seconds: float | None) -> None:
        """Count a command that has ended; None for one that was skipped."""
        self.done += 1
        if seconds is not None:
            self.seconds.append(seconds)

    def time_left(self) -> str:
        """`, about 4 min left`; "" before the first command has ended."""
        if not self.seconds or self.done == self.total:
            return ""
        mean = sum(self.seconds) / len(self.seconds)
        return f", about {format_duration(mean * (self.total - self.done) / self.at_once)} left"


class Screen:
    """Lines of several commands that run at once. In a terminal the last line of each stands at the
    bottom; elsewhere each line has its command's name in front."""

    def __init__(self, stream=None):
        self.stream = stream or sys.stdout
        self.lock = threading.RLock()
        self.live: dict[str, str] = {}  # label of a running command -> its last line
        self.printed: dict[str, float] = {}
        self.shown = 0  # lines of the live part on the screen
        self.is_live = self.stream.isatty()

    def write(self, line: str) -> None:
        """Print a line that stays."""
        with self.lock:
            self.erase()
            print(line, file=self.stream, flush=True)
            self.draw()

    def update(self, label: str, line: str, is_done: bool) -> None:
        """Show what a running command has printed."""
        with self.lock:
            if not line.strip():
                return
            if self.is_live:
                self.live[label] = line
                self.erase()
                self.draw()
                return
            now = time.monotonic()
            if is_done or now - self.printed.get(label, 0) >= QUIET_SECONDS:
                self.printed[label] = now
                print(f"[{label}] {line}", file=self.stream, flush=True)

    def remove(self, label: str) -> None:
        """Take away the line of a command that has ended."""
        with self.lock:
            self.erase()
            self.live.pop(label, None)
            self.draw()

    def erase(self) -> None:
        """Remove the live part from the screen."""
        if self.shown:
            self.stream.write(f"\x1b[{self.shown}A\x1b[J")
            self.shown = 0

    def draw(self) -> None:
        """Write the live part again."""
        width = shutil.get_terminal_size().columns - 1
        for label, line in self.live.items():
            self.stream.write(f"[{label}] {line}"[:width] + "\n")
        self.shown = len(self.live)
        self.stream.flush()

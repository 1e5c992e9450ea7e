"""The processes of a grid: started, read and ended."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from unlearn.grid.commands import Command
from unlearn.processes import STOPPED

PATIENCE = 20  # seconds that an interrupted command has to tidy up
READ = 4096  # bytes


class Stopped(Exception):
    """The user has stopped the grid."""


class Processes:
    """The processes that run now. Each has a session of its own, so that ctrl-C reaches it once,
    from here, with every process that it started."""

    def __init__(self):
        self.lock = threading.Lock()
        self.running: set[subprocess.Popen] = set()
        self.stopped = False

    def start(self, argv: Sequence[str], environment: dict, merged: bool) -> subprocess.Popen:
        """A new process whose stdout is read here, and with `merged` its stderr too. Raises
        `Stopped` once the grid is stopped."""
        with self.lock:
            if self.stopped:
                raise Stopped
            process = subprocess.Popen(
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merged else None,
                start_new_session=True,
            )
            self.running.add(process)
            return process

    def end(self, process: subprocess.Popen) -> int:
        """Wait for a process; return its exit code."""
        code = process.wait()
        with self.lock:
            self.running.discard(process)
        return code

    def kill(self) -> None:
        """Kill every process."""
        for process in [*self.running]:
            send(process, signal.SIGKILL)

    def stop(self) -> int:
        """Interrupt every process, and kill what does not end; return how many there were."""
        with self.lock:
            self.stopped = True
            running = list(self.running)
        for process in running:
            send(process, signal.SIGINT)
        end = time.monotonic() + PATIENCE
        for process in running:
            try:
                process.wait(max(0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                send(process, signal.SIGKILL)
        return len(running)


def send(process: subprocess.Popen, number: signal.Signals) -> None:
    """Send a signal to a process and to all that it has started."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


@contextmanager
def stoppable(processes: Processes) -> Iterator[None]:
    """Within it, ctrl-C, SIGTERM and a closed terminal raise KeyboardInterrupt; a second one kills
    what still runs and ends this process."""
    stopped = []

    def stop(number, frame):
        if stopped:
            processes.kill()
            os._exit(STOPPED)
        stopped.append(number)
        raise KeyboardInterrupt

    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.signal(name, stop) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def read_lines(stream: IO[bytes]) -> Iterator[tuple[str, bool]]:
    """(line, whether it is done) as soon as each is written; a progress line ends in "\\r"."""
    rest = b""
    while chunk := os.read(stream.fileno(), READ):
        rest += chunk
        *lines, rest = rest.replace(b"\r\n", b"\n").replace(b"\r", b"\r\n").split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace")
            yield text.rstrip("\r"), not text.endswith("\r")
    if rest:
        yield rest.decode("utf-8", "replace"), True


def run_process(
    command: Command,
    python: str,
    environment: dict,
    processes: Processes,
    merged: bool,
    show: Callable[[str, bool], None],
) -> tuple[int, str]:
    """Run a command; return its exit code and what it printed. show(line, whether it is done)."""
    process = processes.start(command.argv(python), environment, merged)
    printed = []
    for line, is_done in read_lines(process.stdout):
        if is_done:
            printed.append(line + "\n")
        show(line, is_done)
    process.stdout.close()
    return processes.end(process), "".join(printed)

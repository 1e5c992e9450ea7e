"""The processes of one command.

accelerate's launcher starts NPROC of them; each runs the whole program, and the first one writes.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

PACKAGES = ("unlearn", "baselines", "grun", "rmu", "eval", "speed")
STOPPED = 130  # exit code after ctrl-C
STOPPED_LINE = "stopped; run the same command to go on"

loaded: list[bool] = []  # not empty once the command's imports are done


def is_main() -> bool:
    """Return whether this process prints and writes; a process without others does."""
    return int(os.environ.get("RANK", 0)) == 0


def count_processes() -> int:
    """Return the number of processes of this command."""
    return int(os.environ.get("WORLD_SIZE", 1))


def share(items: list) -> list:
    """Return the part of a list that this process works on; the parts make up the whole list."""
    return items[int(os.environ.get("RANK", 0)) :: count_processes()]


def gather(items: list) -> list:
    """Return the items of all processes, on every process, in the order of the processes."""
    if count_processes() == 1:
        return items
    # imported here: tables and plots need no torch, and start in a third of the time without it
    from torch import distributed

    if not distributed.is_initialized():
        # gloo for items on the CPU, as these are, beside the devices' own; accelerate uses it too
        distributed.init_process_group()
    parts: list = [None] * count_processes()
    distributed.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def wait() -> None:
    """Return once every process of the command has called it."""
    gather([])


def is_launched() -> bool:
    """Return whether torch's launcher has started this process, as accelerate's does."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@cache
def end_with_launcher() -> None:
    """From now on, this process ends at once where its launcher has ended before it, so that none
    is left behind one that was killed."""
    launcher = os.getppid()

    def watch():
        while os.getppid() == launcher:
            time.sleep(0.5)
        os._exit(STOPPED)

    threading.Thread(target=watch, daemon=True).start()


def says_stopped() -> bool:
    """Return whether this process says that the command was stopped; for those that a launcher
    has started, it does."""
    return is_main() and not is_launched()


def is_command() -> bool:
    """Return whether this process was started as `python -m` one of our modules."""
    words = sys.orig_argv
    module = words[words.index("-m") + 1 : words.index("-m") + 2] if "-m" in words else []
    return bool(module) and module[0].split(".")[0] in PACKAGES


def stop_quietly() -> None:
    """From now on, ctrl-C ends this command at once with one line and exit code 130, and a missing
    package is one line too.

    Our packages call this first: the imports that follow take seconds, nothing is saved meanwhile,
    and some libraries turn KeyboardInterrupt into errors of their own."""

    def stop(number, frame):
        # os.write: print must not be entered again while it runs
        os.write(2, f"{STOPPED_LINE}\n".encode() if says_stopped() else b"")
        os._exit(STOPPED)

    if is_command() and is_launched():
        end_with_launcher()
    if is_command() and not loaded:
        signal.signal(signal.SIGINT, stop)
        sys.excepthook = explain_missing_package


def explain_missing_package(kind, error, trace) -> None:
    """For a package that this Python lacks: one line that says what to do, and exit code 2. Any
    other exception is printed as ever."""
    name = (getattr(error, "name", None) or "").split(".")[0]
    if kind is not ModuleNotFoundError or not name or name in (*PACKAGES, "pyvene_custom"):
        sys.__excepthook__(kind, error, trace)
        return
    python = os.path.join(".venv", "bin", "python")
    made = "has them" if os.path.exists(python) else "is made by bash cmd_grun.sh and has them"
    print(
        f"error: {sys.executable} has no package {name}; .venv {made}: "
        f"run source .venv/bin/activate first, or write {python} for python",
        file=sys.stderr,
        flush=True,
    )
    sys.exit(2)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it, ctrl-C raises KeyboardInterrupt, so that half written files are removed.

    Whatever error it turns into, one line is printed and the exit code is 130; a second ctrl-C ends
    the process at once."""
    stopped = []

    def interrupt(number, frame):
        if stopped:
            os._exit(STOPPED)
        stopped.append(number)
        raise KeyboardInterrupt

    if is_command():
        loaded.append(True)
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except BaseException as error:
        if not (stopped or isinstance(error, KeyboardInterrupt)):
            raise
        if is_command():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if says_stopped():
            print(STOPPED_LINE, file=sys.stderr, flush=True)
        sys.exit(STOPPED)

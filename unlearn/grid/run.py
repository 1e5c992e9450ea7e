"""Runs the commands of a grid: one after another, or JOBS of them side by side."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from tempfile import NamedTemporaryFile

from unlearn.grid.commands import Command, count_cores, python_of
from unlearn.grid.processes import Processes, Stopped, run_process, stoppable
from unlearn.grid.progress import Screen, Stage, format_duration
from unlearn.grid.records import Records, digest_sources
from unlearn.grid.resources import Gpu, describe_needs, find_gpus
from unlearn.processes import STOPPED, STOPPED_LINE

LAST_LINES = 5  # of a failed command's output, told at the end where it was not printed


@dataclass
class Failure:
    """A command that failed, or was not started: why, and its exit code."""

    command: Command
    reason: str
    code: int
    output: str = ""


@dataclass
class Devices:
    """The GPUs that are free; a command takes one for each of its processes."""

    gpus: list[Gpu]
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self):
        self.total = len(self.gpus)

    def take(self, count: int, processes: Processes) -> list[Gpu]:
        """Return `count` GPUs once they are free; none where there are none to share out."""
        with self.changed:
            while self.total and len(self.gpus) < count and not processes.stopped:
                self.changed.wait(0.2)
            taken, self.gpus = self.gpus[:count], self.gpus[count:]
            return taken

    def give(self, gpus: list[Gpu]) -> None:
        """Take back what a command has used."""
        with self.changed:
            self.gpus = sorted([*self.gpus, *gpus], key=lambda gpu: gpu.name)
            self.changed.notify_all()


class GridRun:
    """One start of a grid."""

    def __init__(self, commands: Sequence[Command], runs: str, jobs: int, environment: dict):
        self.commands = list(commands)
        self.runs = runs
        self.jobs = jobs
        width = str(shutil.get_terminal_size().columns)  # of the tables: their stdout is a pipe
        self.environment = {"COLUMNS": width} | dict(environment)
        self.python = python_of(self.environment)
        self.records = Records(Path(runs))
        digest_sources()  # now: a program that is started after an edit must not count as unedited
        self.processes = Processes()
        self.screen = Screen()
        self.failures: list[Failure] = []
        self.missing: set[str] = set()  # targets that could not be made
        self.has_said_stopped = False  # a command that runs alone prints the line itself

    def run(self, checked: bool = False) -> int:
        """Run all commands; return the exit code: 0, or that of the first failure. With `checked`
        nothing is run unless the flags and data of all cells are right."""
        gpus = find_gpus(self.environment)
        pending = [command for command in self.commands if self.records.find(command) is None]
        self.prepare(pending, gpus)
        try:
            with stoppable(self.processes):
                if checked and not self.check(pending):
                    return 2
                for _, stage in groupby(self.commands, key=lambda command: command.stage):
                    self.run_stage(list(stage))
        except KeyboardInterrupt:
            if not self.has_said_stopped:
                print(STOPPED_LINE, file=sys.stderr, flush=True)
            return STOPPED
        return self.tell_failures()

    def prepare(self, pending: list[Command], gpus: list[Gpu]) -> None:
        """Say what the grid needs, and share out GPUs or cores. Raises `ValueError` for what this
        machine has not."""
        needs = describe_needs(pending, self.runs, self.jobs, gpus)
        if needs:
            print(needs, flush=True)
        self.devices = Devices(list(gpus) if self.jobs > 1 else [])
        if self.jobs == 1:
            return
        if gpus and self.jobs > len(gpus):
            raise ValueError(
                f"JOBS={self.jobs}: {len(gpus)} GPUs are here, and each job needs one; take "
                f"JOBS={len(gpus)}"
            )
        most = max((command.processes for command in pending), default=1)
        if gpus and most > len(gpus):
            raise ValueError(f"NPROC={most}: {len(gpus)} GPUs are here; take NPROC={len(gpus)}")
        if not gpus:
            threads = str(max(1, count_cores() // self.jobs))
            self.environment.setdefault("OMP_NUM_THREADS", threads)

    def check(self, pending: list[Command]) -> bool:
        """Whether the flags and data of all cells that are not finished are right; if they are not,
        it has been printed why."""
        cells = [
            [command.module, *command.words]
            for command in pending
            if command.stage in ("models", "cells")
        ]
        if not cells:
            return True
        with NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            json.dump(cells, file)
            file.flush()
            argv = [self.python, "-m", "unlearn.grid.check", file.name]
            process = self.processes.start(argv, self.environment, merged=False)
            process.stdout.close()
            return self.processes.end(process) == 0

    def run_stage(self, commands: list[Command]) -> None:
        """Run the commands of one stage, as many at once as there are jobs."""
        stage = Stage(commands, self.jobs)
        pool = ThreadPoolExecutor(self.jobs)
        futures = [pool.submit(self.run_one, command, stage) for command in commands]
        try:
            wait(futures)
        except KeyboardInterrupt:
            stopped = self.processes.stop()
            self.has_said_stopped |= bool(stopped) and self.jobs == 1
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        for future in futures:
            future.result()  # a bug of ours must not pass in silence

    def run_one(self, command: Command, stage: Stage) -> None:
        """Run one command, unless its record says that it would do nothing."""
        if self.processes.stopped:
            return
        position = stage.begin()
        if command.needs and command.needs in self.missing:
            reason = "not started: its target could not be made"
            self.failures.append(Failure(command, reason, 1))
            stage.end(None)
            return
        record = self.records.find(command)
        if record:
            line = f"+ {command.line(self.python)}"
            self.screen.write(f"{line}\n{describe_skipped(command, record)}")
            stage.end(None)
            return
        gpus = self.devices.take(command.processes, self.processes)
        try:
            if not self.processes.stopped:
                self.start(command, stage, position, gpus)
        except Stopped:
            pass
        finally:
            self.devices.give(gpus)

    def start(self, command: Command, stage: Stage, position: str, gpus: list[Gpu]) -> None:
        """Run a command on these GPUs; record it, or note its failure."""
        alone = self.jobs == 1
        line = f"+ {command.line(self.python)}"
        self.screen.write(f"{position}\n{line}" if stage.total > 1 else line)
        environment = self.environment | {"PYTHONUNBUFFERED": "1"}  # stdout is a pipe
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpu.name for gpu in gpus)
        label = command.label

        def show(line: str, is_done: bool) -> None:
            if self.processes.stopped:
                return
            if alone or command.stage == "report":
                self.screen.write(line)
            else:
                self.screen.update(label, line, is_done)

        inputs = self.records.inputs(command)
        began = time.monotonic()
        code, text = run_process(command, self.python, environment, self.processes, not alone, show)
        seconds = time.monotonic() - began
        self.screen.remove(label)
        stage.end(seconds)
        if self.processes.stopped:
            return
        if code:
            self.note_failure(command, code, "" if alone else text)
            return
        self.records.write(command, inputs, text)
        if not alone and command.stage != "report":
            done = f"{stage.name} done in {format_duration(seconds)}: {label}"
            self.screen.write(done + stage.time_left())

    def note_failure(self, command: Command, code: int, output: str) -> None:
        """Keep a failure for the end; without the target that it was to make, cells cannot run."""
        if code == STOPPED:  # somebody has interrupted this one command: the grid stops too
            self.has_said_stopped = self.jobs == 1
            os.kill(os.getpid(), signal.SIGINT)
            return
        self.failures.append(Failure(command, f"exit code {code}", code, output))
        self.screen.write(f"failed, see the end: {command.label}")
        if command.makes:
            self.missing.add(command.makes)

    def tell_failures(self) -> int:
        """Name what failed; return the exit code of the first failure, or 0."""
        if not self.failures:
            return 0
        lines = []
        for failure in self.failures:
            lines.append(f"{failure.reason}: {failure.command.line(self.python)}")
            last = [line for line in failure.output.splitlines() if line.strip()][-LAST_LINES:]
            lines += [f"    {line}" for line in last]
        print("\n".join(lines), file=sys.stderr)
        count = len(self.failures)
        total = len(self.commands)
        print(f"error: {count} of {total} commands failed, see above", file=sys.stderr, flush=True)
        code = self.failures[0].code
        return code if 0 < code < 128 else 1


def describe_skipped(command: Command, record: dict) -> str:
    """What a command that is not started would have said."""
    if command.stage in ("models", "cells"):
        lines = [f"skipped, finished before: {run}" for run in record["runs"]]
        return "\n".join(f"{line}  (--overwrite to run it again)" for line in lines)
    if command.stage == "report":
        return record["text"] + "skipped, nothing has changed since the report was made"
    return f"skipped, {'attacked' if command.stage == 'attacks' else 'evaluated'} before"

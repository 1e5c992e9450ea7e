"""Kill a forked child at its n-th file operation: before it, or in the middle of a write."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import safetensors.torch

OPERATIONS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}
KILLED = 9


class FileOperations:
    """Counts this process's operations below `folder`, and exits at number `last`.

    torn: a file that was to be written then holds half of it, instead of not being touched."""

    def __init__(self, folder: Path, last: int, torn: bool):
        self.folder = str(folder)
        self.last = last
        self.torn = torn
        self.count = 0

    def watch(self) -> None:
        """Begin; there is no way back, so only a child does this."""
        sys.addaudithook(self.hear)
        write = safetensors.torch.serialize_file

        def serialize_file(tensors, filename, metadata=None):
            self.strike(filename, b"\x40\0\0\0\0\0\0\0{")  # Rust opens it, which Python cannot see
            return write(tensors, filename, metadata)

        safetensors.torch.serialize_file = serialize_file

    def hear(self, event: str, arguments: tuple) -> None:
        """An audit hook: it is called before each operation."""
        if event not in OPERATIONS or isinstance(arguments[0], int):
            return
        path = os.fsdecode(arguments[0])
        if event == "open":
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not writes or not path.startswith(self.folder):
                return
            self.strike(path, b'{"step": 1, "lo')
        elif path.startswith(self.folder) or not os.path.isabs(path):  # rmtree names no folder
            self.strike(None, b"")

    def strike(self, path: str | Path | None, half: bytes) -> None:
        """Count one operation, and exit if it is the last one."""
        self.count += 1
        if self.count != self.last:
            return
        self.last = 0  # what follows is not counted again
        if self.torn and path is not None:
            with open(path, "ab") as file:
                file.write(half)
        os._exit(KILLED)


def run_child(command: Callable[[], None]) -> int:
    """Run a function in a forked child; return its exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # progress lines
        try:
            command()
            code = 0
        except BaseException:
            traceback.print_exc(file=sys.stdout)
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at(command: Callable[[], None], folder: Path, number: int, torn: bool = False) -> int:
    """Run `command` in a child that dies at its operation `number` below `folder`; return the
    exit code: KILLED, or 0 where it has fewer operations."""

    def killed_command():
        FileOperations(folder, number, torn).watch()
        command()

    return run_child(killed_command)

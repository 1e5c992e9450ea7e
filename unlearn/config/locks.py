"""One process at a time in a run directory.

The lock is flock's on a file in the directory, so it goes with its process, however that ends. The
file says who holds it. One command may hold several locks, each once.
"""

import atexit
import errno
import fcntl
import os
import time
from pathlib import Path
from typing import TextIO

from unlearn.config.files import HOST, writing
from unlearn.processes import gather, is_main

NAME = ".lock"
POLL_SECONDS = 0.2
ROUND_SECONDS = 60  # other processes of the command hear as often that the main one still waits

held: dict[Path, tuple[int, TextIO]] = {}  # directory -> process, open lock file


def lock_directory(path: Path) -> None:
    """Return once this command holds the directory; makes it. Waits for another command that holds
    it, and prints who that is.

    Every process of the command calls this, and the main one locks."""
    announced = False
    while True:
        locked = False
        if is_main():
            with writing(path):
                locked, announced = wait_for_lock(path, announced)
        if any(gather([locked])):
            return


def wait_for_lock(path: Path, announced: bool) -> tuple[bool, bool]:
    """(whether the lock was taken within ROUND_SECONDS, whether the wait was announced)."""
    end = time.monotonic() + ROUND_SECONDS
    while time.monotonic() < end:
        if take_lock(path):
            return True, announced
        if not announced:
            print(f"waits for {read_holder(path)}, which writes {path}", flush=True)
            announced = True
        time.sleep(POLL_SECONDS)
    return False, announced


def take_lock(path: Path) -> bool:
    """Take the lock if it is free; return whether this process holds it now."""
    key = path.resolve()
    if holds(key):
        return True
    path.mkdir(parents=True, exist_ok=True)
    file = open(path / NAME, "a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    except OSError as error:  # a file system without locks, such as some network ones
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
    if not is_same_file(file, path / NAME):  # its last holder has removed it meanwhile
        file.close()
        return False
    file.truncate(0)
    file.write(f"process {os.getpid()} on {HOST}")
    file.flush()
    held[key] = os.getpid(), file
    return True


def holds(key: Path) -> bool:
    """Whether this process took the lock, and its file is still there. A forked child did not."""
    pid, file = held.get(key, (None, None))
    return pid == os.getpid() and is_same_file(file, key / NAME)


def is_same_file(file: TextIO, path: Path) -> bool:
    """Whether an open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def read_holder(path: Path) -> str:
    """Who holds the lock of a directory, in words."""
    try:
        return (path / NAME).read_text(encoding="utf-8") or "another process"
    except FileNotFoundError:
        return "another process"


def release_directory(path: Path) -> None:
    """Give the lock back, if this process holds it; a directory that is empty then goes too."""
    key = path.resolve()
    pid, file = held.pop(key, (None, None))
    if pid != os.getpid():
        return
    if is_same_file(file, key / NAME):
        (key / NAME).unlink()
    file.close()
    try:
        key.rmdir()
    except OSError:  # it holds a run
        pass


@atexit.register
def release_all() -> None:
    """Give back every lock at the end of the process."""
    for path in [*held]:
        release_directory(path)

"""The processes of one command.

accelerate's launcher starts NPROC of them; each runs the whole program, and the first one writes.
"""

import os


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

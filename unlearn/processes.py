"""The processes of one command: accelerate's launcher starts NPROC of them, each runs the whole
program, and the first one writes."""

import os


def is_main() -> bool:
    """Whether this process is the one that prints and writes; the only process is."""
    return int(os.environ.get("RANK", 0)) == 0


def share(items: list) -> list:
    """The part of a list that this process works on; together they are the whole list."""
    return items[int(os.environ.get("RANK", 0)) :: int(os.environ.get("WORLD_SIZE", 1))]


def gather(items: list) -> list:
    """The items of all processes, on every process, in the order of the processes."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        return items
    from torch import (
        distributed,
    )  # here alone: tables and plots need no torch, and start in a third of the time without it

    if not distributed.is_initialized():
        # gloo for what lies on the CPU, as these items do, beside the devices' own; accelerate
        # takes it over
        distributed.init_process_group()
    found: list = [None] * world
    distributed.all_gather_object(found, items)
    return [item for part in found for item in part]


def wait() -> None:
    """Return once every process of the command has come here."""
    gather([])

"""Wall times of code paths, in seconds."""

import statistics
import time
from collections.abc import Callable

import torch


def wait_for(device: torch.device) -> None:
    """Block until all work that was queued on a device is done."""
    torch.get_device_module(device).synchronize()


def time_call(work: Callable[[], object], device: torch.device) -> float:
    """The wall time of one call, its work on the device included."""
    wait_for(device)
    start = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - start


def time_interleaved(
    paths: dict[str, Callable[[int], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """The wall time of every path in every round.

    A round calls each path once, with the round's number, and each round starts with the next path.
    So other load on the machine hits all paths alike, and so does what one path leaves in the
    processor's caches for another.
    """
    names = list(paths)
    seconds = {name: [] for name in paths}
    for number in range(rounds):
        first = number % len(names)
        for name in [*names[first:], *names[:first]]:
            path = paths[name]
            seconds[name].append(time_call(lambda path=path, n=number: path(n), device))
    return seconds


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    """The median of each path's rounds."""
    return {name: statistics.median(values) for name, values in seconds.items()}

"""What every benchmark does with its figures: time paths in turn, name the machine, write JSON and
Markdown, end with a line of JSON."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import psutil
import torch

from unlearn.config.run_directory import provenance, write_json, write_text


def wait_for(device: torch.device) -> None:
    """Until all work that was queued on a device is done."""
    torch.get_device_module(device).synchronize()


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, its device work included."""
    wait_for(device)
    began = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - began


def interleaved(
    paths: dict[str, Callable[[int], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of every path in every round; a round calls each path once with the round's number,
    and each round starts with the next path.

    What else the machine does then hits all paths alike, as does what one path leaves in the caches
    for another."""
    names = list(paths)
    found = {name: [] for name in paths}
    for number in range(rounds):
        turn = number % len(names)
        for name in [*names[turn:], *names[:turn]]:
            found[name].append(
                seconds_of(lambda name=name, number=number: paths[name](number), device)
            )
    return found


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine(device: torch.device) -> dict:
    """Processor, cores, threads, memory, load, and the accelerator if there is one."""
    module = torch.get_device_module(device)
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "system": platform.platform(),
        "accelerator": module.get_device_name(device)
        if hasattr(module, "get_device_name")
        else None,
    }


def processor() -> str:
    """The processor's name, with the vector instructions that matter; Linux says it in
    /proc/cpuinfo."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"


def spell(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)


def table(columns: list[str], rows: list[list]) -> str:
    """A Markdown table; None is a dash."""
    lines = [columns, ["---"] * len(columns), *([spell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def report(
    name: str,
    args,
    device: torch.device,
    figures: dict,
    tables: dict[str, str],
    details: dict | None = None,
) -> None:
    """Write <runs>/benchmarks/<name>.json and .md; print the tables, and `figures` as the last
    line.

    figures: flat, what the line says; tables: heading -> Markdown; details: more for the JSON file
    (every single timing, say)."""
    folder = Path(args.runs) / "benchmarks"
    state = provenance()
    here = machine(device)
    figures = {"benchmark": name} | {
        key: float(f"{value:.4g}") if isinstance(value, float) else value
        for key, value in figures.items()
    }
    full = (
        {"figures": figures, "flags": asdict(args), "machine": here}
        | state
        | {"details": details or {}}
    )
    write_json(folder / f"{name}.json", full)
    flags = "  ".join(f"{key}={value}" for key, value in asdict(args).items()).replace("|", "/")
    versions = ", ".join(f"{key} {value}" for key, value in state["versions"].items() if value)
    where = f"{here['accelerator'] or here['processor']}, {here['cores']} cores, {here['threads']} threads, load average {here['load_average'][0]}"
    sections = "\n".join(f"## {heading}\n\n{body}" for heading, body in tables.items())
    about = f"{where}  \n{versions}  \ngit {state['git']}{' with local changes' if state['dirty'] else ''}  \n`python -m benchmarks.{name}` with {flags}"
    write_text(folder / f"{name}.md", f"# {name}\n\n{about}\n\n{sections}")
    print(
        f"{where}\n\n{sections}\nwritten: {folder}/{name}.json and .md\n{json.dumps(figures)}",
        flush=True,
    )

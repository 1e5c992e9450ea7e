"""Write a measurement's figures as JSON and Markdown, with the machine they were taken on."""

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

import psutil
import torch

from speed.options import ShapeOptions
from unlearn.config.files import write_json, write_text
from unlearn.config.run_directory import provenance


def describe_machine(device: torch.device) -> dict:
    """Processor, cores, threads, memory, load, and the accelerator if there is one."""
    module = torch.get_device_module(device)
    has_name = hasattr(module, "get_device_name")
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "system": platform.platform(),
        "accelerator": module.get_device_name(device) if has_name else None,
    }


def processor_name() -> str:
    """The processor's name with its vector instructions; Linux has the name in /proc/cpuinfo."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def format_cell(value) -> str:
    """A number with four significant digits; None is a dash."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_table(columns: list[str], rows: list[list]) -> str:
    """A Markdown table."""
    cells = [[format_cell(value) for value in row] for row in rows]
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def report(
    name: str,
    options: ShapeOptions,
    figures: dict,
    tables: dict[str, str],
    details: dict | None = None,
) -> None:
    """Write <runs>/speed/<name>.json and .md; print the tables and, as the last line, `figures`.

    figures: a flat dict. tables: heading -> Markdown. details: more for the JSON file, such as
    every single timing.
    """
    folder = Path(options.runs) / "speed"
    state = provenance()
    machine = describe_machine(options.torch_device)
    rounded = {
        key: float(f"{value:.4g}") if isinstance(value, float) else value
        for key, value in figures.items()
    }
    figures = {"measurement": name} | rounded
    content = {"figures": figures, "flags": asdict(options), "machine": machine}
    write_json(folder / f"{name}.json", content | state | {"details": details or {}})
    where = (
        f"{machine['accelerator'] or machine['processor']}, {machine['cores']} cores, "
        f"{machine['threads']} threads, load average {machine['load_average'][0]}"
    )
    sections = "\n".join(f"## {heading}\n\n{body}" for heading, body in tables.items())
    about = "  \n".join([where, *describe_code(name, options, state)])
    write_text(folder / f"{name}.md", f"# {name}\n\n{about}\n\n{sections}")
    print(f"{where}\n\n{sections}\nwritten: {folder}/{name}.json and .md")
    print(json.dumps(figures), flush=True)


def describe_code(name: str, options: ShapeOptions, state: dict) -> list[str]:
    """Lines with library versions, git state, and the command with all its flags."""
    flags = "  ".join(f"{key}={value}" for key, value in asdict(options).items())
    versions = ", ".join(f"{key} {value}" for key, value in state["versions"].items() if value)
    return [
        versions,
        f"git {state['git']}{' with local changes' if state['dirty'] else ''}",
        f"`python -m speed.{name}` with {flags.replace('|', '/')}",
    ]

"""Peak memory of full fine-tuning with NPO over the same with GD: NPO's reference is kept as one
number an example, not as a second model.

    OMP_NUM_THREADS=2 python -m speed.memory
    python -m speed.memory --tuner lora --objectives gd kl undial

Each objective trains in a process of its own, on a random base of the given shape, and its peak
resident memory is what the system says of that process (on a GPU: of its host side).
ratio_<objective>: over the first objective's."""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from speed.report import report, table
from speed.workload import ShapeFlags, save_base
from unlearn.config.flags import flag, parse, run_command


@dataclass
class MemoryFlags(ShapeFlags):
    """What this benchmark can be told."""

    depth: int = flag(16, "decoder blocks")
    objectives: list[str] = flag(
        ["gd", "npo"], "objectives; the first is the measure of the others"
    )
    tuner: str = flag("full", "full or lora")
    steps: int = flag(4, "training steps")


def peak(words: list[str]) -> float:
    """MiB of a command's process at its most. Raises `ValueError` with its last line if it
    fails."""
    child = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    said = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)  # it is reaped: nobody need wait again
    if child.returncode:
        raise ValueError(
            f"{' '.join(words[:4])} failed: {said.strip().splitlines()[-1] if said.strip() else 'without a word'}"
        )
    return used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB here


def main(argv: list[str] | None) -> None:
    args, _, _ = parse(MemoryFlags, argv, lambda _: {}, __doc__)
    found = {}
    with tempfile.TemporaryDirectory() as room:
        base = save_base(args, Path(room))
        for name in args.objectives:
            words = [
                "--objective",
                name,
                "--tuner",
                args.tuner,
                "--target",
                str(base),
                "--runs",
                f"{room}/{name}",
                "--steps",
                str(args.steps),
            ]
            found[name] = peak(
                [
                    "-m",
                    "baselines.train",
                    *words,
                    "--batch",
                    str(args.batch),
                    "--device",
                    args.device,
                ]
            )
    first = found[args.objectives[0]]
    figures = {f"peak_mib_{name}": value for name, value in found.items()} | {
        f"ratio_{name}": found[name] / first for name in args.objectives[1:]
    }
    rows = [[name, value, value / first] for name, value in found.items()]
    report(
        "memory",
        args,
        args.where,
        figures,
        {
            "Peak memory of one process": table(
                ["objective", "MiB", f"over {args.objectives[0]}"], rows
            )
        },
    )


if __name__ == "__main__":
    run_command(main)

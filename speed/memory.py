"""Peak memory of full fine-tuning with NPO over the same with GD.

    OMP_NUM_THREADS=2 python -m speed.memory
    python -m speed.memory --tuner lora --objectives gd kl undial

NPO's reference is saved as one number an example, not as a second model. Each objective trains in a
process of its own, on a random base of the given shape. Its peak resident memory is what the system
reports of that process (on a GPU: of its host side). ratio_<objective>: over the first objective's.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from speed.options import ShapeOptions, parse_options
from speed.report import format_table, report
from speed.workload import save_base
from unlearn.config.flags import flag, run_command


@dataclass
class MemoryOptions(ShapeOptions):
    """The model, the objectives, and how they are trained."""

    depth: int = flag(16, "decoder layers")
    objectives: list[str] = flag(["gd", "npo"], "objectives; the others are compared to the first")
    tuner: str = flag("full", "full or lora")
    steps: int = flag(4, "training steps")


def measure_peak(command: list[str]) -> float:
    """The peak resident memory of a Python command, in MiB.

    Raises `ValueError` with the last line of its standard error if it fails.
    """
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    errors = process.stderr.read().strip().splitlines() or ["it printed no error"]
    _, status, usage = os.wait4(process.pid, 0)
    # set the exit code: the process is reaped, so Popen must not wait for it again
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ValueError(f"{' '.join(command[:4])} failed: {errors[-1]}")
    units_per_mib = 2**20 if sys.platform == "darwin" else 2**10  # bytes on a Mac, KiB on Linux
    return usage.ru_maxrss / units_per_mib


def main(argv: list[str] | None) -> None:
    options = parse_options(MemoryOptions, argv, __doc__)
    size = ["--steps", str(options.steps), "--batch", str(options.batch)]
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        target = ["--target", str(save_base(options, Path(folder)))]
        for objective in options.objectives:
            command = ["-m", "baselines.train", "--objective", objective, "--tuner", options.tuner]
            place = ["--runs", f"{folder}/{objective}", "--device", options.device]
            peaks[objective] = measure_peak([*command, *target, *size, *place])
    first, *others = options.objectives
    figures = {f"peak_mib_{name}": peak for name, peak in peaks.items()}
    figures |= {f"ratio_{name}": peaks[name] / peaks[first] for name in others}
    rows = [[name, peak, peak / peaks[first]] for name, peak in peaks.items()]
    table = format_table(["objective", "MiB", f"over {first}"], rows)
    report("memory", options, figures, {"Peak memory of one process": table})


if __name__ == "__main__":
    run_command(main)

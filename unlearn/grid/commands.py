"""One command of a grid, and how it is started."""

import os
import shlex
from dataclasses import dataclass

STAGES = {
    "models": "model",
    "cells": "cell",
    "evaluations": "evaluation",
    "attacks": "attack",
    "report": "report",
}


@dataclass(frozen=True)
class Command:
    """One program with its flags.

    stage       of the grid: all commands of one stage are done before the next begins
    model       the model of the cell; split: its forget split, or the split a model is trained on
    retain      the split of the references that an evaluation reads
    processes   that train together, through accelerate; accelerate: its configuration file
    makes       name of the target that the command makes; needs: of the one it starts from
    """

    module: str
    words: tuple[str, ...]
    stage: str
    model: str = ""
    split: str | None = None
    retain: str | None = None
    processes: int = 1
    accelerate: str = ""
    makes: str = ""
    needs: str = ""

    def argv(self, python: str) -> list[str]:
        """The words of the process. --multi_gpu is accelerate's word for several processes, on
        CPUs too; the program itself chooses device and precision."""
        if self.processes == 1:
            return [python, "-m", self.module, *self.words]
        how = ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no"]
        how += ["--dynamo_backend", "no", "--main_process_port", "0"]
        if self.accelerate:
            how = ["--config_file", self.accelerate]
        launcher = [python, "-m", "unlearn.grid.launch", *how]
        return [*launcher, "--num_processes", str(self.processes), "-m", self.module, *self.words]

    def line(self, python: str) -> str:
        """The command as it can be pasted into a shell."""
        return shlex.join(self.argv(python))

    @property
    def overwrites(self) -> bool:
        """Whether --overwrite stands among the flags."""
        return "--overwrite" in self.words

    def value(self, flag: str) -> str | None:
        """The value of a flag, the last where it stands twice; None without it."""
        values = [
            self.words[place + 1] for place, word in enumerate(self.words[:-1]) if word == flag
        ]
        values += [word.partition("=")[2] for word in self.words if word.startswith(f"{flag}=")]
        return values[-1] if values else None

    @property
    def label(self) -> str:
        """What distinguishes the command in a progress line: `npo-grun tiny forget10 seed 42`."""
        method = [self.value(f"--{name}") for name in ("objective", "tuner", "control")]
        program = self.module.split(".")[0]
        if self.module == "unlearn.training.finetune":
            method = ["target" if self.split == "full" else "reference"]
        elif not self.value("--tuner") and self.stage == "cells":
            method.append(program)
        elif self.stage != "cells":
            method = [STAGES[self.stage]]
        parts = ["-".join(word for word in method if word), self.model, self.split]
        for flag, name in (("lr", "lr"), ("layer_id", "layer"), ("data_seed", "data seed")):
            if self.value(f"--{flag}"):
                parts.append(f"{name} {self.value(f'--{flag}')}")
        for flag, name in (("target_seed", "target seed"), ("seed", "seed")):
            if self.value(f"--{flag}"):
                parts.append(f"{name} {self.value(f'--{flag}')}")
        return " ".join(part for part in parts if part)


def python_of(environment: dict[str, str]) -> str:
    """The Python that the scripts found."""
    return environment.get("PY") or "python"


def count_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

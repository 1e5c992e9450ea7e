"""Hours and memory of the papers' tables on one GPU of 80 GB: estimated, not measured.

    python -m speed.cost
    python -m speed.cost --papers grun-tofu --peak 990 --bandwidth 3350 --utilisation 0.3

From FLOPs and bytes of the commands that PAPER stands for (unlearn/grid/papers.py), with the
recipes' epochs and batches and the rows of TOFU's splits. N: parameters, T: tokens.

    all weights trained    6 N T (forward 2, backward 4)
    adapters, RMU          4 N T (forward 2, backward through the states 2); RMU up to its layer
    frozen reference       2 N T for NPO, KL and RMU's retain texts
    evaluation             2 N T for likelihoods and letters; a generated token reads all weights,
                           2 N bytes, for a batch at once
    hours = FLOPs / (peak x utilisation), or bytes / bandwidth where that is longer

GRUN's cached engine computes the layers above the first edit alone, so its hours are too many.
Memory is that of unlearn/grid/resources.py, without activations. Left out: loading, saving, and the
evaluation of stacked requests.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speed.report import format_table
from unlearn.benchmarks.registry import find_benchmark
from unlearn.config.experiment import parse_experiment
from unlearn.config.files import write_json, write_text
from unlearn.config.flags import Options, flag, run_command
from unlearn.config.recipes import recipe
from unlearn.grid.commands import Command
from unlearn.grid.papers import PAPERS
from unlearn.grid.plans import plan
from unlearn.grid.resources import (
    FROZEN,
    GIB,
    count_parameters,
    memory_needed,
    trains_all_weights,
)
from unlearn.grid.variables import read_variables

GPU_MEMORY = 80e9  # bytes
DEPTH = 32  # decoder layers of the papers' models
ROWS_PER_PERCENT = 40  # of TOFU: 4000 rows
ROWS_PER_AUTHOR = 20
# rows of TOFU's retain, real-author and world-fact sets, and the answers that are scored of each
RETAIN_SETS = ((400, 7), (100, 4), (117, 4))
FORGET_ANSWERS = 7  # the answer, its paraphrase, five wrong ones
LETTER_QUESTIONS = 1273 + 1987 + 14042  # wmdp_bio, wmdp_cyber, mmlu
ATTACKED_ROWS = 200  # 100 of each side
PACKED_FORMS = 5  # int8 and int4 by rounding, int8, fp4 and nf4 by bitsandbytes
TOPICS = 2
RMU_BATCH, RMU_UPDATES = 4, 80  # defaults of rmu.train
GRUN_TEXTS, GRUN_TEXT_TOKENS = 1000, 75  # a topic's; its summaries have 310 characters on average
BASELINE_REFERENCE = ("npo", "kl")


@dataclass
class CostOptions(Options):
    """The tables, the GPU and the lengths of texts."""

    runs: str = flag("runs", "folder in which speed/ is written")
    papers: list[str] = flag(list(PAPERS), "names of PAPER")
    peak: float = flag(312.0, "TFLOP/s of the GPU in bfloat16 (A100: 312, H100: 990)", above=0)
    bandwidth: float = flag(2039.0, "GB/s of the GPU's memory (A100 80 GB: 2039)", above=0)
    utilisation: float = flag(0.4, "assumed share of the peak", above=0, maximum=1)
    question_tokens: int = flag(70, "tokens of a question of TOFU with its answer", minimum=1)
    answer_tokens: int = flag(64, "tokens that are generated for a question", minimum=1)
    corpus_tokens: int = flag(512, "tokens of a text of the corpora", minimum=1)
    letter_tokens: int = flag(160, "tokens of a four-choice question", minimum=1)
    batch_size: int = flag(64, "questions that are generated for at once", minimum=1)

    def __post_init__(self):
        super().__post_init__()
        for name in self.papers:
            if name not in PAPERS:
                raise ValueError(f"--papers {name}: no such table; choose from {', '.join(PAPERS)}")

    def compute_seconds(self, flops: float) -> float:
        """Seconds of so many FLOPs."""
        return flops / (self.peak * 1e12 * self.utilisation)


def count_rows(split: str | None) -> int:
    """Rows of a split of TOFU: full, forget05, retain95, forget10a."""
    if split == "full":
        return 100 * ROWS_PER_PERCENT
    percent, author = re.fullmatch(r"(?:forget|retain)(\d+)([a-z]?)", split).groups()
    return ROWS_PER_AUTHOR if author else int(percent) * ROWS_PER_PERCENT


def read_value(command: Command, task: str, name: str, default):
    """The value of a flag: the command's, else the recipe's, else the default."""
    given = command.value(f"--{name}")
    if given is not None:
        return type(default)(given)
    words = ("benchmark", "objective", "tuner")
    cell = {word: command.value(f"--{word}") for word in words} | {"model": command.model}
    cell["objective"] = (cell["objective"] or "").removeprefix("gated_") or None
    return recipe(task, **cell).get(name, default)


def requested_splits(command: Command) -> list[str]:
    """The forget splits of a cell; those of its requests where these come one by one."""
    if "--splits" not in command.words:
        return [command.split]
    words = command.words[command.words.index("--splits") + 1 :]
    return [word for word in words if word.startswith("forget")]


def select_stage(commands: Sequence[Command], stage: str) -> list[Command]:
    """The commands of one stage."""
    return [command for command in commands if command.stage == stage]


def finetuning_flops(command: Command, options: CostOptions) -> float:
    """FLOPs of training a target."""
    epochs = read_value(command, "finetune", "epochs", 5.0)
    tokens = count_rows(command.split) * epochs * options.question_tokens
    return 6 * count_parameters(command.model) * tokens


def question_flops(command: Command, options: CostOptions) -> float:
    """FLOPs of unlearning questions: a forget and a retain example each, and the reference."""
    task = "grun" if command.module.startswith("grun") else "baselines"
    epochs = read_value(command, task, "epochs", 10.0)
    rows = sum(count_rows(split) for split in requested_splits(command)) * epochs
    each = 6 if trains_all_weights(command) else 4
    reference = 2 if command.value("--objective") in BASELINE_REFERENCE else 0
    parameters = count_parameters(command.model)
    return parameters * rows * options.question_tokens * (2 * each + reference)


def corpus_flops(command: Command, options: CostOptions) -> float:
    """FLOPs of unlearning corpora, by RMU up to its layer or by GRUN through all of them."""
    parameters = count_parameters(command.model)
    if command.module == "grun.train":
        texts = read_value(command, "grun", "epochs", 4.0) * GRUN_TEXTS * TOPICS
        return parameters * texts * GRUN_TEXT_TOKENS * (4 + 4 + 2)
    texts = read_value(command, "rmu", "max_num_batches", RMU_UPDATES) * RMU_BATCH
    share = (read_value(command, "rmu", "layer_id", 7) + 1) / DEPTH
    return parameters * share * texts * options.corpus_tokens * (4 + 4 + 2)


def generation_seconds(model: str, rows: int, options: CostOptions) -> float:
    """Seconds of answering `rows` questions, a batch at a time; every token reads all weights."""
    parameters = count_parameters(model)
    batches = -(-rows // options.batch_size)
    read = FROZEN * parameters / (options.bandwidth * 1e9)
    computed = options.compute_seconds(2 * parameters * options.batch_size)
    return batches * options.answer_tokens * max(read, computed)


def evaluation_seconds(command: Command, options: CostOptions) -> float:
    """Seconds of evaluating one run of a cell."""
    parameters = count_parameters(command.model)
    if command.split is None:
        tokens = LETTER_QUESTIONS * options.letter_tokens
        return options.compute_seconds(2 * parameters * tokens)
    forget = count_rows(command.split)
    if command.stage == "attacks":
        return PACKED_FORMS * generation_seconds(command.model, ATTACKED_ROWS, options)
    answers = forget * FORGET_ANSWERS * 2 + sum(rows * n for rows, n in RETAIN_SETS)
    scored = options.compute_seconds(2 * parameters * answers * options.question_tokens)
    rows = forget * 2 + sum(rows for rows, _ in RETAIN_SETS)  # and the paraphrased questions
    return scored + generation_seconds(command.model, rows, options)


def estimate_seconds(commands: Sequence[Command], options: CostOptions) -> dict[str, float]:
    """Stage -> seconds of its commands, one after another."""
    runs = Counter((command.model, command.split) for command in select_stage(commands, "cells"))
    for command in select_stage(commands, "cells"):
        if "--splits" in command.words:
            runs.update((command.model, split) for split in requested_splits(command))
    seconds = dict.fromkeys(("models", "cells", "evaluations"), 0.0)
    for command in commands:
        if command.stage == "models":
            seconds["models"] += options.compute_seconds(finetuning_flops(command, options))
        elif command.stage == "cells":
            contents = find_benchmark(command.value("--benchmark")).contents
            count = corpus_flops if contents == "corpora" else question_flops
            seconds["cells"] += options.compute_seconds(count(command, options))
        elif command.stage in ("evaluations", "attacks"):
            finished = runs[command.model, command.split] + 1  # and the target
            seconds["evaluations"] += finished * evaluation_seconds(command, options)
    return seconds


COLUMNS = ["command", "cells", "h: targets", "h: cells", "h: evaluation", "GiB: targets", "cells"]


def estimate(name: str, script: str, options: CostOptions) -> dict:
    """The cells, hours and largest memory of the commands of one start."""
    commands = plan(read_variables(script, {"PAPER": name}), [])
    seconds = estimate_seconds(commands, options)
    memory = {
        stage: max(map(memory_needed, select_stage(commands, stage)), default=0) / GIB
        for stage in ("models", "cells")
    }
    return {
        "command": f"PAPER={name} bash cmd_{script}.sh",
        "cells": len(select_stage(commands, "cells")),
        "hours": {stage: round(value / 3600, 2) for stage, value in seconds.items()},
        "memory_gib": {stage: round(value) for stage, value in memory.items()},
    }


def main(argv: list[str] | None) -> None:
    options = parse_experiment(CostOptions, argv, __doc__).config
    figures = [
        estimate(name, script, options)
        for name in options.papers
        for script in PAPERS[name].scripts
    ]
    rows = []
    for figure in figures:
        hours = [f"{value:.2f}" for value in figure["hours"].values()]
        memory = [value or None for value in figure["memory_gib"].values()]
        rows.append([f"`{figure['command']}`", figure["cells"], *hours, *memory])
    about = (
        f"Estimated from FLOPs and bytes, not measured: one GPU of 80 GB, {options.peak:g} TFLOP/s "
        f"at {options.utilisation:.0%}, {options.bandwidth:g} GB/s. GiB: the largest command, "
        f"without activations; what needs more than {GPU_MEMORY / GIB:.0f} must be shared out over "
        "several GPUs (NPROC, ACCELERATE), and its hours are those of all of them together."
    )
    table = format_table(COLUMNS, rows)
    folder = Path(options.runs) / "speed"
    write_text(folder / "cost.md", f"# cost\n\n{about}\n\n{table}")
    write_json(folder / "cost.json", {"about": about, "estimates": figures})
    print(f"{about}\n\n{table}\nwritten: {folder}/cost.json and .md", flush=True)


if __name__ == "__main__":
    run_command(main)

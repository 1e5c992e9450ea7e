"""Requests that come one by one: train an adapter for each, alone, against the original model, and
stack them.

    python -m grun.sequential --splits forget10a forget10b forget10c forget10d --objective idk
    SEQUENTIAL="forget10a forget10b" ./cmd_grun.sh

Every other flag is one of `python -m grun.train`. The stack is
runs/<benchmark>/<model>/sequential/<splits>/<run>/, a folder of requests (`grun.requests`) named by
their splits; `python -m eval.sequential` evaluates it.
"""

from dataclasses import dataclass

from grun.options import GrunConfig
from grun.request_stack import RequestStack
from grun.train import train_adapter
from unlearn.config.experiment import build_experiment, parse_experiment
from unlearn.config.flags import group, run_command
from unlearn.config.run_directory import Run
from unlearn.processes import is_main, wait
from unlearn.training.options import RequestOptions


@dataclass
class SequentialConfig(GrunConfig):
    """What a sequence of requests is configured by."""

    requests: RequestOptions = group(RequestOptions)

    def __post_init__(self):
        self.requests.check(self.target)
        super().__post_init__()


def stack_runs(splits: list[str], runs: list[Run]) -> RequestStack:
    """The stack of these finished runs, in order. An adapter that was trained again replaces the
    one in it."""
    folder = runs[0].path.parents[1] / "sequential" / "+".join(splits) / runs[0].path.name
    with RequestStack(folder).locked() as stack:
        for split, run in zip(splits, runs, strict=True):
            if split in stack.names:
                stack.remove(split)
            stack.add(split, run.path / "adapter", run.result["train_seconds"])
    return stack


def main(argv: list[str] | None) -> None:
    sequence = parse_experiment(SequentialConfig, argv, __doc__)
    splits = sequence.config.requests.splits
    given = {name: value for name, value in sequence.given.items() if name != "splits"}
    runs = [
        Run(train_adapter(build_experiment(GrunConfig, given | {"split": split})))
        for split in splits
    ]
    if is_main():
        stack = stack_runs(splits, runs)
        print(f"stacked {len(stack.entries)} requests: {stack.folder}", flush=True)
    wait()


if __name__ == "__main__":
    run_command(main)

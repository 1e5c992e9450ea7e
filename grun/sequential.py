"""Requests that come one by one: train an adapter for each, alone, against the original model, and
stack them.

    python -m grun.sequential --splits forget10a forget10b forget10c forget10d --objective idk
    SEQUENTIAL="forget10a forget10b" ./cmd_grun.sh                       for each model, objective
                                                                         and seed; evaluated, with
                                                                         table and plot

Every other flag is one of `python -m grun.train`. The stack is
runs/<benchmark>/<model>/sequential/<splits>/<run>/, a folder of requests (`grun.requests`) named by
their splits; `python -m eval.sequential` evaluates it."""

from pathlib import Path

from grun.requests import Requests
from grun.train import grun, read
from unlearn.config.flags import Parser, run_command
from unlearn.config.run_directory import Run
from unlearn.processes import is_main, wait


def stack_of(splits: list[str], runs: list[Run]) -> Requests:
    """The stack of these finished runs, in order. An adapter that was trained again replaces the
    one in it."""
    folder = runs[0].path.parents[1] / "sequential" / "+".join(splits) / runs[0].path.name
    with Requests(folder).locked() as stack:
        for split, run in zip(splits, runs, strict=True):
            if split in stack.names:
                stack.remove(split)
            stack.add(split, run.path / "adapter", run.result["train_seconds"])
    return stack


def main(argv: list[str] | None) -> None:
    parser = Parser(prog="python -m grun.sequential", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--splits",
        nargs="+",
        required=True,
        help="the forget split of each request, in the order they come",
    )
    args, others = parser.parse_known_args(argv)
    if len(set(args.splits)) < len(args.splits):
        raise ValueError(
            f"--splits {' '.join(args.splits)}: every request needs a split of its own"
        )
    if "--split" in others or "--tofu_split" in others:
        raise ValueError("--split is one request; name all of them with --splits")
    runs = [Run(Path(grun(*read([*others, "--split", split])))) for split in args.splits]
    if is_main():
        stack = stack_of(args.splits, runs)
        print(f"stacked {len(stack.rows)} requests: {stack.folder}", flush=True)
    wait()


if __name__ == "__main__":
    run_command(main)

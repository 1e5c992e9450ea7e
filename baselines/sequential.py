"""Requests that come one by one, for tuners that change the model: each is unlearned from what the
one before left (MUSE's sustainability).

    python -m baselines.sequential --splits forget_sust1 forget_sust2 forget_sust3 forget_sust4
    --benchmark muse --objective gd
    BENCHMARK=muse SEQUENTIAL="forget_sust1 forget_sust2" ./cmd_baseline.sh      for each model,
                                                                                 objective and seed;
                                                                                 evaluated, with
                                                                                 table and plot

Every other flag is one of `python -m baselines.train`; --tuner full alone, since an adapter is of
one base model (GRUN: grun.sequential). The model after k requests is the run of the k-th split,
runs/<benchmark>/<model>/<split>/<run>/; its config names the model it started from."""

from pathlib import Path

from baselines.train import baseline, read
from unlearn.config.flags import Parser, run_command


def main(argv: list[str] | None) -> None:
    parser = Parser(prog="python -m baselines.sequential", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--splits",
        nargs="+",
        required=True,
        help="the forget split of each request, in the order they come",
    )
    asked, others = parser.parse_known_args(argv)
    if len(set(asked.splits)) < len(asked.splits):
        raise ValueError(
            f"--splits {' '.join(asked.splits)}: every request needs a split of its own"
        )
    if "--split" in others or "--tofu_split" in others:
        raise ValueError("--split is one request; name all of them with --splits")
    before: Path | None = None
    for split in asked.splits:
        args, origins, plain = read([*others, "--split", split])
        if args.tuner != "full":
            raise ValueError(
                f"--tuner {args.tuner}: the next request starts from a whole model; pass --tuner full"
            )
        if before:
            args.target = plain.target = str(
                before
            )  # in both, so that no directory is named after a chain of others
            origins = origins | {"target": "flag"}
        before = baseline(args, origins, plain)


if __name__ == "__main__":
    run_command(main)

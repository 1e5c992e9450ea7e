"""Unlearn requests that come one by one, with a tuner that changes the model.

Each request is unlearned from the model that the one before left (the sustainability of MUSE, Shi
et al. 2024, arXiv 2407.06460).

    python -m baselines.sequential --benchmark muse --objective gd
        --splits forget_sust1 forget_sust2 forget_sust3 forget_sust4
    BENCHMARK=muse SEQUENTIAL="forget_sust1 forget_sust2" ./cmd_baseline.sh

The other flags are those of `python -m baselines.train`. Only --tuner full can go on from a changed
model: a LoRA belongs to one base model (for GRUN: grun.sequential). The model after k requests is
the run of the k-th split, runs/<benchmark>/<model>/<split>/<run>/; its config names the model that
it started from.
"""

from dataclasses import dataclass
from pathlib import Path

from baselines.options import BaselineConfig
from baselines.train import train_baseline
from unlearn.config.experiment import build_experiment, parse_experiment
from unlearn.config.flags import group, run_command
from unlearn.training.options import RequestOptions


@dataclass
class SequentialConfig(BaselineConfig):
    """What a sequence of requests is configured by."""

    requests: RequestOptions = group(RequestOptions)

    def __post_init__(self):
        self.requests.check(self.target)
        super().__post_init__()
        if self.tuning.tuner != "full":
            raise ValueError(
                f"--tuner {self.tuning.tuner}: the next request starts from a whole model; pass "
                "--tuner full"
            )
        if self.objective.objective == "whp":
            raise ValueError(
                "--objective whp leaves two models, and the next request starts from one; take "
                "task_vector"
            )


def main(argv: list[str] | None) -> None:
    sequence = parse_experiment(SequentialConfig, argv, __doc__)
    given = {name: value for name, value in sequence.given.items() if name != "splits"}
    before: Path | None = None
    for split in sequence.config.requests.splits:
        given["split"] = split
        inherited = {}
        if before:
            # Not as a flag of this run: its directory would be named after the whole chain.
            given.pop("target", None)
            inherited["target"] = str(before)
        before = train_baseline(build_experiment(BaselineConfig, dict(given), inherited))


if __name__ == "__main__":
    run_command(main)

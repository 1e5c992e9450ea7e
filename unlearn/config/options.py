"""Option groups that every command shares: where runs live, and which data they are about."""

from dataclasses import dataclass

from unlearn.config.flags import Options, flag
from unlearn.config.ranges import SEED_LIMIT


@dataclass
class RunOptions(Options):
    """Run"""

    runs: str = flag("runs", "folder of all run directories", role="volatile")
    seed: int = flag(
        42, "seed of the generators of this run", role="key", minimum=0, below=SEED_LIMIT
    )
    device: str = flag("auto", "auto, cpu, cuda, cuda:1 or mps", role="volatile")
    dtype: str = flag(
        "auto",
        "precision of the weights; auto is bfloat16 on CUDA for models from a hub, else float32",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    attn: str = flag(
        "auto",
        "attention implementation: auto, sdpa, eager, flash_attention_2",
        role="volatile",
    )
    overwrite: bool = flag(False, "replace a finished run", role="volatile")
    verbose: bool = flag(
        False, "print the defaults too; rmu: log norms and cosines of the states", role="volatile"
    )


@dataclass
class DataOptions(Options):
    """Data"""

    benchmark: str = flag("authors", "benchmark", role="key")
    data_dir: str | None = flag(
        None,
        "folder with the benchmark's files; without it, what is not embedded comes from the hub",
        role="volatile",
    )
    authors: int | None = flag(
        None, "number of authors (authors: 40; tofu: all 200)", role="data", minimum=1
    )
    heldout: int | None = flag(
        None,
        "authors kept from every unlearning step (authors: 8 more; tofu: 0)",
        role="data",
        minimum=0,
    )
    data_seed: int = flag(
        0, "seed of the embedded generator", role="data", minimum=0, below=SEED_LIMIT
    )
    idk_file: str | None = flag(None, "refusals, one a line (default: the benchmark's own)")

    def opening(self) -> dict:
        """The arguments of `unlearn.benchmarks.opening.open_benchmark`."""
        return {
            "name": self.benchmark,
            "data_dir": self.data_dir,
            "authors": self.authors,
            "data_seed": self.data_seed,
            "heldout": self.heldout,
            "idk_file": self.idk_file,
        }

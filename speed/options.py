"""The flags that all measurements share: the model's shape and the size of the data."""

from dataclasses import dataclass

import torch

from unlearn.config.experiment import parse_experiment
from unlearn.config.flags import Options, flag
from unlearn.language_model.devices import resolve_device

FIRST_TOKEN = 3  # of the drawn texts; pad, BOS and EOS come before it


@dataclass
class ShapeOptions(Options):
    """The model and the data of a measurement."""

    runs: str = flag("runs", "folder in which speed/ is written")
    seed: int = flag(42, "seed of weights, lengths and batches")
    device: str = flag("auto", "auto, cpu, cuda, mps")
    dtype: str = flag("float32", "float32, bfloat16, auto")
    depth: int = flag(32, "decoder layers")
    hidden: int = flag(512, "hidden size")
    heads: int = flag(8, "attention heads")
    kv_heads: int = flag(2, "key-value heads")
    intermediate: int | None = flag(None, "width of the MLP (default: 11/4 of the hidden size)")
    vocabulary: int = flag(2048, "vocabulary entries")
    layers: list[int] = flag([20, 25, 31], "edited layers")
    rank: int = flag(4, "rank of the edit")
    gate: str = flag("linear", "gate of the edit")
    batch: int = flag(16, "forget examples a step, and as many retain examples")
    forget: int = flag(200, "forget examples (forget05: 200)")
    retain: int = flag(3800, "retain examples (retain95: 3800)")
    data_dir: str | None = flag(
        None, "folder of TOFU's files: its own texts instead of drawn lengths"
    )

    def __post_init__(self):
        super().__post_init__()
        for name in ("depth", "hidden", "heads", "kv_heads", "batch", "forget", "retain"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least 1")
        if self.vocabulary <= FIRST_TOKEN:
            raise ValueError(f"--vocabulary {self.vocabulary}: must be at least {FIRST_TOKEN + 1}")

    @property
    def torch_device(self) -> torch.device:
        """The device that --device names."""
        return resolve_device(self.device)

    @property
    def mlp_width(self) -> int:
        """The width of the MLP."""
        return self.intermediate or self.hidden * 11 // 4


def parse_options(options: type[ShapeOptions], argv: list[str] | None, doc: str) -> ShapeOptions:
    """Parse the command line of a measurement."""
    return parse_experiment(options, argv, doc).config

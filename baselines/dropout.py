"""Dropout whose mask follows from (seed, step, pass, example, layer, position) alone.

torch's own draws one mask for a whole batch, so it changes with the micro-batch, the number of
processes and the padding. Here each example has a generator of its own in every layer.
"""

from collections.abc import Sequence
from hashlib import sha256

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn


class DropoutRows:
    """Which examples the rows of a forward pass hold, for all dropout layers of a model.

    They stay until the next pass, because gradient checkpointing runs the layers again in the
    backward pass, on CUDA in another thread."""

    def __init__(self):
        self.keys: list[str] = []
        self.spans: list[slice] = []
        self.width = 0

    def set(self, keys: Sequence[str], attention_mask: Tensor) -> None:
        """keys: the name of each row, which its masks follow from; attention_mask: [B, T] int64, 1
        on the tokens of each row, which stand together."""
        self.keys = list(keys)
        self.width = attention_mask.shape[1]
        starts = attention_mask.argmax(1).tolist()
        lengths = attention_mask.sum(1).tolist()
        self.spans = [slice(s, s + n) for s, n in zip(starts, lengths, strict=True)]


class ExampleDropout(nn.Module):
    """Dropout of a share p of the inputs [B, T, d] or [B * T, d]: x m / (1 - p), m in {0, 1}.

    name: what tells this layer's masks from those of other layers and seeds. Padding becomes 0."""

    def __init__(self, p: float, name: str, rows: DropoutRows):
        super().__init__()
        self.p = p
        self.name = name
        self.rows = rows

    def forward(self, x: Tensor) -> Tensor:
        """Raises `ValueError` for an input whose rows are not the tokens of the batch."""
        if not self.training:
            return x
        rows = self.rows
        shape = (len(rows.spans), rows.width, x.shape[-1])
        if x.numel() != torch.Size(shape).numel():
            raise ValueError(
                f"the layer {self.name} reads {list(x.shape)}, not every token of the batch, so "
                "its dropout cannot be drawn per example; pass --lora_dropout 0, or other "
                "--lora_targets"
            )
        assert len(rows.keys) == len(rows.spans), "a training step names its examples"
        generator = torch.Generator(x.device)
        scale = torch.zeros(shape, device=x.device)
        for row, (key, span) in enumerate(zip(rows.keys, rows.spans, strict=True)):
            generator.manual_seed(seed_of_text(f"{self.name} {key}"))
            scale[row, span].uniform_(generator=generator)
            scale[row, span] = (scale[row, span] >= self.p) / (1 - self.p)
        return x * scale.view_as(x).to(x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def seed_of_text(text: str) -> int:
    """A seed of 63 bits that follows from a text; torch's generator on a CPU reads 32 of them."""
    return int.from_bytes(sha256(text.encode()).digest()[:8]) >> 1


def draw_per_example(model: PeftModel, seed: int) -> DropoutRows:
    """Replace the dropout of a model's LoRA layers; return the rows that they draw for."""
    rows = DropoutRows()
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        for adapter, layer in module.lora_dropout.items():
            if isinstance(layer, nn.Dropout):
                module.lora_dropout[adapter] = ExampleDropout(layer.p, f"{seed} {name}", rows)
    return rows

"""Guards: what decides, before the language model speaks, whether a question is refused. No number
of the model is changed.

    probe     a linear function of one block's output at the last prompt token, above a threshold
              guard.json, guard.safetensors
    keyword   the name of an author of the forget set stands in the prompt
              guard.json

Such systems nearly max TOFU's output metrics (arXiv 2403.03329, 2410.02879), so a gated method has
to be compared with them."""

import random
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unlearn.config.run_directory import read_json, replace_directory, write_json
from unlearn.language_model.hidden_states import compute_states, right_pad


@dataclass
class InputFilter:
    """kind: `probe` (fires where w . h + b > threshold, h [d] the output of block `layer`) or
    `keyword` (fires on a name, as whole words, whatever its case); refusals: one of them, which
    follows from the prompt, is the answer where it fires."""

    kind: str
    refusals: list[str]
    layer: int = 0
    bias: float = 0.0
    threshold: float = 0.0
    names: list[str] = field(default_factory=list)
    weight: Tensor | None = None

    def fires(self, model: nn.Module, tokenizer, prompts: list[list[int]]) -> Tensor:
        """[B] bool: which prompts are refused."""
        device = next(model.parameters()).device
        if self.kind == "probe":
            return (
                last_states(model, self.layer, prompts, tokenizer.pad_token_id)
                @ self.weight.to(device)
                + self.bias
                > self.threshold
            )
        pattern = re.compile(r"\b(" + "|".join(map(re.escape, self.names)) + r")\b", re.IGNORECASE)
        return torch.tensor(
            [bool(pattern.search(tokenizer.decode(prompt))) for prompt in prompts], device=device
        )

    def refusal(self, prompt: list[int]) -> str:
        return random.Random(f"refusal {prompt}").choice(self.refusals)

    def save(self, directory: Path) -> None:
        """Write directory/guard, whole or not at all."""
        numbers = {name: value for name, value in asdict(self).items() if name != "weight"}

        def write(folder: Path):
            write_json(folder / "guard.json", numbers)
            if self.weight is not None:
                save_file({"weight": self.weight.contiguous()}, folder / "guard.safetensors")

        replace_directory(directory / "guard", write)

    @classmethod
    def load(cls, directory: Path) -> "InputFilter":
        """Read what `save` wrote."""
        weights = directory / "guard" / "guard.safetensors"
        return cls(
            **read_json(directory / "guard" / "guard.json"),
            weight=load_file(weights)["weight"] if weights.exists() else None,
        )


@torch.no_grad()
def last_states(model: nn.Module, layer: int, prompts: list[list[int]], pad_id: int) -> Tensor:
    """[B, d] float32: the output of block `layer` at each prompt's last token."""
    ids, mask = right_pad(prompts, pad_id, next(model.parameters()).device)
    return compute_states(model, layer, ids, mask)[
        torch.arange(len(prompts), device=ids.device), mask.sum(1) - 1
    ].float()

"""The adapter: GRUN's trained numbers, one gated LoReFT edit per layer, as a small folder.

    adapter.safetensors    per layer: rotate_layer [d, r], weight [r, d], bias [r], gate_func.* (float32)
    adapter.json           base model (id, revision, fingerprint), layers, rank, gate, position rule, prompt, recipe
"""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pyvene_custom import GATES, LoreftIntervention
from unlearn.models import blocks, check_layers, hidden_size
from unlearn.runs import read_json, replace_directory, write_json

FORMAT = 1
POSITION = "last_prompt_token"


@dataclass(frozen=True)
class AdapterConfig:
    """What adapter.json holds. gate `none` means an ungated edit; dtype is that of W, b and the gate."""

    layers: list[int]
    rank: int = 4
    gate: str = "linear"
    gate_bias: float | None = None
    dtype: str = "float32"
    position: str = POSITION
    base: dict = field(default_factory=dict)
    prompt: dict = field(default_factory=dict)
    recipe: dict = field(default_factory=dict)
    format: int = FORMAT


class Adapter(nn.Module):
    """h' = h + sigmoid(G(h)) R (W h + b - R^T h) at the last prompt token, on the output of each listed decoder block.

    Initial weights follow from `seed`; the global generators are left alone. Raises `ValueError` on an unknown gate, a layer the
    model does not have, or a rank beyond the hidden size."""

    def __init__(self, model: nn.Module, config: AdapterConfig, seed: int = 0):
        super().__init__()
        if config.gate not in ("none", *GATES):
            raise ValueError(f"--gate {config.gate} is unknown; choose one of none, {', '.join(GATES)}")
        layers = check_layers(config.layers, len(blocks(model)))
        width = hidden_size(model)
        if not 1 <= config.rank <= width:
            raise ValueError(f"--rank {config.rank}: must be between 1 and this model's hidden size, {width}")
        self.config = config
        gate = None if config.gate == "none" else config.gate
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            units = {str(layer): LoreftIntervention(width, config.rank, gate, config.gate_bias, getattr(torch, config.dtype)) for layer in layers}
        self.edits = nn.ModuleDict(units).to(next(model.parameters()).device)

    @property
    def layers(self) -> list[int]:
        return [int(layer) for layer in self.edits]

    @property
    def trainable_params(self) -> int:
        """2 d r + r + |G| per layer (spec 3.1)."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def edit(self, layer: int, h: Tensor) -> tuple[Tensor, Tensor | None]:
        """h [..., d] -> (h' [..., d], gate logits [...] float32 or None)."""
        return self.edits[str(layer)].edit(h)

    def save(self, directory: str | Path) -> None:
        """Write the folder whole or not at all."""
        tensors = {f"{layer}.{name}": value.contiguous().cpu() for layer, edit in self.edits.items() for name, value in edit.state_dict().items()}

        def write(temporary: Path):
            save_file(tensors, temporary / "adapter.safetensors")
            write_json(temporary / "adapter.json", asdict(self.config))

        replace_directory(directory, write)

    @classmethod
    def load(cls, model: nn.Module, directory: str | Path) -> "Adapter":
        """Read a folder for `model`. Raises `ValueError` for a folder that is not one, a newer format, damage, or another base model."""
        directory = Path(directory)
        if not (directory / "adapter.json").exists():
            raise ValueError(f"{directory} holds no adapter.json; give the `adapter` folder of a finished GRUN run")
        stored = read_json(directory / "adapter.json")
        if stored.get("format") != FORMAT:
            raise ValueError(f"{directory} has adapter format {stored.get('format')}; this version reads {FORMAT}: update the repository")
        config = AdapterConfig(**stored)
        kept, found = config.base.get("fingerprint"), fingerprint(model)
        if kept != found:
            raise ValueError(f"{directory} belongs to the base model {config.base.get('id')} (fingerprint {kept}), not to this one ({found})")
        adapter = cls(model, config)
        try:
            tensors = load_file(directory / "adapter.safetensors")
            for layer, edit in adapter.edits.items():
                mine = {name.removeprefix(f"{layer}."): value for name, value in tensors.items() if name.startswith(f"{layer}.")}
                edit.load_state_dict(mine)
        except (SafetensorError, FileNotFoundError, RuntimeError) as error:
            raise ValueError(f"{directory}/adapter.safetensors is damaged or does not fit its adapter.json: {str(error).splitlines()[0]}") from None
        return adapter.requires_grad_(False).eval()


def fingerprint(model: nn.Module) -> str:
    """16 hex digits over names, shapes and the first 32 numbers (float32) of every weight: tells base models apart, cheaply."""
    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(weight.detach().flatten()[:32].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]

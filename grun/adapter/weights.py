"""The adapter: GRUN's trained numbers, one gated LoReFT edit per layer, as a small folder.

adapter.safetensors    per layer: rotate_layer [d, r], weight [r, d], bias [r], gate_func.*
                       (float32)
adapter.json           base model (id, revision, fingerprint), layers, rank, gate, position rule,
                       prompt, recipe, sha256 of the above
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import get_type_hints

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from grun.adapter.edit_policy import EditPolicy
from grun.adapter.metric_gate import MetricGate
from pyvene_custom import GATES, LoreftIntervention
from unlearn.config.run_directory import read_json, replace_directory, write_json
from unlearn.language_model.models import check_layers, decoder_layers, hidden_size

FORMAT = 1
POSITION = "last_prompt_token"
DTYPES = ("float32", "bfloat16")
CONFIG = "adapter.json"
WEIGHTS = "adapter.safetensors"
QUANTISED = "quantised"  # in a fingerprint: its matrices are packed and cannot be compared
SMALLEST = 2.0**-10  # float16 and bfloat16 agree on bfloat16 numbers from here on
ORTHONORMAL = 1e-3  # largest entry of |R^T R - I| from which training may go on


@dataclass(frozen=True)
class AdapterConfig:
    """What adapter.json holds. gate `none` means an ungated edit; dtype is that of W, b and the
    gate."""

    layers: list[int]
    rank: int = 4
    gate: str = "linear"
    gate_bias: float | None = None
    dtype: str = "float32"
    position: str = POSITION
    base: dict = field(default_factory=dict)
    prompt: dict = field(default_factory=dict)
    recipe: dict = field(default_factory=dict)
    reach: dict = field(
        default_factory=dict
    )  # GRUN+: what `grun.inference.token_gate_hooks.EditPolicy` is told
    format: int = FORMAT


class Adapter(nn.Module):
    """h' = h + sigmoid(G(h)) R (W h + b - R^T h) at the last prompt token, on the output of each
    listed decoder block.

    Initial weights follow from `seed`; the global generators are left alone. frozen: R is kept as
    plain numbers, which is all that use needs (training needs a d x d basis per layer besides).
    Raises `ValueError` on an unknown gate, a layer the model does not have, or a rank beyond the
    hidden size."""

    def __init__(
        self, model: nn.Module, config: AdapterConfig, seed: int = 0, frozen: bool = False
    ):
        super().__init__()
        if config.gate not in ("none", *GATES):
            raise ValueError(
                f"--gate {config.gate} is unknown; choose one of none, {', '.join(GATES)}"
            )
        if config.dtype not in DTYPES:
            raise ValueError(
                f"the dtype {config.dtype!r} of an adapter is unknown; it is one of {', '.join(DTYPES)}"
            )
        layers = check_layers(config.layers, len(decoder_layers(model)))
        width = hidden_size(model)
        if not 1 <= config.rank <= width:
            raise ValueError(
                f"--rank {config.rank}: must be between 1 and this model's hidden size, {width}"
            )
        self.config = config
        self.choices = EditPolicy(**config.reach)
        self.door: MetricGate | None = None  # a gate in closed form, fitted once
        gate = None if config.gate == "none" else config.gate
        dtype = getattr(torch, config.dtype)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.edits = nn.ModuleDict(
                {
                    str(layer): LoreftIntervention(
                        width, config.rank, gate, config.gate_bias, dtype, frozen=frozen
                    )
                    for layer in layers
                }
            )
        for layer, edit in self.edits.items():
            edit.to(next(decoder_layers(model)[int(layer)].parameters()).device)

    @property
    def layers(self) -> list[int]:
        return [int(layer) for layer in self.edits]

    @property
    def trainable_params(self) -> int:
        """2 d r + r + |G| per layer (spec 3.1)."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @property
    def n_bytes(self) -> int:
        """Memory of all its numbers, a training basis included."""
        return sum(t.numel() * t.element_size() for t in (*self.parameters(), *self.buffers()))

    def edit(self, layer: int, h: Tensor) -> tuple[Tensor, Tensor | None]:
        """h [..., d] -> (h' [..., d], gate logits [...] float32 or None)."""
        return self.edits[str(layer)].edit(h)

    def change(self, layer: int, h: Tensor) -> tuple[Tensor, Tensor | None]:
        """h [..., d] -> (h' - h [..., d] float32, gate logits [...] float32 or None); moves to h's
        device if it is elsewhere."""
        unit = self.edits[str(layer)]
        if unit.learned_source.weight.device != h.device:
            unit.to(h.device)
        return unit.change(h)

    def save(self, directory: str | Path) -> None:
        """Write the folder whole or not at all."""
        tensors = {
            f"{layer}.{name}": value.contiguous().cpu()
            for layer, edit in self.edits.items()
            for name, value in edit.state_dict().items()
        }
        if self.door is not None:
            tensors |= {
                f"door.{self.door.layer}.{name}": value.contiguous().cpu()
                for name, value in self.door.state_dict().items()
            }
        write_folder(directory, self.config, tensors)

    @classmethod
    def load(cls, model: nn.Module, directory: str | Path, trainable: bool = False) -> "Adapter":
        """Read a folder for `model`, frozen, or to go on training with. Raises `ValueError` as
        `read_folder` does, for another base model, and for numbers that do not fit."""
        config, tensors = read_folder(directory)
        kept = config.base["fingerprint"]
        found = fingerprint(model)
        if not same_base(kept, found):
            raise ValueError(
                f"{directory} belongs to the base model {config.base['id']} (fingerprint {kept}), not to this one ({found})"
            )
        return cls.of(model, config, tensors, trainable, str(directory))

    @classmethod
    def of(
        cls,
        model: nn.Module,
        config: AdapterConfig,
        tensors: dict[str, Tensor],
        trainable: bool = False,
        name: str = "the adapter",
    ) -> "Adapter":
        """The adapter of these numbers. Raises `ValueError` where they do not fit `config`, or are
        to be trained on and R is not orthonormal."""
        adapter = cls(model, config, frozen=not trainable)
        try:
            for layer, edit in adapter.edits.items():
                edit.load_state_dict(
                    {
                        key.removeprefix(f"{layer}."): value
                        for key, value in tensors.items()
                        if key.startswith(f"{layer}.")
                    }
                )
            adapter.door = MetricGate.from_tensors(tensors)
            if (adapter.door is None) == (adapter.choices.fit == "metric"):
                raise ValueError(
                    "a gate in closed form needs its numbers, and only such a gate has them"
                )
            adapter.door = adapter.door and adapter.door.to(next(model.parameters()).device)
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"{name}: the weights do not fit {CONFIG}: {str(error).splitlines()[-1].strip()}"
            ) from None
        if trainable:
            off = max(distance_to_orthonormal(edit.rotation()) for edit in adapter.edits.values())
            if off > ORTHONORMAL:
                raise ValueError(
                    f"{name} can be used but not trained on: R is not orthonormal (|R^T R - I| up to {off:.2g})"
                )
            return adapter
        return adapter.requires_grad_(False).eval()


def write_folder(directory: str | Path, config: AdapterConfig, tensors: dict[str, Tensor]) -> None:
    """Write an adapter folder whole or not at all."""

    def write(temporary: Path):
        save_file(tensors, temporary / WEIGHTS)
        write_json(temporary / CONFIG, asdict(config) | {"sha256": sha256(temporary / WEIGHTS)})

    replace_directory(directory, write)


def read_config(directory: str | Path) -> tuple[AdapterConfig, str]:
    """adapter.json and the sha256 it names. Raises `ValueError` for a folder that is no adapter, a
    newer format, missing or unknown keys, and values of another type than theirs."""
    path = Path(directory) / CONFIG
    if not path.exists():
        raise ValueError(
            f"{directory} holds no {CONFIG}; give the `adapter` folder of a finished GRUN run"
        )
    stored = read_json(path)
    found = stored.get("format") if isinstance(stored, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"{directory} has adapter format {found}; this version reads {FORMAT}: update the repository"
        )
    for problem in complaints(stored):
        raise ValueError(f"{path} is damaged: {problem}")
    digest = stored.pop("sha256")
    return AdapterConfig(**stored), digest


def complaints(stored: dict) -> Iterator[str]:
    """What is wrong with the contents of an adapter.json; each may be asked for only where those
    before it are not."""
    types = get_type_hints(AdapterConfig) | {"layers": list, "sha256": str}
    yield from (f"{name} is missing" for name in ("layers", "base", "sha256") if name not in stored)
    for name, value in stored.items():
        if name not in types:
            yield f"{name} is no key of an adapter"
        elif not isinstance(value, types[name]):
            yield f"{name} is {value!r}"
    yield from (f"layers has {layer!r}" for layer in stored["layers"] if not isinstance(layer, int))
    yield from (
        f"base.{name} is missing"
        for name in ("id", "fingerprint")
        if not isinstance(stored["base"].get(name), str)
    )
    yield from (
        f"reach.{name} is unknown"
        for name in stored.get("reach", {}).keys() - {f.name for f in fields(EditPolicy)}
    )


def read_folder(directory: str | Path) -> tuple[AdapterConfig, dict[str, Tensor]]:
    """Settings and numbers of an adapter folder, without a model. Raises `ValueError` as
    `read_config` does, and for changed or broken weights."""
    config, digest = read_config(directory)
    weights = Path(directory) / WEIGHTS
    if not weights.exists():
        raise ValueError(f"{weights} is missing: the adapter is incomplete")
    if sha256(weights) != digest:
        raise ValueError(
            f"{weights} is damaged or was changed: its sha256 is not the one in {CONFIG}"
        )
    try:
        return config, load_file(weights)
    except SafetensorError as error:
        raise ValueError(f"{weights} is damaged: {str(error).splitlines()[0]}") from None


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def distance_to_orthonormal(rotation: Tensor) -> float:
    """max |R^T R - I| of R [d, r]."""
    rotation = rotation.detach()
    return float(
        (rotation.T @ rotation - torch.eye(rotation.shape[1], device=rotation.device)).abs().max()
    )


def fingerprint(model: nn.Module) -> str:
    """Two groups of 12 hex digits that tell base models apart, cheaply: over vectors and
    embeddings, and over the other matrices.

    Each covers names, shapes and 32 numbers spread over every weight, as bfloat16 and without the
    smallest, so that a checkpoint loaded as float32 or bfloat16 (or float16, unless it was made in
    float32) has one fingerprint. A quantised model packs its matrices: `quantised`."""
    embeddings = {
        id(p)
        for module in (model.get_input_embeddings(), model.get_output_embeddings())
        if module is not None
        for p in module.parameters()
    }
    soft = hashlib.sha256()
    hard = hashlib.sha256()
    packed = bool(getattr(model, "is_quantized", False))
    for name, weight in model.named_parameters():
        if weight.is_meta:
            raise ValueError(
                f"{name} is not in memory (offloaded), so the base model cannot be recognised; load it on devices alone"
            )
        digest = soft if weight.dim() == 1 or id(weight) in embeddings else hard
        if packed and digest is hard:
            continue
        numbers = weight.detach().flatten()[:: max(1, weight.numel() // 32)][:32].float().cpu()
        numbers = torch.where(numbers.abs() < SMALLEST, 0.0, numbers).bfloat16().float()
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(numbers.numpy().tobytes())
    return f"{soft.hexdigest()[:12]}-{QUANTISED if packed else hard.hexdigest()[:12]}"


def same_base(kept: str, found: str) -> bool:
    """Whether two fingerprints may belong to one base model: equal, but for the matrices of a
    quantised one."""
    soft, _, hard = kept.partition("-")
    other_soft, _, other_hard = found.partition("-")
    return soft == other_soft and (hard == other_hard or QUANTISED in (hard, other_hard))

"""The adapter folder on disk: settings and tensors, read and written without a model.

adapter.json          base model (id, revision, fingerprint), layers, rank, gate, position, prompt,
                      recipe, edit_policy, format, sha256 of the tensors' file
adapter.safetensors   per layer: <layer>.rotate_layer [d, r], <layer>.weight [r, d], <layer>.bias
                      [r], <layer>.gate_func.*; of a closed-form gate: metric_gate.<layer>.*
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import get_type_hints

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from grun.adapter.edit_policy import EditPolicy
from unlearn.config.files import read_json, replace_directory, write_json

FORMAT = 2
POSITION = "last_prompt_token"
CONFIG = "adapter.json"
WEIGHTS = "adapter.safetensors"


@dataclass(frozen=True)
class AdapterConfig:
    """The contents of adapter.json.

    gate: `none` for an ungated edit, or one of `pyvene_custom.GATES`; dtype: that of W, b and the
    gate; prompt: template, style and system prompt that it was trained in; answer_tag: the token
    ids that end each of its prompts; edit_policy: the fields of `EditPolicy`, empty for plain GRUN.
    """

    layers: list[int]
    rank: int
    gate: str = "linear"
    gate_bias: float | None = None
    dtype: str = "float32"
    position: str = POSITION
    base: dict = field(default_factory=dict)
    prompt: dict = field(default_factory=dict)
    answer_tag: list[int] = field(default_factory=list)
    recipe: dict = field(default_factory=dict)
    edit_policy: dict = field(default_factory=dict)
    format: int = FORMAT


def write_folder(directory: str | Path, config: AdapterConfig, tensors: dict[str, Tensor]) -> None:
    """Write an adapter folder whole or not at all."""

    def write(temporary: Path):
        save_file(tensors, temporary / WEIGHTS)
        write_json(temporary / CONFIG, asdict(config) | {"sha256": sha256(temporary / WEIGHTS)})

    replace_directory(directory, write)


def read_folder(directory: str | Path) -> tuple[AdapterConfig, dict[str, Tensor]]:
    """Return settings and tensors of an adapter folder.

    Raises `ValueError` as `read_config` does, and for changed or broken weights.
    """
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


def read_config(directory: str | Path) -> tuple[AdapterConfig, str]:
    """Return the contents of adapter.json and the sha256 that it names.

    Raises `ValueError` for a folder that is no adapter, another format, missing or unknown keys,
    and values of a wrong type.
    """
    path = Path(directory) / CONFIG
    if not path.exists():
        raise ValueError(
            f"{directory} holds no {CONFIG}; give the `adapter` folder of a finished GRUN run"
        )
    stored = read_json(path)
    check_format(directory, stored.get("format") if isinstance(stored, dict) else None)
    for problem in find_problems(stored):
        raise ValueError(f"{path} is damaged: {problem}")
    digest = stored.pop("sha256")
    return AdapterConfig(**stored), digest


def check_format(directory: str | Path, version) -> None:
    """Raise `ValueError` unless adapter.json is of the format that this version reads."""
    if version == FORMAT:
        return
    is_older = isinstance(version, int) and version < FORMAT
    remedy = "older adapters are not read, train it again" if is_older else "update the repository"
    raise ValueError(
        f"{directory} has adapter format {version}; this version reads {FORMAT}: {remedy}"
    )


def find_problems(stored: dict) -> Iterator[str]:
    """Yield what is wrong with adapter.json; read on only while there is no problem."""
    types = get_type_hints(AdapterConfig) | {"layers": list, "answer_tag": list, "sha256": str}
    policy_names = {f.name for f in fields(EditPolicy)}
    yield from (
        f"{name} is missing" for name in ("layers", "rank", "base", "sha256") if name not in stored
    )
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
        f"edit_policy.{name} is unknown"
        for name in stored.get("edit_policy", {}).keys() - policy_names
    )


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

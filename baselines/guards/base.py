"""What all input filters share: the registry, the refusals, and the folder that one is saved in.

    @input_filter("keyword")
    @dataclass
    class NameFilter(InputFilter): ...

An input filter decides, before the language model answers, whether a question is refused. Such
systems nearly max out TOFU's output metrics (Thaker et al. 2024, arXiv 2403.03329; arXiv
2410.02879), so a gated method has to be compared with them.

A saved filter is a folder guard/ with guard.json (its kind, and its fields) and guard.safetensors
(those of its fields that are tensors; only where there are some).
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import ClassVar

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unlearn.benchmarks.examples import Example
from unlearn.config.files import read_json, replace_directory, write_json
from unlearn.language_model.prompts import PromptEncoder

FOLDER = "guard"
FILTERS: dict[str, type["InputFilter"]] = {}


@dataclass(frozen=True)
class FilterInputs:
    """What a filter may be fitted on: what an unlearning method sees.

    retain         the retain examples without the held-out authors
    refusals       the sentences that refuse
    load_target    returns the target model, frozen, and its prompt encoder
    layer          the decoder layer whose output a probe reads; None: the middle one
    quantile       the share of retain questions that a probe must let pass
    seed           of everything that is drawn
    """

    forget: list[Example]
    retain: list[Example]
    refusals: list[str]
    load_target: Callable[[], tuple[nn.Module, PromptEncoder]]
    layer: int | None
    quantile: float
    seed: int


@dataclass
class InputFilter(ABC):
    """Decides which prompts are refused; subclasses add the fields that they decide by.

    refusals: one of them is the answer to a refused prompt.
    """

    kind: ClassVar[str]
    refusals: list[str]

    @classmethod
    @abstractmethod
    def fit(cls, inputs: FilterInputs) -> tuple["InputFilter", dict]:
        """A filter for this forget set, and what the run's result says of it."""

    @abstractmethod
    def is_refused(self, model: nn.Module, tokenizer, prompts: list[list[int]]) -> Tensor:
        """[B] bool on the model's device: which prompts (token ids) are refused."""

    def refusal(self, prompt: list[int]) -> str:
        """The refusal of a prompt, drawn with the prompt as the seed."""
        return random.Random(f"refusal {prompt}").choice(self.refusals)

    def save(self, directory: Path) -> None:
        """Write directory/guard, whole or not at all."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: v.contiguous() for name, v in values.items() if isinstance(v, Tensor)}
        others = {name: value for name, value in values.items() if name not in tensors}

        def write(folder: Path) -> None:
            write_json(folder / "guard.json", {"kind": self.kind} | others)
            if tensors:
                save_file(tensors, folder / "guard.safetensors")

        replace_directory(directory / FOLDER, write)


def input_filter(kind: str) -> Callable[[type[InputFilter]], type[InputFilter]]:
    """Register the decorated class as `kind`, the word of --control.

    Raises `ValueError` for a word that is taken.
    """

    def register(cls: type[InputFilter]) -> type[InputFilter]:
        if kind in FILTERS:
            raise ValueError(f"the guard {kind} is registered twice; choose another name")
        cls.kind = kind
        FILTERS[kind] = cls
        return cls

    return register


def registered_filters() -> dict[str, type[InputFilter]]:
    """{kind: class} of every file in this folder."""
    package = __package__
    for module in iter_modules(import_module(package).__path__):
        import_module(f"{package}.{module.name}")
    return FILTERS


def load_filter(directory: Path) -> InputFilter:
    """Read what `InputFilter.save` wrote. Raises `ValueError` for an unknown kind."""
    saved = read_json(directory / FOLDER / "guard.json")
    kind = saved.pop("kind")
    if kind not in registered_filters():
        raise ValueError(
            f"{directory}: the guard {kind} is unknown; choose one of {', '.join(FILTERS)}"
        )
    tensors = directory / FOLDER / "guard.safetensors"
    return FILTERS[kind](**saved, **(load_file(tensors) if tensors.exists() else {}))

"""Adapters from anywhere onto a model you have.

    model = grun.load(model, "runs/authors/tiny/forget10/idk-grun-seed42")

A source is an adapter folder, a finished GRUN run, a folder of requests (`grun.requests`), a folder
of the official code (`grun.adapter.official`), or a hub id of any of these, perhaps with a
revision: my-name/forget10-idk@main."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from grun.adapter import official
from grun.adapter.composition import Combination
from grun.adapter.hub import folder_of
from grun.adapter.weights import Adapter
from grun.inference.hooks import AdapterHooks
from grun.requests import INDEX, Requests


def load(
    model: nn.Module,
    source: str | Path | Sequence[str | Path],
    combination: Combination | None = None,
) -> nn.Module:
    """The same model, with the adapter of `source` at work in model(...), model.generate(...) and
    pipeline(...).

    source: see the module docstring; a list of them is combined (default: sum; a folder of requests
    keeps its own rule). The controls are `model.grun`: gates, at(positions), off(), only(names),
    remove(). Raises `ValueError` for another base model, a damaged or newer adapter, a source that
    is none, and a model that has adapters already."""
    if not isinstance(source, str | Path):
        AdapterHooks(
            model,
            [adapter_from(model, folder_of(one)) for one in source],
            combination,
            [str(one) for one in source],
        )
        return model
    folder = folder_of(source)
    if (folder / INDEX).exists():
        Requests(folder).attach(model, combination)
    else:
        AdapterHooks(model, adapter_from(model, folder), combination)
    return model


def adapter_from(model: nn.Module, folder: Path) -> Adapter:
    """The adapter in a folder of ours or of the official code."""
    return (
        official.load(model, folder)
        if official.is_official(folder)
        else Adapter.load(model, folder)
    )

"""Adapters of the toy model and a stack of requests, for the tests of both."""

from pathlib import Path

import torch
from torch import Tensor

from grun import requests
from grun.adapter.fingerprint import fingerprint
from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter

PROMPT = {"template": "qa", "style": "finetune"}
INDEX = {
    "format": 1,
    "base": {"id": "tiny", "fingerprint": "0-0"},
    "prompt": PROMPT,
    "combination": {"rule": "sum"},
}
ENTRY = {
    "name": "a",
    "added": "2026-01-01T00:00:00+00:00",
    "source": "somewhere",
    "layers": [1],
    "rank": 2,
    "gate": "none",
    "parameters": 1,
    "bytes": 4,
    "train_seconds": None,
}


def describe_base(model, name: str = "tiny") -> dict:
    """The base model as adapter.json names it."""
    return {"id": name, "revision": None, "fingerprint": fingerprint(model)}


def save_adapters(model, folder: Path) -> Path:
    """Save ten adapters, 0 to 9, each of another seed; they differ in layers, rank and gate."""
    for k in range(10):
        layers = [1, 3] if k % 2 else [2, 3]
        gate = ("linear", "mlp_3", "none")[k // 4]
        config = AdapterConfig(layers, 2 + k % 3, gate, prompt=PROMPT, base=describe_base(model))
        Adapter(model, config, seed=k).save(folder / str(k))
    return folder


def run_requests(stack: Path, *words: str) -> None:
    """Run `python -m grun.requests` on a stack."""
    requests.main([*words, "--requests", str(stack)])


def random_prompts(seed: int = 0) -> Tensor:
    """Token ids [4, 9]."""
    return torch.randint(3, 200, (4, 9), generator=torch.Generator().manual_seed(seed))

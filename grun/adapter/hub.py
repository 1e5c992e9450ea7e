"""Adapters on the hub: download one by its id, upload one with a card.

python -m grun.adapter.hub push runs/authors/tiny/forget10/idk-grun-seed42 my-name/forget10-idk
"""

import re
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, HTTPError

from grun.adapter.folder import CONFIG, WEIGHTS, AdapterConfig, read_folder
from unlearn.config.flags import Parser, run_command

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
FILES = [
    "*adapter.json",
    "*adapter.safetensors",
    "requests.json",
    "intkey_*.bin",
    "config.json",
]  # nothing else is asked for
REFUSALS = (
    HTTPError,
    HFValidationError,
    OSError,
)  # no such repository, no hub to reach, an offline hub, nothing kept of it here


def folder_of(source: str | Path) -> Path:
    """The local folder of a source; a hub id is downloaded first. Raises `ValueError` where there
    is none."""
    path = Path(source)
    if not path.is_dir():
        if not HUB_ID.fullmatch(str(source)):
            raise ValueError(f"{source}: no such folder, and no hub id (name/adapter)")
        name, _, revision = str(source).partition("@")
        try:
            path = Path(snapshot_download(name, revision=revision or None, allow_patterns=FILES))
        except REFUSALS as error:
            raise ValueError(
                f"{source} is no folder here and could not be had from the hub: {first_line(error)}"
            ) from None
    return path / "adapter" if (path / "adapter" / CONFIG).exists() else path


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


CARD = """---
library_name: grun
tags: [unlearning, grun]
{base}---

# GRUN adapter

A gated rank-{rank} edit of layers {layers} at the last prompt token of `{id}` (fingerprint {fingerprint}); the base's weights stay as
they are. Taking the adapter off brings back what it hides.

```python
import grun
model = grun.load(model, "{repo}")
```

Prompts as in training: template `{template}`, style `{style}`. Objective: {objective}, split {split}.
"""


def card(config: AdapterConfig, repo: str) -> str:
    """The README of an adapter on the hub."""
    name = config.base["id"]
    recipe = config.recipe
    base = f"base_model: {name}\n" if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else ""
    return CARD.format(
        base=base,
        rank=config.rank,
        layers=", ".join(map(str, config.layers)),
        id=name,
        fingerprint=config.base["fingerprint"],
        repo=repo,
        template=config.prompt.get("template"),
        style=config.prompt.get("style"),
        objective=recipe.get("objective"),
        split=recipe.get("split"),
    )


def push_to_hub(source: str | Path, repo: str, private: bool = True) -> str:
    """Upload the adapter of a local source to the hub; return its address. Nothing but
    adapter.json, the weights and a card is sent.

    Raises `ValueError` for a damaged adapter, and as the hub refuses."""
    folder = folder_of(source)
    config, _ = read_folder(folder)
    with tempfile.TemporaryDirectory() as room:
        for name in (CONFIG, WEIGHTS):
            shutil.copy(folder / name, room)
        (Path(room) / "README.md").write_text(card(config, repo), encoding="utf-8")
        try:
            api = HfApi()
            api.create_repo(repo, private=private, exist_ok=True)
            return str(
                api.upload_folder(repo_id=repo, folder_path=room, commit_message="GRUN adapter")
            )
        except REFUSALS as error:
            raise ValueError(
                f"{repo}: could not be pushed to the hub: {first_line(error)}"
            ) from None


def main(argv: list[str] | None) -> None:
    parser = Parser(
        prog="python -m grun.adapter.hub", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    low_rank_update = verbs.add_parser(
        "push", help="upload an adapter to the hub", allow_abbrev=False
    )
    low_rank_update.add_argument("source", help="adapter folder or finished run")
    low_rank_update.add_argument("repo", help="hub id, name/adapter")
    low_rank_update.add_argument(
        "--public", action="store_true", help="for everyone (default: private)"
    )
    args = parser.parse_args(argv)
    print(f"pushed: {push_to_hub(args.source, args.repo, not args.public)}", flush=True)


if __name__ == "__main__":
    run_command(main)

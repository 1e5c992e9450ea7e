"""A stack of removal requests: adapters on one base model, each trained alone against the original.

    requests.json    format, base model, prompt, combination rule, the requests in order
    <name>/          the adapter folder of one request
    .lock            held by the command that changes the stack

Index and adapter folders are written whole or not at all.
"""

import fcntl
import re
import shutil
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from torch import Tensor, nn

from grun.adapter.composition import Combination
from grun.adapter.fingerprint import same_base
from grun.adapter.folder import CONFIG, WEIGHTS, AdapterConfig, read_folder
from grun.adapter.weights import Adapter
from grun.inference.hooks import AdapterHooks
from unlearn.config.files import read_json, replace_directory, write_json

FORMAT = 1
INDEX = "requests.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class RequestStack:
    """One folder of requests; a folder without an index is an empty stack.

    base: id, revision and fingerprint of the base model; prompt: template and style; combination:
    how the edits add up; entries: one dict per request, in order.
    """

    def __init__(self, folder: str | Path):
        """Read the index. Raises `ValueError` as `read` does."""
        self.folder = Path(folder)
        self.read()

    def read(self) -> None:
        """Read the index afresh. Raises `ValueError` for another format or a damaged file."""
        index = self.folder / INDEX
        stored = read_index(index)
        try:
            self.base: dict = stored["base"]
            self.prompt: dict = stored["prompt"]
            self.combination = Combination(**stored["combination"])
            self.entries: list[dict] = stored["requests"]
            texts = [entry["name"] for entry in self.entries]
            if self.entries:
                texts += [self.base["id"], self.base["fingerprint"]]
            if not all(isinstance(text, str) for text in texts):
                raise TypeError("a name is no text")
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{index} is damaged: {error!r}; add the adapter folders beside it to a new stack"
            ) from None

    @property
    def names(self) -> list[str]:
        """The names of the requests, in order."""
        return [entry["name"] for entry in self.entries]

    def find_entry(self, name: str) -> dict:
        """Return the entry of a request; raise `ValueError` where there is none."""
        for entry in self.entries:
            if entry["name"] == name:
                return entry
        raise ValueError(
            f"{self.folder} has no request {name!r}; it has {', '.join(self.names) or 'none'}"
        )

    def write(self) -> None:
        """Write the index."""
        index = {
            "format": FORMAT,
            "base": self.base,
            "prompt": self.prompt,
            "combination": self.combination.as_dict(),
            "requests": self.entries,
        }
        write_json(self.folder / INDEX, index)

    def add(self, name: str, source: str | Path, train_seconds: float | None = None) -> dict:
        """Copy the adapter folder `source` into the stack and return its entry.

        Raises `ValueError` for a name that is taken or malformed, a damaged adapter, and one of
        another base model or prompt than the rest.
        """
        check_name(name)
        if name in self.names:
            raise ValueError(
                f"{self.folder} has a request {name!r} already; remove it first, or choose "
                "another name"
            )
        config, tensors = read_folder(source)
        self._check_fit(source, config)

        def copy_adapter(temporary: Path):
            for file in (CONFIG, WEIGHTS):
                shutil.copy(Path(source) / file, temporary / file)

        folder = replace_directory(self.folder / name, copy_adapter)
        entry = describe_request(name, source, config, tensors) | {
            "bytes": (folder / WEIGHTS).stat().st_size,
            "train_seconds": train_seconds,
        }
        if not self.entries:
            self.base, self.prompt = config.base, config.prompt
        self.entries = [*self.entries, entry]
        self.write()
        return entry

    def _check_fit(self, source: str | Path, config: AdapterConfig) -> None:
        """Raise `ValueError` where the adapter has another base or prompt than the requests."""
        if not self.entries:
            return
        if not same_base(self.base["fingerprint"], config.base["fingerprint"]):
            raise ValueError(
                f"{source} was trained on {describe_base(config.base)}, the requests here are on "
                f"{describe_base(self.base)}; give it a folder of its own (--requests)"
            )
        if config.prompt != self.prompt:
            raise ValueError(
                f"{source} was trained on prompts {config.prompt}, the requests here on "
                f"{self.prompt}: one prompt cannot fit both"
            )

    def remove(self, name: str) -> None:
        """Withdraw one request: out of the index first, then off the disk."""
        self.entries = [entry for entry in self.entries if entry is not self.find_entry(name)]
        self.write()
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def attach(self, model: nn.Module, combination: Combination | None = None) -> AdapterHooks:
        """Attach all requests to a model; gates are [K, L, B], in the order of the index."""
        adapters = [Adapter.load(model, self.folder / name) for name in self.names]
        return AdapterHooks(model, adapters, combination or self.combination, self.names)

    @contextmanager
    def locked(self):
        """Within it, no other command changes this folder; the index is read afresh."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.read()
            yield self


def read_index(path: Path) -> dict:
    """Return requests.json, or an empty one; raise `ValueError` for another format."""
    if not path.exists():
        return {"base": {}, "prompt": {}, "combination": {"rule": "scaled"}, "requests": []}
    stored = read_json(path)
    version = stored.get("format") if isinstance(stored, dict) else None
    if version != FORMAT:
        raise ValueError(
            f"{path} has format {version}; this version reads {FORMAT}: update the repository"
        )
    return stored


def check_name(name: str) -> None:
    """Raise `ValueError` unless `name` can be the folder of a request."""
    if not NAME.fullmatch(name) or name == INDEX:
        raise ValueError(
            "a request's name has letters, digits, '.', '_' and '-', and begins with a letter or "
            f"digit: not {name!r}"
        )


def describe_base(base: dict) -> str:
    """Return id and fingerprint of a base model for a message."""
    return f"{base['id']} (fingerprint {base['fingerprint']})"


def describe_request(
    name: str, source: str | Path, config: AdapterConfig, tensors: dict[str, Tensor]
) -> dict:
    """Return what the index says of a request, but for the size of its file and its training."""
    return {
        "name": name,
        "added": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": str(source),
        "layers": config.layers,
        "rank": config.rank,
        "gate": config.gate,
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
    }

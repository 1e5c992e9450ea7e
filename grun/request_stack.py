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
from grun.request_origin import read_origin
from unlearn.config.files import read_json, replace_directory, write_json

FORMAT = 1
INDEX = "requests.json"
NAME = re.compile(r"[A-Za-z0-9][\w.=+~-]*")  # among them the names of splits of own data
ENTRY_TYPES = {
    "name": str,
    "added": str,
    "source": str,
    "layers": list,
    "rank": int,
    "gate": str,
    "parameters": int,
    "bytes": int,
    "train_seconds": float | int | None,
}


class RequestStack:
    """One folder of requests; a folder without an index is an empty stack.

    Every name is checked before it becomes a path, so nothing outside the folder is touched.
    base: id, revision and fingerprint of the base model; prompt: template and style; combination:
    how the edits add up; entries: one dict per request, in order.
    """

    def __init__(self, folder: str | Path):
        """Read the index. Raises `ValueError` as `read` does."""
        self.folder = Path(folder)
        self.read()

    def read(self) -> None:
        """Read the index afresh.

        Raises `ValueError` for a file that is no stack, another format, a damaged index and names
        that cannot be folders.
        """
        index = self.folder / INDEX
        stored = read_index(index)
        try:
            self.base: dict = stored["base"]
            self.prompt: dict = stored["prompt"]
            self.combination = Combination(**stored["combination"])
            self.entries: list[dict] = stored["requests"]
            check_entries(self.entries, self.base)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{index} is damaged: {error!r}; add the adapter folders beside it to a new stack"
            ) from None
        except ValueError as error:
            raise ValueError(f"{index}: {error}") from None

    @property
    def names(self) -> list[str]:
        """The names of the requests, in order."""
        return [entry["name"] for entry in self.entries]

    def find_entry(self, name: str) -> dict:
        """Return the entry of a request; raise `ValueError` where there is none."""
        check_name(name)
        for entry in self.entries:
            if entry["name"] == name:
                return entry
        raise ValueError(
            f"{self.folder} has no request {name!r}; it has {', '.join(self.names) or 'none'}"
        )

    def adapter_folder(self, name: str) -> Path:
        """Return the adapter folder of a request; raise `ValueError` as `check_name` does."""
        check_name(name)
        return self.folder / name

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

        Raises `ValueError` for a name that is taken or malformed, a damaged adapter or one whose
        weights are not finite, and one of another base model or prompt than the rest.
        """
        folder = self.adapter_folder(name)
        if name in self.names:
            raise ValueError(
                f"{self.folder} has a request {name!r} already; remove it first, or choose "
                "another name"
            )
        if folder.is_symlink() or (folder.exists() and not is_adapter(folder)):
            raise ValueError(f"{folder} is there already and is no adapter; choose another name")
        config, tensors = read_folder(source)
        check_finite(source, tensors)
        self._check_fit(source, config)
        origin = read_origin(source, config)

        def copy_adapter(temporary: Path):
            for file in (CONFIG, WEIGHTS):
                shutil.copy(Path(source) / file, temporary / file)

        replace_directory(folder, copy_adapter)
        entry = describe_request(name, source, config, tensors) | {
            "bytes": (folder / WEIGHTS).stat().st_size,
            "train_seconds": train_seconds,
            "origin": origin,
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
        """Withdraw one request: out of the index first, then off the disk.

        A folder that holds no adapter stays. Raises `ValueError` as `find_entry` does.
        """
        withdrawn = self.find_entry(name)
        self.entries = [entry for entry in self.entries if entry is not withdrawn]
        self.write()
        folder = self.adapter_folder(name)
        if is_adapter(folder):
            shutil.rmtree(folder, ignore_errors=True)  # it does not follow a symbolic link

    def attach(self, model: nn.Module, combination: Combination | None = None) -> AdapterHooks:
        """Attach all requests to a model; gates are [K, L, B], in the order of the index."""
        adapters = [Adapter.load(model, self.adapter_folder(name)) for name in self.names]
        return AdapterHooks(model, adapters, combination or self.combination, self.names)

    @contextmanager
    def locked(self):
        """Within it, no other command changes this folder; the index is read afresh.

        Raises `ValueError` where nothing can be written there.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # "a": a .lock that is a link must not empty the file that it points to
            lock = open(self.folder / ".lock", "a")
        except OSError as error:
            raise ValueError(
                f"{self.folder} cannot be written ({error.strerror}); make it writable, or give "
                "another --requests"
            ) from None
        with lock as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.read()
            yield self


def read_index(path: Path) -> dict:
    """Return requests.json, or an empty one.

    Raises `ValueError` where its folder is a file, for another JSON file, and another format.
    """
    if path.parent.is_file():
        raise ValueError(
            f"{path.parent} is a file, not a stack of requests; give the folder that holds {INDEX}"
        )
    if not path.exists():
        return {"base": {}, "prompt": {}, "combination": Combination().as_dict(), "requests": []}
    stored = read_json(path, object)
    if not isinstance(stored, dict) or "format" not in stored:
        raise ValueError(f"{path} is not the index of a stack of requests; give another folder")
    if stored["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {stored['format']}; this version reads {FORMAT}: update the "
            "repository"
        )
    return stored


def check_entries(entries: list[dict], base: dict) -> None:
    """Raise `KeyError`, `TypeError` or `ValueError` unless entries and base are well formed."""
    for entry in entries:
        for key, kind in ENTRY_TYPES.items():
            if not isinstance(entry[key], kind):
                raise TypeError(f"{key} is {entry[key]!r}")
        origin = entry.get("origin", {})
        if not isinstance(origin, dict) or not isinstance(origin.get("data", {}), dict):
            raise TypeError(f"origin is {origin!r}")
        check_name(entry["name"])
    if len({entry["name"] for entry in entries}) < len(entries):
        raise TypeError("two requests have one name")
    if entries and not all(isinstance(base[key], str) for key in ("id", "fingerprint")):
        raise TypeError(f"base is {base!r}")


def check_name(name: str) -> None:
    """Raise `ValueError` unless `name` can be the folder of a request."""
    if not NAME.fullmatch(name) or name == INDEX:
        raise ValueError(
            "a request's name has letters, digits and any of . _ - = + ~, and begins with a letter "
            f"or digit: not {name!r}"
        )


def check_finite(source: str | Path, tensors: dict[str, Tensor]) -> None:
    """Raise `ValueError` for a weight that is nan or inf."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{source}: {name} holds nan or inf; train the adapter again")


def is_adapter(folder: Path) -> bool:
    """Whether a folder is empty or holds a file of an adapter, perhaps not all of them."""
    files = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    return not files or bool(files & {CONFIG, WEIGHTS})


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

"""Removal requests: a stack of adapters on one base model, each trained alone against the original;
added, listed, withdrawn one by one.

    python -m grun.requests add alice runs/authors/tiny/forget10a/idk-grun-seed42        into the
                                                                                         folder
                                                                                         requests/
                                                                                         (--requests)
    python -m grun.requests list
    python -m grun.requests show alice
    python -m grun.requests remove alice
    python -m grun.requests cost --model runs/authors/tiny/full/target-seed42            time and
                                                                                         memory per
                                                                                         request,
                                                                                         measured

The folder holds requests.json (base model, combination rule, the requests in order) and one adapter
folder per request; either is written whole or not at all, by one command at a time.
`grun.load(model, "requests")` puts all of them to work."""

import fcntl
import re
import shutil
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from grun.adapter.composition import RULES, Combination
from grun.adapter.fingerprint import same_base
from grun.adapter.folder import CONFIG, WEIGHTS, read_folder
from grun.adapter.hub import resolve_folder
from grun.adapter.weights import Adapter
from grun.inference.hooks import AdapterHooks
from unlearn.config.flags import Parser, run_command
from unlearn.config.run_directory import read_json, replace_directory, write_json
from unlearn.language_model.loading import load_model

FORMAT = 1
INDEX = "requests.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Requests:
    """One folder of requests. Raises `ValueError` when its index is of a newer format or broken; a
    folder without one is an empty stack."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.read()

    def read(self) -> None:
        path = self.folder / INDEX
        empty = {
            "format": FORMAT,
            "base": {},
            "prompt": {},
            "combination": {"rule": "scaled"},
            "requests": [],
        }
        stored = read_json(path) if path.exists() else empty
        found = stored.get("format") if isinstance(stored, dict) else None
        if found != FORMAT:
            raise ValueError(
                f"{path} has format {found}; this version reads {FORMAT}: update the repository"
            )
        try:
            self.base: dict = stored["base"]
            self.prompt: dict = stored["prompt"]
            self.combination = Combination(**stored["combination"])
            self.rows: list[dict] = stored["requests"]
            told = [row["name"] for row in self.rows] + [
                self.base[name] for name in ("id", "fingerprint") if self.rows
            ]
            if not all(isinstance(word, str) for word in told):
                raise TypeError("a name is no text")
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is damaged: {error!r}; add the adapter folders beside it to a new stack"
            ) from None

    @property
    def names(self) -> list[str]:
        return [row["name"] for row in self.rows]

    def row(self, name: str) -> dict:
        found = [row for row in self.rows if row["name"] == name]
        if not found:
            raise ValueError(
                f"{self.folder} has no request {name!r}; it has {', '.join(self.names) or 'none'}"
            )
        return found[0]

    def write(self) -> None:
        settings = {
            "format": FORMAT,
            "base": self.base,
            "prompt": self.prompt,
            "combination": self.combination.as_dict(),
        }
        write_json(self.folder / INDEX, settings | {"requests": self.rows})

    def add(self, name: str, source: str | Path, train_seconds: float | None = None) -> dict:
        """Copy the adapter folder `source` into the stack and return its entry.

        Raises `ValueError` for a name that is taken or odd, a damaged adapter, and one of another
        base model or prompt than the rest."""
        if not NAME.fullmatch(name) or name == INDEX:
            raise ValueError(
                f"a request's name has letters, digits, '.', '_' and '-', and begins with a letter or digit: not {name!r}"
            )
        if name in self.names:
            raise ValueError(
                f"{self.folder} has a request {name!r} already; remove it first, or choose another name"
            )
        config, tensors = read_folder(source)
        if self.rows and not same_base(self.base["fingerprint"], config.base["fingerprint"]):
            theirs, ours = (
                f"{base['id']} (fingerprint {base['fingerprint']})"
                for base in (config.base, self.base)
            )
            raise ValueError(
                f"{source} was trained on {theirs}, the requests here are on {ours}; give it a folder of its own (--requests)"
            )
        if self.rows and config.prompt != self.prompt:
            raise ValueError(
                f"{source} was trained on prompts {config.prompt}, the requests here on {self.prompt}: one prompt cannot fit both"
            )

        def copy(room: Path):
            for file in (CONFIG, WEIGHTS):
                shutil.copy(Path(source) / file, room / file)

        replace_directory(self.folder / name, copy)
        numbers = sum(t.numel() for t in tensors.values())
        row = {
            "name": name,
            "added": datetime.now(UTC).isoformat(timespec="seconds"),
            "source": str(source),
            "layers": config.layers,
            "rank": config.rank,
        }
        row |= {
            "gate": config.gate,
            "parameters": numbers,
            "bytes": (self.folder / name / WEIGHTS).stat().st_size,
            "train_seconds": train_seconds,
        }
        self.base, self.prompt = (
            (self.base, self.prompt) if self.rows else (config.base, config.prompt)
        )
        self.rows = [*self.rows, row]
        self.write()
        return row

    def remove(self, name: str) -> None:
        """Withdraw one request: out of the index first, then off the disk."""
        self.rows = [row for row in self.rows if row is not self.row(name)]
        self.write()
        shutil.rmtree(
            self.folder / name, ignore_errors=True
        )  # what is left there is no request any more

    def attach(self, model: nn.Module, combination: Combination | None = None) -> AdapterHooks:
        """All requests at work on a model; gates are [K, L, B], in the order of the index."""
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


def cost(stack: Requests, model: nn.Module, tokens: int, batch: int, repeats: int) -> pd.DataFrame:
    """Prefill time and memory with 0, 1, .. K requests at work, in turns: medians over `repeats`
    passes of `batch` prompts of `tokens` tokens, `added ms` of the difference to the pass without
    any in the same turn."""
    device = next(model.parameters()).device
    ids = torch.randint(
        0,
        model.config.get_text_config().vocab_size,
        (batch, tokens),
        generator=torch.Generator().manual_seed(0),
    ).to(device)
    with stack.attach(model) as adapter_hooks, torch.no_grad():

        def turn() -> list[float]:
            found = []
            for count in range(len(adapter_hooks.names) + 1):
                with adapter_hooks.only(adapter_hooks.names[:count]):
                    found.append(1e3 * timed(model, ids))
            return found

        times = pd.DataFrame([turn() for _ in range(repeats + 1)][1:])  # the first one warms up
        sizes = [adapter.n_bytes / 2**10 for adapter in adapter_hooks.adapters]
    told = {
        "requests": times.columns,
        "prefill ms": times.median(),
        "added ms": times.sub(times[0], axis=0).median(),
    }
    return pd.DataFrame(told | {"adapters KiB": [sum(sizes[:count]) for count in times.columns]})


def timed(model: nn.Module, ids: torch.Tensor) -> float:
    """Seconds of one prefill; reading a number back waits for the device."""
    began = time.perf_counter()
    model(ids, use_cache=False).logits[0, -1, 0].item()
    return time.perf_counter() - began


def overview(stack: Requests) -> str:
    """The requests as a table for a terminal, and what they are on."""
    if not stack.rows:
        return f"{stack.folder} holds no requests"
    table = pd.DataFrame(stack.rows).drop(columns="source")
    table["layers"] = table["layers"].map(lambda layers: " ".join(map(str, layers)))
    table["train_seconds"] = table["train_seconds"].map(lambda s: "-" if pd.isna(s) else f"{s:.1f}")
    rule = f"{stack.combination.rule}, c({len(table)}) = {stack.combination.scale(len(table)):g}"
    return f"{table.to_string(index=False)}\n{len(table)} requests on {stack.base['id']} ({stack.base['fingerprint']}), rule {rule}"


def parser() -> Parser:
    whole = Parser(
        prog="python -m grun.requests", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    verbs = whole.add_subparsers(dest="verb", required=True)
    texts = {
        "add": "take a trained adapter in",
        "list": "all requests",
        "show": "one request",
        "remove": "withdraw one",
        "cost": "measure time and memory",
    }
    made = {
        verb: verbs.add_parser(verb, help=text, allow_abbrev=False) for verb, text in texts.items()
    }
    for one in made.values():
        one.add_argument(
            "--requests", default="requests", help="folder of the stack (default: requests)"
        )
    for verb in ("add", "show", "remove"):
        made[verb].add_argument("name", help="the request's name")
    made["add"].add_argument("source", help="adapter folder, finished GRUN run or hub id")
    made["add"].add_argument(
        "--rule", choices=RULES, help="how edits combine, from now on (a new stack: scaled)"
    )
    for name in ("multi_gate_coeff", "multi_gate_bias"):
        made["add"].add_argument(
            f"--{name}",
            type=float,
            help="for scaled: c(K) = coeff K + bias (a new stack: 0.6 each)",
        )
    made["cost"].add_argument("--model", help="the base model (default: the one the stack names)")
    made["cost"].add_argument("--device", default="auto")
    for name, value in (("tokens", 64), ("batch", 8), ("repeats", 20)):
        made["cost"].add_argument(f"--{name}", type=int, default=value)
    return whole


def main(argv: list[str] | None) -> None:
    args = parser().parse_args(argv)
    stack = Requests(args.requests)
    if args.verb == "add":
        source = resolve_folder(args.source)
        result = source.parent / "result.json"
        seconds = read_json(result)["train_seconds"] if result.exists() else None
        with stack.locked():
            given = {
                name: getattr(args, name)
                for name in ("rule", "multi_gate_coeff", "multi_gate_bias")
                if getattr(args, name) is not None
            }
            stack.combination = Combination(**stack.combination.as_dict() | given)
            stack.add(args.name, source, seconds)
        print(f"added {args.name}: {len(stack.rows)} requests in {stack.folder}", flush=True)
    elif args.verb == "remove":
        with stack.locked():
            stack.remove(args.name)
        print(f"removed {args.name}: {len(stack.rows)} requests in {stack.folder}", flush=True)
    elif args.verb == "list":
        print(overview(stack), flush=True)
    elif args.verb == "show":
        row = stack.row(args.name)
        config, _ = read_folder(stack.folder / args.name)
        print(
            pd.Series(
                row
                | {
                    "base": config.base["id"],
                    "prompt": config.prompt,
                    "objective": config.recipe.get("objective"),
                }
            ).to_string(),
            flush=True,
        )
    else:
        table = cost(
            stack,
            load_model(args.model or stack.base["id"], args.device),
            args.tokens,
            args.batch,
            args.repeats,
        )
        print(table.to_string(index=False, float_format="%.3f"), flush=True)


if __name__ == "__main__":
    run_command(main)

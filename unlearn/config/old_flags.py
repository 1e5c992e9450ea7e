"""Flags: each is declared once, as a dataclass field; a flag beats the recipe, the recipe beats the
default.

`parse` says of every value where it came from, and `variant` turns the values that differ from the
recipe into the part of the run directory's name that keeps ablations apart."""

import sys
from argparse import BooleanOptionalAction, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import get_args, get_origin, get_type_hints

from unlearn.config.flags import Parser, flag
from unlearn.processes import is_main


@dataclass
class RunFlags:
    """Where runs live and what they run on."""

    runs: str = flag("runs", "folder of all run directories", role="volatile")
    seed: int = flag(42, "seed of the generators of this run", role="key")
    device: str = flag("auto", "auto, cpu, cuda, cuda:1, mps", role="volatile")
    dtype: str = flag(
        "auto",
        "auto (bfloat16 on CUDA for models from a hub, else float32), float32, bfloat16, float16",
    )
    attn: str = flag(
        "auto", "attention implementation: auto, sdpa, eager, flash_attention_2", role="volatile"
    )
    overwrite: bool = flag(False, "replace a finished run", role="volatile")


@dataclass
class DataFlags:
    """Which benchmark, from where."""

    benchmark: str = flag(
        "authors", "authors (embedded), tofu, muse (embedded), muse-news, muse-books", role="key"
    )
    data_dir: str | None = flag(
        None,
        "folder with the benchmark's files; without it what is not embedded is read from the hub",
        role="volatile",
    )
    authors: int | None = flag(None, "number of authors (authors: 40; tofu: all 200)", role="data")
    heldout: int | None = flag(
        None, "authors kept from every unlearning step (authors: 8 extra; tofu: 0)", role="data"
    )
    data_seed: int = flag(0, "seed of the embedded generator", role="data")
    idk_file: str | None = flag(None, "refusals, one a line (default: the benchmark's own)")


def parse(cls, argv: list[str] | None, recipe: Callable[[Namespace], dict], description: str):
    """Parse `argv` into an instance of dataclass `cls`; return it, the origin of each value, and
    the same cell without its settings.

    recipe: called with the flag-or-default values, returns the recipe's values for that cell (keys
    unknown to `cls` are an error of ours). Raises `ValueError` on an unknown flag or a value of the
    wrong type."""
    unset = object()
    given = parser_of(cls, description).parse_args(
        argv, Namespace(**{f.name: unset for f in fields(cls)})
    )
    given = {name: value for name, value in vars(given).items() if value is not unset}
    defaults = {
        f.name: f.default if f.default is not MISSING else f.default_factory() for f in fields(cls)
    }
    cell = recipe(Namespace(**defaults | given))
    assert cell.keys() <= defaults.keys(), (
        f"recipe sets unknown flags: {sorted(cell.keys() - defaults.keys())}"
    )
    origins = {
        name: "flag" if name in given else "recipe" if name in cell else "default"
        for name in defaults
    }
    keys = {f.name for f in fields(cls) if f.metadata["role"] == "key"}
    plain = cls(**defaults | cell | {name: value for name, value in given.items() if name in keys})
    return cls(**defaults | cell | given), origins, plain


def with_spaces(argv: list[str], cls) -> list[str]:
    """`--alpha 350,350` -> `--alpha 350 350`, for the flags of `cls` that are lists."""
    hints = get_type_hints(cls)
    lists = {
        f"--{f.name}"
        for f in fields(cls)
        if list in map(get_origin, (hints[f.name], *get_args(hints[f.name])))
    }
    found = []
    inside = False
    for word in argv:
        inside = word in lists if word.startswith("--") else inside
        found += word.split(",") if inside and not word.startswith("--") else [word]
    return found


def parser_of(cls, description: str) -> Parser:
    """One option per field: `list[x]` takes several values, `bool` has a --no-form, None in a type
    means "may be left out"."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    usage = f"python -m {module.name if module else cls.__module__} [flags]"
    parser = Parser(
        usage=usage,
        description=description,
        allow_abbrev=False,
        formatter_class=RawDescriptionHelpFormatter,
    )
    hints = get_type_hints(cls)
    for f in fields(cls):
        kind = hints[f.name]
        if type(None) in get_args(kind):
            kind = next(part for part in get_args(kind) if part is not type(None))
        default = f.default if f.default is not MISSING else f.default_factory()
        note = "" if default in (None, []) else f" (default: {default})"
        how = (
            {"action": BooleanOptionalAction}
            if kind is bool
            else {"type": kind, "metavar": kind.__name__.upper()}
        )
        if get_origin(kind) is list:
            how = {
                "type": get_args(kind)[0],
                "nargs": "+",
                "metavar": get_args(kind)[0].__name__.upper(),
            }
        parser.add_argument(
            f"--{f.name}",
            *f.metadata["aliases"],
            help=f.metadata["help"].replace("%", "%%") + note,
            **how,
        )
    return parser


def resolved(args, origins: dict[str, str]) -> dict[str, dict]:
    """name -> {"value", "origin"}, as kept in config.json."""
    return {
        name: {"value": getattr(args, name), "origin": origin} for name, origin in origins.items()
    }


def show(args, origins: dict[str, str]) -> None:
    """Print every resolved value with its origin, flags first."""
    order = {"flag": 0, "recipe": 1, "default": 2}
    words: dict[str, list[str]] = {}
    for name, origin in sorted(origins.items(), key=lambda item: order[item[1]]):
        words.setdefault(origin, []).append(f"{name}={getattr(args, name)}".replace(" ", ""))
    for origin, pairs in words.items() if is_main() else ():
        print(f"{origin + 's':9s}{'  '.join(pairs)}", flush=True)


def spell(value) -> str:
    """A value as it stands in a directory name."""
    if isinstance(value, list):
        return "+".join(spell(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value).strip("/").replace("/", "--")


def variant(args, plain, role: str = "setting") -> str:
    """`rank=8,gate=mlp_3`: the flags of one role whose values differ from `plain`'s, which recipe
    and defaults give."""
    names = [f.name for f in fields(args) if f.metadata["role"] == role]
    return ",".join(
        f"{name}={spell(getattr(args, name))}"
        for name in names
        if getattr(args, name) != getattr(plain, name)
    )


def place(args, plain) -> str:
    """The benchmark's directory name: `authors`, or `authors,authors=80` where data flags differ
    from the default."""
    return ",".join(part for part in (args.benchmark, variant(args, plain, "data")) if part)


def identity(args) -> dict:
    """The values that decide a result: all but the volatile ones."""
    return {f.name: getattr(args, f.name) for f in fields(args) if f.metadata["role"] != "volatile"}

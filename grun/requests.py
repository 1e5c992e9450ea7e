"""Removal requests: a stack of adapters on one base model, added, listed and withdrawn one by one.

    python -m grun.requests add alice runs/authors/tiny/forget10a/idk-grun-seed42
    python -m grun.requests list
    python -m grun.requests show alice
    python -m grun.requests remove alice
    python -m grun.requests cost --model runs/authors/tiny/full/target-seed42

The stack is the folder requests/ (`--requests`); one command at a time changes it. `cost` measures
time and memory per request. `grun.load(model, "requests")` attaches all requests to a model.
"""

from argparse import Namespace

import pandas as pd

from grun.adapter.composition import RULES, Combination
from grun.adapter.folder import read_folder
from grun.adapter.hub import resolve_folder
from grun.request_cost import measure_cost
from grun.request_origin import describe_origin, read_origin
from grun.request_stack import RequestStack, check_name, describe_base
from unlearn.config.files import read_json
from unlearn.config.flags import Parser, run_command
from unlearn.config.ranges import Range, check_range
from unlearn.config.run_directory import locate_model
from unlearn.config.terminal import printable
from unlearn.language_model.loading import load_model

VERBS = {
    "add": "add a trained adapter",
    "list": "list all requests",
    "show": "show one request",
    "remove": "withdraw one request",
    "cost": "measure time and memory",
}


def build_parser() -> Parser:
    """The parser of the five verbs and their flags."""
    parser = Parser(
        prog="python -m grun.requests", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    subparsers = parser.add_subparsers(dest="verb", required=True)
    verbs = {
        verb: subparsers.add_parser(verb, help=text, allow_abbrev=False)
        for verb, text in VERBS.items()
    }
    for verb in verbs.values():
        verb.add_argument(
            "--requests", default="requests", help="folder of the stack (default: requests)"
        )
    for verb in ("add", "show", "remove"):
        verbs[verb].add_argument("name", help="the request's name")
    add = verbs["add"]
    add.add_argument("source", help="adapter folder, finished GRUN run or hub id")
    add.add_argument(
        "--rule", choices=RULES, help="how edits combine, from now on (a new stack: sum)"
    )
    for name in ("multi_gate_coeff", "multi_gate_bias"):
        add.add_argument(
            f"--{name}",
            type=float,
            help="for scaled: c(K) = coeff K + bias (a new stack: 0.6 each)",
        )
    cost = verbs["cost"]
    cost.add_argument("--model", help="the base model (default: the one the stack names)")
    cost.add_argument("--device", default="auto")
    for name, value in (("tokens", 64), ("batch", 8), ("repeats", 20)):
        cost.add_argument(f"--{name}", type=int, default=value)
    return parser


def add_request(stack: RequestStack, args: Namespace) -> str:
    """Add one request; the rule and its numbers change where flags name them."""
    check_name(args.name)
    source = resolve_folder(args.source)
    result = source.parent / "result.json"
    seconds = read_json(result).get("train_seconds") if result.exists() else None
    with stack.locked():
        flags = {name: getattr(args, name) for name in stack.combination.as_dict()}
        changes = {name: value for name, value in flags.items() if value is not None}
        stack.combination = Combination(**stack.combination.as_dict() | changes)
        stack.add(args.name, source, seconds)
    return f"added {args.name}: {len(stack.entries)} requests in {stack.folder}"


def remove_request(stack: RequestStack, args: Namespace) -> str:
    """Withdraw one request; a name that the stack does not have creates no folder."""
    stack.find_entry(args.name)
    with stack.locked():
        stack.remove(args.name)
    return f"removed {args.name}: {len(stack.entries)} requests in {stack.folder}"


def list_requests(stack: RequestStack, args: Namespace) -> str:
    """All requests as a table, their base model and the combination rule."""
    if not stack.entries:
        return f"{stack.folder} holds no requests"
    table = pd.DataFrame(stack.entries).drop(columns=["source", "origin"], errors="ignore")
    table["layers"] = table["layers"].map(lambda layers: " ".join(map(str, layers)))
    table["train_seconds"] = table["train_seconds"].map(lambda s: "-" if pd.isna(s) else f"{s:.1f}")
    count = len(table)
    rule = f"{stack.combination.rule}, c({count}) = {stack.combination.scale(count):g}"
    base = f"{stack.base['id']} ({stack.base['fingerprint']})"
    return f"{table.to_string(index=False)}\n{count} requests on {base}, rule {rule}"


def show_request(stack: RequestStack, args: Namespace) -> str:
    """What one request forgets, where it comes from, and what it is."""
    entry = stack.find_entry(args.name)
    config, _ = read_folder(stack.adapter_folder(args.name))
    origin = entry.get("origin") or read_origin(entry["source"], config)
    seconds = entry["train_seconds"]
    lines = {"name": args.name} | describe_origin(origin)
    lines |= {
        "added": entry["added"],
        "trained in": "-" if seconds is None else f"{seconds:.1f} s",
        "from": entry["source"],
        "base": describe_base(config.base),
        "prompt": ", ".join(f"{key} {value}" for key, value in config.prompt.items()),
        "edits": f"layers {' '.join(map(str, config.layers))}, rank {config.rank}",
        "gate": entry["gate"],
        "size": f"{entry['parameters']:,} numbers, {entry['bytes'] / 2**10:.0f} KiB",
    }
    width = max(map(len, lines))
    return "\n".join(f"{label:{width}}  {printable(text)}" for label, text in lines.items())


def report_cost(stack: RequestStack, args: Namespace) -> str:
    """The table of `measure_cost` on the stack's base model, or on --model."""
    for name in ("tokens", "batch", "repeats"):
        check_range(name, getattr(args, name), Range(minimum=1))
    model = load_model(args.model or locate_model(stack.base["id"], stack.folder), args.device)
    table = measure_cost(stack, model, args.tokens, args.batch, args.repeats)
    return table.to_string(index=False, float_format="%.3f")


COMMANDS = {
    "add": add_request,
    "list": list_requests,
    "show": show_request,
    "remove": remove_request,
    "cost": report_cost,
}


def main(argv: list[str] | None) -> None:
    """Run the command of the module docstring."""
    args = build_parser().parse_args(argv)
    print(COMMANDS[args.verb](RequestStack(args.requests), args), flush=True)


if __name__ == "__main__":
    run_command(main)

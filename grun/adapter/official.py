"""Checkpoints of the official code (github.com/renjie3/GRUN): folders of intkey_*.bin, one pickle a
layer. Read, used, converted, written.

    python -m grun.adapter.official import CHECKPOINT/intervenable_model ADAPTER --model
    meta-llama/Llama-3.1-8B python -m grun.adapter.official export runs/.../adapter FOLDER [--keys
    dots]

Their names hold the layer: intkey_layer.20.comp.block_output.unit.pos.nunit.1#0.bin, or with
underscores where pyvene is newer. A gated one has weight [r, d], bias [r], gate_func.*,
rotate_layer [d, r]; an ungated one its parametrised rotation (spec 3.3). Pickles are read with
weights_only: nothing in them is executed. They do not say on which base they were trained; import
records the one that is named."""

import json
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from grun.adapter.fingerprint import fingerprint
from grun.adapter.folder import AdapterConfig, read_folder, write_folder
from grun.adapter.weights import Adapter
from pyvene_custom import GATES, LoreftIntervention
from unlearn.config.flags import Parser, run_command
from unlearn.config.run_directory import replace_directory
from unlearn.language_model.loading import load_model

FILE = re.compile(
    r"intkey_layer[._](\d+)[._]comp[._]block_output[._]unit[._]pos[._]nunit[._]1#0\.bin"
)
KEYS = {"dots": ".", "underscores": "_"}
GATED = {"linear": "_Linear", "mlp_3": "", "mlp_5": "_MLP5layer"}
CLASSES = {"none": "LoreftIntervention"} | {
    gate: f"GatedLoreftIntervention{tail}" for gate, tail in GATED.items()
}
SOURCE = ["learned_source.weight", "learned_source.bias"]
RAW = [
    "rotate_layer.parametrizations.weight.original",
    "rotate_layer.parametrizations.weight.0.base",
]


def is_official(folder: str | Path) -> bool:
    return any(Path(folder).glob("intkey_*.bin"))


def load(model: nn.Module, folder: str | Path) -> Adapter:
    """The adapter of an official folder on `model`; only the width can be checked against it.
    Raises `ValueError` as `read` does."""
    config, tensors = read(folder)
    return Adapter.from_tensors(model, config, tensors, name=str(folder))


def read(folder: str | Path) -> tuple[AdapterConfig, dict[str, Tensor]]:
    """Settings and numbers of an official folder, named as in ours.

    Raises `ValueError` for a folder that is none, a file that is no plain pickle of tensors, and
    keys, shapes or dtypes that do not fit."""
    found: dict[int, dict[str, Tensor]] = {}
    for path in sorted(Path(folder).glob("intkey_*.bin")):
        match = FILE.fullmatch(path.name)
        if not match:
            raise ValueError(
                f"{path}: only edits of one position of a block's output are known, intkey_layer.<l>.comp.block_output.unit.pos.nunit.1#0.bin"
            )
        if int(match[1]) in found:
            raise ValueError(f"{folder} holds layer {match[1]} twice; keep one naming")
        try:
            found[int(match[1])] = checked(path, unpickled(path))
        except RuntimeError as error:  # of load_state_dict
            raise ValueError(
                f"{path}: its tensors do not fit each other: {str(error).splitlines()[-1].strip()}"
            ) from None
    if not found:
        raise ValueError(
            f"{folder} holds no intkey_*.bin; give the folder intervenable_model of a checkpoint"
        )
    kinds = {
        (
            len(layer["bias"]),
            gate_of(path, layer),
            str(layer["weight"].dtype).removeprefix("torch."),
        )
        for path, layer in found.items()
    }
    if len(kinds) > 1:
        raise ValueError(
            f"{folder}: the layers differ in rank, gate or dtype: {', '.join(map(str, sorted(kinds)))}"
        )
    rank, gate, dtype = kinds.pop()
    layers = sorted(found)
    return AdapterConfig(layers, rank, gate, dtype=dtype), {
        f"{layer}.{name}": t for layer in layers for name, t in found[layer].items()
    }


def unpickled(path: Path) -> dict[str, Tensor]:
    """The tensors of one file. Raises `ValueError` where it wants to run code, or is broken."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on broken bytes torch's unpickler raises whatever comes up
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{path} is damaged or holds more than tensors; it is not read: {reason}"
        ) from None
    if not isinstance(stored, dict) or not all(torch.is_tensor(value) for value in stored.values()):
        raise ValueError(f"{path} is no state dict of tensors")
    return dict(stored)


def checked(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """weight, bias, rotate_layer and gate_func.* of one layer, whichever of the two forms the file
    has."""
    if RAW[0] in state:
        missing = [name for name in (*SOURCE, RAW[1]) if name not in state]
        if missing:
            raise ValueError(f"{path} lacks {missing[0]}")
        width, rank = state[RAW[0]].shape
        unit = LoreftIntervention(width, rank, compute_dtype=state[SOURCE[0]].dtype)
        own = {
            name: value for name, value in unit.named_buffers() if name not in RAW
        }  # pyvene's dimensions
        unit.load_state_dict({name: state[name] for name in (*SOURCE, *RAW)} | own)
        return {name: value.detach().clone() for name, value in unit.state_dict().items()}
    missing = [name for name in ("weight", "bias", "rotate_layer") if name not in state]
    if missing:
        raise ValueError(f"{path} lacks {missing[0]}")
    rank = state["bias"].numel()
    if state["weight"].shape[0] != rank or tuple(state["rotate_layer"].shape) != tuple(
        state["weight"].shape[::-1]
    ):
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        raise ValueError(
            f"{path}: weight [r, d], bias [r] and rotate_layer [d, r] do not fit each other: {shapes}"
        )
    return {
        name: value.clone()
        for name, value in state.items()
        if name in ("weight", "bias", "rotate_layer") or name.startswith("gate_func.")
    }


def gate_of(path: Path, state: dict[str, Tensor]) -> str:
    """Which of our gates has these weights: by the number of its linear layers."""
    count = sum(1 for name in state if name.startswith("gate_func.") and name.endswith("weight"))
    known = {0: "none"} | {len(widths) + 1: gate for gate, widths in GATES.items()}
    if count not in known:
        raise ValueError(
            f"{path}: a gate of {count} linear layers is unknown; known are {', '.join(map(str, known))}"
        )
    return known[count]


def write(
    config: AdapterConfig, tensors: dict[str, Tensor], folder: str | Path, keys: str = "dots"
) -> None:
    """Write an adapter as the official code does: one file a layer and config.json. keys: `dots`,
    what its pyvene reads, or `underscores`."""
    mark = KEYS[keys]
    width = tensors[f"{config.layers[0]}.weight"].shape[1]
    names = [
        mark.join(("layer", str(layer), "comp", "block_output", "unit", "pos", "nunit", "1#0"))
        for layer in config.layers
    ]
    if config.edit_policy:
        raise ValueError(
            "the official format has no place for GRUN+; only plain GRUN adapters can be exported"
        )
    settings = {
        "representations": [
            [
                layer,
                "block_output",
                "pos",
                1,
                config.rank,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
            ]
            for layer in config.layers
        ],
        "intervention_types": [f"<class 'pyreft.interventions.{CLASSES[config.gate]}'>"]
        * len(names),
        "intervention_dimensions": [width] * len(names),
        "intervention_constant_sources": [True] * len(names),
        "sorted_keys": names,
        "mode": "parallel",
        "model_type": "None",
    }

    def files(room: Path):
        for layer, name in zip(config.layers, names, strict=True):
            state = {
                key.removeprefix(f"{layer}."): value
                for key, value in tensors.items()
                if key.startswith(f"{layer}.")
            }
            torch.save(
                state if config.gate != "none" else parametrised(state), room / f"intkey_{name}.bin"
            )
        (room / "config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    replace_directory(folder, files)


def parametrised(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """An ungated layer in the official form: its rotation as torch's orthogonal parametrisation
    keeps it."""
    unit = LoreftIntervention(
        state["weight"].shape[1], len(state["bias"]), compute_dtype=state["weight"].dtype
    )
    unit.load_state_dict(state)
    numbers = dict(unit.named_parameters()) | dict(unit.named_buffers())
    return {name: value.detach().clone() for name, value in numbers.items()}


def main(argv: list[str] | None) -> None:
    whole = Parser(
        prog="python -m grun.adapter.official",
        description=__doc__.splitlines()[0],
        allow_abbrev=False,
    )
    verbs = whole.add_subparsers(dest="verb", required=True)
    taken = verbs.add_parser("import", help="official folder -> ours", allow_abbrev=False)
    given = verbs.add_parser("export", help="ours -> official folder", allow_abbrev=False)
    for one in (taken, given):
        one.add_argument("source")
        one.add_argument("folder", help="what to write; replaced if it is there")
    taken.add_argument(
        "--model", required=True, help="the base it was trained on: short name, hub id or folder"
    )
    taken.add_argument("--template", default="qa", help="its prompt template (default: qa)")
    taken.add_argument(
        "--prompt_style",
        default="grun",
        help="the official code's prompts have one more space: grun (default), or finetune",
    )
    given.add_argument(
        "--keys",
        default="dots",
        choices=KEYS,
        help="file names as the official pyvene has them (dots), or newer ones",
    )
    args = whole.parse_args(argv)
    if args.verb == "export":
        write(*read_folder(args.source), args.folder, args.keys)
    else:
        config, tensors = read(args.source)
        model = load_model(args.model)
        base = {
            "id": args.model,
            "revision": getattr(model.config, "_commit_hash", None),
            "fingerprint": fingerprint(model),
        }
        config = AdapterConfig(
            **vars(config)
            | {"base": base, "prompt": {"template": args.template, "style": args.prompt_style}}
        )
        Adapter.from_tensors(model, config, tensors, name=args.source)  # refuses what does not fit
        write_folder(args.folder, config, tensors)
    print(f"written: {args.folder}", flush=True)


if __name__ == "__main__":
    run_command(main)

"""Checkpoints of the official code (renjie3/GRUN): folders of intkey_*.bin, one pickle a layer.

    python -m grun.adapter.official import CHECKPOINT/intervenable_model ADAPTER
        --model meta-llama/Llama-3.1-8B
    python -m grun.adapter.official export runs/.../adapter FOLDER --keys dots

A file's name holds the layer: intkey_layer.20.comp.block_output.unit.pos.nunit.1#0.bin, or with
underscores where pyvene is newer. A gated layer has weight [r, d], bias [r], gate_func.* and
rotate_layer [d, r]; an ungated one its parametrised rotation. Pickles are read with weights_only:
nothing in them is executed. They do not say on which base they were trained, so import records the
one that is named.
"""

import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from grun.adapter.fingerprint import fingerprint
from grun.adapter.folder import AdapterConfig, read_folder, write_folder
from grun.adapter.official_writer import KEYS, write
from grun.adapter.weights import Adapter
from pyvene_custom import GATES, LoreftIntervention
from unlearn.config.flags import Parser, run_command
from unlearn.language_model.loading import load_model

FILE = re.compile(
    r"intkey_layer[._](\d+)[._]comp[._]block_output[._]unit[._]pos[._]nunit[._]1#0\.bin"
)
SOURCE = ["learned_source.weight", "learned_source.bias"]
RAW = [
    "rotate_layer.parametrizations.weight.original",
    "rotate_layer.parametrizations.weight.0.base",
]
GATED = ("weight", "bias", "rotate_layer")


def is_official(folder: str | Path) -> bool:
    """Whether a folder is of the official code."""
    return any(Path(folder).glob("intkey_*.bin"))


def load(model: nn.Module, folder: str | Path) -> Adapter:
    """Return the adapter of an official folder on `model`.

    Only the width can be checked against the model. Raises `ValueError` as `read` does.
    """
    config, tensors = read(folder)
    return Adapter.from_tensors(model, config, tensors, name=str(folder))


def read(folder: str | Path) -> tuple[AdapterConfig, dict[str, Tensor]]:
    """Return settings and tensors of an official folder, named as in `grun.adapter.folder`.

    Raises `ValueError` for a folder that is none, a file that is no plain pickle of tensors, and
    keys, shapes or dtypes that do not fit.
    """
    states = read_layers(folder)
    kinds = {
        (len(state["bias"]), name_gate(folder, state), str(state["weight"].dtype).split(".")[1])
        for state in states.values()
    }
    if len(kinds) > 1:
        raise ValueError(
            f"{folder}: the layers differ in rank, gate or dtype: "
            f"{', '.join(map(str, sorted(kinds)))}"
        )
    rank, gate, dtype = kinds.pop()
    layers = sorted(states)
    tensors = {
        f"{layer}.{name}": value for layer in layers for name, value in states[layer].items()
    }
    return AdapterConfig(layers, rank, gate, dtype=dtype), tensors


def read_layers(folder: str | Path) -> dict[int, dict[str, Tensor]]:
    """Return the state dict of each layer; raise `ValueError` as `read` does."""
    states: dict[int, dict[str, Tensor]] = {}
    for path in sorted(Path(folder).glob("intkey_*.bin")):
        match = FILE.fullmatch(path.name)
        if not match:
            raise ValueError(
                f"{path}: only edits of one position of a block's output are known, "
                "intkey_layer.<l>.comp.block_output.unit.pos.nunit.1#0.bin"
            )
        layer = int(match[1])
        if layer in states:
            raise ValueError(f"{folder} holds layer {layer} twice; keep one naming")
        try:
            states[layer] = check_layer(path, unpickle(path))
        except RuntimeError as error:  # of load_state_dict
            reason = str(error).splitlines()[-1].strip()
            raise ValueError(f"{path}: its tensors do not fit each other: {reason}") from None
    if not states:
        raise ValueError(
            f"{folder} holds no intkey_*.bin; give the folder intervenable_model of a checkpoint"
        )
    return states


def unpickle(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one file; raise `ValueError` where it would run code, or is broken."""
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


def check_layer(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weight, bias, rotate_layer and gate_func.* of one layer, from either form of file."""
    is_ungated = RAW[0] in state
    for name in (*SOURCE, RAW[1]) if is_ungated else GATED:
        if name not in state:
            raise ValueError(f"{path} lacks {name}")
    if is_ungated:
        return convert_ungated(state)
    rank = state["bias"].numel()
    rotation_shape = tuple(state["rotate_layer"].shape)
    if len(state["weight"]) != rank or rotation_shape != tuple(state["weight"].shape[::-1]):
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        raise ValueError(
            f"{path}: weight [r, d], bias [r] and rotate_layer [d, r] do not fit each other: "
            f"{shapes}"
        )
    return {
        name: value.clone()
        for name, value in state.items()
        if name in GATED or name.startswith("gate_func.")
    }


def convert_ungated(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weight, bias and rotate_layer of an ungated layer's parametrised form."""
    width, rank = state[RAW[0]].shape
    edit = LoreftIntervention(width, rank, compute_dtype=state[SOURCE[0]].dtype)
    pyvene_buffers = {name: value for name, value in edit.named_buffers() if name not in RAW}
    edit.load_state_dict({name: state[name] for name in (*SOURCE, *RAW)} | pyvene_buffers)
    return {name: value.detach().clone() for name, value in edit.state_dict().items()}


def name_gate(folder: str | Path, state: dict[str, Tensor]) -> str:
    """Return which of our gates has these weights, by the number of its linear layers."""
    count = sum(1 for name in state if name.startswith("gate_func.") and name.endswith("weight"))
    gates = {0: "none"} | {len(widths) + 1: gate for gate, widths in GATES.items()}
    if count not in gates:
        raise ValueError(
            f"{folder}: a gate of {count} linear layers is unknown; known are "
            f"{', '.join(map(str, gates))}"
        )
    return gates[count]


def build_parser() -> Parser:
    parser = Parser(
        prog="python -m grun.adapter.official",
        description=__doc__.splitlines()[0],
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    importer = verbs.add_parser("import", help="official folder -> ours", allow_abbrev=False)
    exporter = verbs.add_parser("export", help="ours -> official folder", allow_abbrev=False)
    for verb in (importer, exporter):
        verb.add_argument("source")
        verb.add_argument("folder", help="what to write; replaced if it is there")
    importer.add_argument(
        "--model", required=True, help="the base it was trained on: short name, hub id or folder"
    )
    importer.add_argument("--template", default="qa", help="its prompt template (default: qa)")
    importer.add_argument(
        "--prompt_style",
        default="grun",
        help="the official code's prompts have one more space: grun (default), or finetune",
    )
    exporter.add_argument(
        "--keys",
        default="dots",
        choices=KEYS,
        help="file names as the official pyvene has them (dots), or newer ones",
    )
    return parser


def import_folder(source: str, folder: str, model_name: str, template: str, style: str) -> None:
    """Write the adapter folder of an official one; raise `ValueError` where it does not fit."""
    config, tensors = read(source)
    model = load_model(model_name)
    base = {
        "id": model_name,
        "revision": getattr(model.config, "_commit_hash", None),
        "fingerprint": fingerprint(model),
    }
    config = replace(config, base=base, prompt={"template": template, "style": style})
    Adapter.from_tensors(model, config, tensors, name=source)  # refuses what does not fit
    write_folder(folder, config, tensors)


def main(argv: list[str] | None) -> None:
    """Run the commands of the module docstring."""
    args = build_parser().parse_args(argv)
    if args.verb == "export":
        write(*read_folder(args.source), args.folder, args.keys)
    else:
        import_folder(args.source, args.folder, args.model, args.template, args.prompt_style)
    print(f"written: {args.folder}", flush=True)


if __name__ == "__main__":
    run_command(main)

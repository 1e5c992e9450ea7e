"""Loading and saving models and tokenizers, whole or quantised."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils.logging import (
    disable_progress_bar,
    get_verbosity,
    set_verbosity,
    set_verbosity_error,
)

from unlearn.config.files import replace_directory
from unlearn.language_model.devices import resolve_device, resolve_dtype
from unlearn.language_model.models import resolve_checkpoint
from unlearn.language_model.prompts import check_eos
from unlearn.processes import is_main

# weights load and save in moments; runs show one progress line of their own
disable_progress_bar()

QUANTISED = ("int8", "nf4", "fp4")
MADE_BY_BITSANDBYTES = ("SCB", "weight_format", "absmax", "quant_map", "quant_state")
REASON_LENGTH = 200  # characters of an error of a library


def load_model(
    model: str, device="auto", dtype: str = "auto", attn: str = "auto", quant: str = "no", **options
) -> nn.Module:
    """Load an HF causal language model in eval mode, its parameters frozen, on one device.

    model    a short name, run directory, hub id or folder (`resolve_checkpoint`)
    attn     attention implementation; `auto` leaves the choice to transformers
    quant    `no` or one of QUANTISED
    options  further arguments of from_pretrained

    Raises `ValueError` for anything that cannot be resolved or loaded.
    """
    device = resolve_device(str(device))
    dtype = resolve_dtype(dtype, device)
    options |= {} if attn == "auto" else {"attn_implementation": attn}
    options |= build_quantisation_options(quant, dtype, device)
    checkpoint = resolve_checkpoint(model)
    with one_line_errors(f"model {checkpoint}"):
        loaded, info = AutoModelForCausalLM.from_pretrained(
            checkpoint,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    check_complete(checkpoint, info)
    return (loaded if quant != "no" else loaded.to(device)).eval().requires_grad_(False)


@contextmanager
def one_line_errors(what: str) -> Iterator[None]:
    """Within it, whatever goes wrong becomes a `ValueError` of one line about `what`.

    The warnings of transformers are off: they are tables of many lines.
    """
    verbosity = get_verbosity()
    set_verbosity_error()
    try:
        yield
    except UnpicklingError:
        raise ValueError(
            f"{what} could not be loaded: its .bin file is broken, or holds more than weights and "
            "is not opened; convert it to safetensors"
        ) from None
    except RecursionError:
        raise ValueError(
            f"{what} could not be loaded: a JSON file in it is nested too deeply"
        ) from None
    # transformers, safetensors, tokenizers and torch each raise their own; all mean: not loadable
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if not isinstance(error, (OSError, ValueError)):
            reason = f"{type(error).__name__}: {reason}"
        raise ValueError(
            f"{what} could not be loaded: {reason[:REASON_LENGTH]}; check the folder's files, or "
            "make them again"
        ) from None
    finally:
        set_verbosity(verbosity)


def check_complete(checkpoint: str, info: dict) -> None:
    """Raise `ValueError` where the files lack weights, which would be random, or have them in
    another shape; warn of weights that the model does not use.
    """
    for key, problem in (("missing_keys", "lacks"), ("mismatched_keys", "has another shape of")):
        items = [str(item[0] if isinstance(item, tuple) else item) for item in info[key]]
        names = sorted(name for name in items if not name.endswith(MADE_BY_BITSANDBYTES))
        if names:
            raise ValueError(
                f"model {checkpoint} {problem} {len(names)} weights of its config.json, the first "
                f"is {names[0]}; the files do not belong together or are incomplete: make or "
                "download them again"
            )
    unused = sorted(name for name in info["unexpected_keys"] if not name.endswith("inv_freq"))
    if unused and is_main():
        print(
            f"warning: model {checkpoint} has {len(unused)} weights that its config.json does not "
            f"name, the first is {unused[0]}; they are not used",
            flush=True,
        )


def build_quantisation_options(quant: str, dtype: torch.dtype, device: torch.device) -> dict:
    """Return the options of from_pretrained that quantise the matrices with bitsandbytes.

    int8   LLM.int8 (arXiv 2208.07339), threshold 6
    nf4    arithmetic in `dtype`
    fp4    arithmetic in float32, as in renjie3/GRUN

    Embeddings, norms and output head stay as they are. Raises `ValueError` for another word,
    without bitsandbytes, and for 4 bits on a CPU, where bitsandbytes 0.50 breaks on widths that are
    no multiple of 64 and rounds its scales.
    """
    if quant == "no":
        return {}
    if quant not in QUANTISED:
        raise ValueError(f"--quant {quant} is unknown; choose one of no, {', '.join(QUANTISED)}")
    if find_spec("bitsandbytes") is None:
        raise ValueError(f"--quant {quant} needs bitsandbytes: pip install bitsandbytes==0.50.2")
    if quant != "int8" and device.type == "cpu":
        raise ValueError(
            f"--quant {quant} needs a GPU; on a CPU bitsandbytes computes reliably in int8 only: "
            "pass --quant int8, or --device cuda"
        )
    # it would print at every product that it rounds to float16
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    if quant == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quant,
            bnb_4bit_compute_dtype=dtype if quant == "nf4" else torch.float32,
        )
    # packed weights are made on the device where they will stay
    return {"quantization_config": config, "device_map": {"": device}}


def load_tokenizer(model: str):
    """Load the tokenizer of a model, with EOS for padding where it has no pad token.

    Raises `ValueError` if there is no tokenizer, or if it has no EOS.
    """
    checkpoint = resolve_checkpoint(model)
    with one_line_errors(f"tokenizer {checkpoint}"):
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    check_eos(tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def save_model(
    directory: Path, model: nn.Module, tokenizer, state_dict: dict | None = None
) -> None:
    """Write directory/model, whole or not at all: weights (safetensors), config and tokenizer.

    The weights are those of `state_dict` where it is given.
    """

    def write(folder: Path):
        model.save_pretrained(folder, state_dict=state_dict)
        tokenizer.save_pretrained(folder)

    replace_directory(directory / "model", write)

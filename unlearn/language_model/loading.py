"""Loading and saving models and tokenizers, whole or quantised."""

import logging
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils.logging import disable_progress_bar

from unlearn.config.files import replace_directory
from unlearn.language_model.devices import resolve_device, resolve_dtype
from unlearn.language_model.models import resolve_checkpoint
from unlearn.language_model.prompts import check_eos

# weights load and save in moments; runs show one progress line of their own
disable_progress_bar()

QUANTISED = ("int8", "nf4", "fp4")


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
    try:
        loaded = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype, **options)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"model {checkpoint} could not be loaded: {reason}") from None
    return (loaded if quant != "no" else loaded.to(device)).eval().requires_grad_(False)


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
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"tokenizer {checkpoint} could not be loaded: {reason}") from None
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

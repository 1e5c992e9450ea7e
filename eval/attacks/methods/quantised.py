"""Quantized weights: rounding may undo what a small step of unlearning did (import only).

    int8_rtn, int4_rtn              round to nearest, weights alone, simulated in the model's dtype;
                                    on any device
    int8_bnb, fp4_bnb, nf4_bnb      bitsandbytes: LLM.int8, and 4 bits with float32 arithmetic
                                    (renjie3/GRUN evaluates with fp4)

The edits of an adapter keep their own precision. Source: Zhang et al. 2024 (arXiv 2410.16454).
"""

from importlib import import_module

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from eval.attacks.answers import AttackInputs, generate_rows
from eval.attacks.prompts import plain_prompts
from eval.attacks.registry import AttackFunction, attack
from eval.scoring.model import EvalModel
from unlearn.language_model.architecture import find_decoder_layers

# weights of a row that share a scale: the block size of bitsandbytes' 4-bit formats
GROUP = 64


def round_to_nearest(weight: Tensor, bits: int, group: int = GROUP) -> Tensor:
    """q(w) = s round(w / s) for groups of `group` neighbours in a row, s = max|w| / (2^(bits-1) -
    1); so |w - q(w)| <= s / 2.

    weight: [out, in] of any float dtype and any number of columns; the result has the same shape
    and dtype.
    """
    rows, columns = weight.shape
    padded = nn.functional.pad(weight.float(), (0, -columns % group)).view(rows, -1, group)
    scale = padded.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    rounded = (padded / scale.clamp_min(torch.finfo(scale.dtype).tiny)).round() * scale
    return rounded.view(rows, -1)[:, :columns].to(weight.dtype)


@torch.no_grad()
def quantize(model: nn.Module, bits: int) -> int:
    """Round the weight of every linear map in the decoder layers, in place; return how many there
    are. Embeddings and output head stay.

    Raises `ValueError` for a model whose decoder layers hold no `nn.Linear` or, as GPT-2's, Conv1D.
    """
    modules = find_decoder_layers(model).modules()
    linears = [module for module in modules if isinstance(module, nn.Linear | Conv1D)]
    if not linears:
        raise ValueError(
            f"{type(model).__name__} has no nn.Linear in its blocks, so round-to-nearest would "
            "change nothing; leave int8_rtn, int4_rtn out"
        )
    for linear in linears:
        # a Conv1D holds its matrix as [in, out]
        weight = linear.weight.T if isinstance(linear, Conv1D) else linear.weight
        weight.copy_(round_to_nearest(weight, bits))
    return len(linears)


def pack_linear(linear: nn.Linear, scheme: str) -> nn.Module:
    """The same map in bitsandbytes' int8 (LLM.int8, threshold 6), fp4 or nf4 (blocks of 64, float32
    arithmetic, scales not quantized again), as in renjie3/GRUN's evaluation.
    """
    # not in requirements.txt: bitsandbytes is of use on some GPUs only
    library = import_module("bitsandbytes.nn")
    shape = (linear.in_features, linear.out_features)
    bias = linear.bias is not None
    # bitsandbytes packs a weight when it moves to the device
    weight = linear.weight.detach().cpu()
    if scheme == "int8":
        packed = library.Linear8bitLt(*shape, bias=bias, has_fp16_weights=False, threshold=6.0)
        packed.weight = library.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    else:
        four_bits = {"compress_statistics": False, "quant_type": scheme}
        packed = library.Linear4bit(*shape, bias=bias, compute_dtype=torch.float32, **four_bits)
        packed.weight = library.Params4bit(weight, requires_grad=False, **four_bits)
    packed.bias = linear.bias
    return packed.to(linear.weight.device)


def pack_linears(model: nn.Module, scheme: str) -> None:
    """Replace every linear map in the decoder layers by its packed form, in place."""
    for layer in find_decoder_layers(model):
        for name, module in list(layer.named_modules()):
            if isinstance(module, nn.Linear):
                layer.set_submodule(name, pack_linear(module, scheme))


def round_weights(bits: int) -> AttackFunction:
    """An attack that asks the plain questions after rounding the model's weights."""

    def run(eval_model: EvalModel, inputs: AttackInputs) -> list[dict]:
        quantize(eval_model.model, bits)
        prompts = plain_prompts(eval_model.prompt_encoder, inputs.sides)
        return generate_rows(eval_model, prompts, inputs.settings, f"int{bits} rtn")

    return run


def pack_weights(scheme: str) -> AttackFunction:
    """An attack that asks the plain questions of the model with packed weights."""

    def run(eval_model: EvalModel, inputs: AttackInputs) -> list[dict]:
        pack_linears(eval_model.model, scheme)
        prompts = plain_prompts(eval_model.prompt_encoder, inputs.sides)
        return generate_rows(eval_model, prompts, inputs.settings, f"{scheme} bnb")

    return run


for bits in (8, 4):
    attack(f"int{bits}_rtn", group="quantised", weights="private")(round_weights(bits))
for scheme in ("int8", "fp4", "nf4"):
    name = f"{scheme}_bnb"
    attack(name, "quantised", weights="private", library="bitsandbytes")(pack_weights(scheme))

"""Quantised weights: rounding may undo what a small step of unlearning did (2410.16454). Edits of
an adapter keep their own precision.

int8_rtn, int4_rtn              round to nearest, weights only, simulated in the model's own dtype;
                                on any device
int8_bnb, fp4_bnb, nf4_bnb      bitsandbytes; LLM.int8, and 4-bit with float32 arithmetic (GRUN's
                                evaluation: fp4)
"""

from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor, nn

from eval.attacks.answers import Case, ask
from eval.attacks.prompts import clean
from eval.scoring.model import EvalModel
from unlearn.language_model.models import decoder_layers

GROUP = 64  # weights that share a scale, along a row: the block size of bitsandbytes' 4-bit formats


def round_to_nearest(weight: Tensor, bits: int, group: int = GROUP) -> Tensor:
    """q(w) = s round(w / s) for groups of `group` neighbours in a row, s = max|w| / (2^(bits-1) -
    1); so |w - q(w)| <= s / 2.

    weight [out, in], any float dtype, in any number of columns; the result has the same shape and
    dtype."""
    rows, columns = weight.shape
    padded = nn.functional.pad(weight.float(), (0, -columns % group)).view(rows, -1, group)
    scale = padded.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    rounded = (padded / scale.clamp_min(torch.finfo(scale.dtype).tiny)).round() * scale
    return rounded.view(rows, -1)[:, :columns].to(weight.dtype)


@torch.no_grad()
def quantise(model: nn.Module, bits: int) -> int:
    """Round the weight of every linear map in the decoder blocks, in place; return how many.
    Embeddings and output head stay.

    Raises `ValueError` for a model whose blocks hold no `nn.Linear`."""
    found = [module for module in decoder_layers(model).modules() if isinstance(module, nn.Linear)]
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no nn.Linear in its blocks, so round-to-nearest would change nothing; leave int8_rtn, int4_rtn out"
        )
    for module in found:
        module.weight.copy_(round_to_nearest(module.weight, bits))
    return len(found)


def rtn(bits: int) -> Callable[[EvalModel, Case], list[dict]]:
    """The plain questions, asked of the rounded model. Changes the subject's weights."""

    def rows(eval_model: EvalModel, case: Case) -> list[dict]:
        quantise(eval_model.model, bits)
        return ask(
            eval_model, clean(eval_model.prompt_encoder, case.sides), case.args, f"int{bits} rtn"
        )

    return rows


def packed(linear: nn.Linear, scheme: str) -> nn.Module:
    """The same map in bitsandbytes' int8 (LLM.int8, threshold 6), fp4 or nf4 (blocks of 64, float32
    arithmetic, one quantisation; spec 8)."""
    library = import_module(
        "bitsandbytes.nn"
    )  # not in requirements.txt: it is of use on some GPUs only
    shape = (linear.in_features, linear.out_features)
    bias = linear.bias is not None
    weight = linear.weight.detach().cpu()  # packed when it moves to the device
    if scheme == "int8":
        made = library.Linear8bitLt(*shape, bias=bias, has_fp16_weights=False, threshold=6.0)
        made.weight = library.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    else:
        made = library.Linear4bit(
            *shape,
            bias=bias,
            compute_dtype=torch.float32,
            compress_statistics=False,
            quant_type=scheme,
        )
        made.weight = library.Params4bit(
            weight, requires_grad=False, compress_statistics=False, quant_type=scheme
        )
    made.bias = linear.bias
    return made.to(linear.weight.device)


def bnb(scheme: str) -> Callable[[EvalModel, Case], list[dict]]:
    """The plain questions, asked of the model with packed weights in its decoder blocks. Changes
    the subject's model."""

    def rows(eval_model: EvalModel, case: Case) -> list[dict]:
        for block in decoder_layers(eval_model.model):
            for name, module in list(block.named_modules()):
                if isinstance(module, nn.Linear):
                    block.set_submodule(name, packed(module, scheme))
        return ask(
            eval_model, clean(eval_model.prompt_encoder, case.sides), case.args, f"{scheme} bnb"
        )

    return rows

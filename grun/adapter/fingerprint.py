"""Fingerprints of base models: an adapter is refused on a base that it was not trained on."""

import hashlib

import torch
from torch import Tensor, nn

QUANTISED = "quantised"  # stands for the packed matrices of a quantised base
SMALLEST = 2.0**-10  # float16 and bfloat16 agree on bfloat16 numbers from here on


def fingerprint(model: nn.Module) -> str:
    """Return two groups of 12 hex digits, one of vectors and embeddings, one of other matrices.

    Each hashes names, shapes and 32 numbers spread over every weight, rounded to bfloat16 and
    without the smallest. So a checkpoint has one fingerprint whether it is loaded as float32 or
    bfloat16, or as float16 unless it was made in float32. A quantised model packs its matrices, and
    its second group is `quantised`. Raises `ValueError` for offloaded weights.
    """
    embeddings = {
        id(p)
        for module in (model.get_input_embeddings(), model.get_output_embeddings())
        if module is not None
        for p in module.parameters()
    }
    plain = hashlib.sha256()
    matrices = hashlib.sha256()
    is_packed = bool(getattr(model, "is_quantized", False))
    for name, weight in model.named_parameters():
        if weight.is_meta:
            raise ValueError(
                f"{name} is not in memory (offloaded), so the base model cannot be recognised; "
                "load it on devices alone"
            )
        digest = plain if weight.dim() == 1 or id(weight) in embeddings else matrices
        if is_packed and digest is matrices:
            continue
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(sample_numbers(weight).numpy().tobytes())
    second = QUANTISED if is_packed else matrices.hexdigest()[:12]
    return f"{plain.hexdigest()[:12]}-{second}"


def sample_numbers(weight: Tensor) -> Tensor:
    """Return up to 32 numbers spread over a weight, as every precision would hold them."""
    numbers = weight.detach().flatten()[:: max(1, weight.numel() // 32)][:32].float().cpu()
    return torch.where(numbers.abs() < SMALLEST, 0.0, numbers).bfloat16().float()


def same_base(one: str, other: str) -> bool:
    """Whether two fingerprints may be of one base model; quantised matrices are not compared."""
    plain, _, matrices = one.partition("-")
    other_plain, _, other_matrices = other.partition("-")
    comparable = QUANTISED not in (matrices, other_matrices)
    return plain == other_plain and (matrices == other_matrices or not comparable)

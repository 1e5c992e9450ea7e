"""The only place that resolves devices and data types; no other module names a kind of device."""

import os

import psutil
import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(device: str = "auto") -> torch.device:
    """Return the device. `auto` is this process's CUDA device, else MPS, else the CPU.

    Raises `ValueError` for an unknown name, and for CUDA on a machine without it.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"--device {device} is unknown; choose auto, cpu, cuda, cuda:1, mps"
        ) from None
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"--device {device}: this machine has no CUDA device; pass --device cpu or auto"
        )
    return resolved


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the data type. `auto` is bfloat16 on CUDA and float32 elsewhere.

    Raises `ValueError` for an unknown name.
    """
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise ValueError(f"--dtype {dtype} is unknown; choose one of auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


def choose_mixed_precision(device: torch.device) -> str:
    """Return accelerate's mixed-precision mode for training on this device.

    On CUDA it is bfloat16 autocast over float32 weights, elsewhere plain float32.
    """
    return "bf16" if device.type == "cuda" else "no"


def measure_free_memory(device: torch.device) -> int:
    """Return the free memory of a device in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def has_packed_kernels(device: torch.device) -> bool:
    """Return whether bitsandbytes computes with packed weights on this device at a useful speed."""
    return device.type == "cuda"

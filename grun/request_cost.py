"""What each request of a stack costs: prefill time and memory, measured."""

import time

import pandas as pd
import torch
from torch import Tensor, nn

from grun.inference.hooks import AdapterHooks
from grun.request_stack import RequestStack


def measure_cost(
    stack: RequestStack, model: nn.Module, tokens: int, batch: int, repeats: int
) -> pd.DataFrame:
    """Return prefill time and memory with 0, 1, .. K requests active.

    Columns: requests; prefill ms, the median of `repeats` passes over `batch` prompts of `tokens`
    random tokens; added ms, the median difference from the pass without requests of the same
    round; adapters KiB, the memory of the active adapters.
    """
    vocabulary = model.config.get_text_config().vocab_size
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, vocabulary, (batch, tokens), generator=generator)
    ids = ids.to(next(model.parameters()).device)
    with stack.attach(model) as adapter_hooks, torch.no_grad():
        time_prefills(adapter_hooks, ids)  # the first round warms up
        times = pd.DataFrame([time_prefills(adapter_hooks, ids) for _ in range(repeats)])
        sizes = [adapter.n_bytes / 2**10 for adapter in adapter_hooks.adapters]
    return pd.DataFrame(
        {
            "requests": times.columns,
            "prefill ms": times.median(),
            "added ms": times.sub(times[0], axis=0).median(),
            "adapters KiB": [sum(sizes[:count]) for count in times.columns],
        }
    )


def time_prefills(adapter_hooks: AdapterHooks, ids: Tensor) -> list[float]:
    """Return the milliseconds of one prefill of `ids` with the first 0, 1, .. K requests."""
    milliseconds = []
    for count in range(len(adapter_hooks.names) + 1):
        with adapter_hooks.only(adapter_hooks.names[:count]):
            milliseconds.append(1e3 * time_prefill(adapter_hooks.model, ids))
    return milliseconds


def time_prefill(model: nn.Module, ids: Tensor) -> float:
    """Return the seconds of one prefill; reading a number back waits for the device."""
    began = time.perf_counter()
    model(ids, use_cache=False).logits[0, -1, 0].item()
    return time.perf_counter() - began

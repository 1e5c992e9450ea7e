"""Which engine trains an adapter: the cached one where it fits the model, else the plain path."""

import torch
from torch import nn

from grun.adapter.weights import Adapter
from grun.engines.base import Engine
from grun.engines.cached import CachedEngine
from grun.engines.hooked import HookedEngine
from grun.engines.pyvene import PyveneEngine
from unlearn.language_model.batches import Batch


def choose_engine(
    name: str, cache_gb: float | None, model: nn.Module, adapter: Adapter, sample: Batch
) -> Engine:
    """The engine asked for, `cached` or `pyvene`.

    The plain path (pyvene's, or that of GRUN+'s hooks) is taken instead, with a line that says so,
    where the cached engine's answers on `sample` differ from the model's, or where edits reach into
    the prompt, whose states it keeps."""
    edits_more = adapter.edit_policy.at != "last"
    plain = HookedEngine(model, adapter) if edits_more else PyveneEngine(model, adapter)
    edits_prompt = adapter.edit_policy.edits_fired_tokens
    if edits_prompt and name == "cached":
        print(
            f"--edit_at {adapter.edit_policy.at} edits prompt tokens, so nothing is cached; going "
            "on with whole prompts",
            flush=True,
        )
    if name == "pyvene" or edits_prompt:
        return plain
    cached = CachedEngine(model, adapter, cache_gb)
    try:
        torch.testing.assert_close(
            cached.reference_forward(sample).nll_sum,
            plain.reference_forward(sample).nll_sum,
            rtol=1e-4 if model.dtype == torch.float32 else 0.05,
            atol=1e-3,
        )
    except Exception as reason:
        print(
            f"the cached engine does not fit {type(model).__name__} "
            f"({str(reason).splitlines()[0]}); going on with --engine pyvene",
            flush=True,
        )
        return plain
    return cached

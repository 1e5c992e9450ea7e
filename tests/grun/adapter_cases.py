"""Toy adapters, and their edit written out by hand, for the tests of grun."""

from contextlib import contextmanager

import torch

from grun.adapter.fingerprint import fingerprint
from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from unlearn.language_model.architecture import find_decoder_layers

LAYERS = [1, 3]
STRONG = 300  # an adapter of this strength changes (almost) every answer


def build_adapter(model, gate="linear", layers=LAYERS, seed=3, strength=1, **more) -> Adapter:
    """A random rank-2 adapter; `strength` multiplies W, so that every answer changes."""
    base = {"id": "x", "fingerprint": fingerprint(model)}
    config = AdapterConfig(**{"layers": list(layers), "rank": 2, "gate": gate, "base": base} | more)
    adapter = Adapter(model, config, seed)
    with torch.no_grad():
        for edit in adapter.edits.values():
            edit.learned_source.weight.mul_(strength)
    return adapter


@contextmanager
def edited_by_hand(model, adapter, column):
    """Within it, every pass is edited at one column, by hooks of the tests' own.

    h' = h + sigmoid(w h + b) R (W h + b - R^T h)
    """

    def hook(edit):
        def change(_module, _args, out):
            hidden = (out[0] if isinstance(out, tuple) else out).clone()
            h = hidden[:, column]
            rotation = edit.rotation().detach()
            gate = edit.gate.gate_func
            g = torch.sigmoid(h @ gate.weight[0] + gate.bias)
            target = h @ edit.learned_source.weight.T + edit.learned_source.bias
            hidden[:, column] += g[:, None] * (target - h @ rotation) @ rotation.T
            return (hidden, *out[1:]) if isinstance(out, tuple) else hidden

        return change

    handles = [
        find_decoder_layers(model)[layer].register_forward_hook(hook(adapter.intervention(layer)))
        for layer in adapter.layers
    ]
    with torch.no_grad():
        yield
    for handle in handles:
        handle.remove()


@contextmanager
def recorded_outputs(model, layer):
    """Within it, the output [B, T, d] of a layer in every pass is appended to the list it gives.

    It is registered last, so edits are in it.
    """
    outputs = []

    def record(_module, _args, out):
        outputs.append((out[0] if isinstance(out, tuple) else out).detach().clone())

    handle = find_decoder_layers(model)[layer].register_forward_hook(record)
    try:
        yield outputs
    finally:
        handle.remove()


def generate(model, ids, mask, **more):
    """The new tokens of 8 steps, greedy unless `more` says otherwise."""
    torch.manual_seed(5)
    options = {"max_new_tokens": 8, "do_sample": False} | more
    return model.generate(input_ids=ids, attention_mask=mask, **options)[:, ids.shape[1] :]

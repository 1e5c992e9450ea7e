"""Forward passes over packed suffixes: only the blocks above one layer run.

The model's own code runs everything but two things (rotary positions, norms, soft caps and output
head included). The blocks up to `first` hand over the stored hidden states, and the attention of
the others is this module's `attend`, which every architecture on transformers' attention interface
calls.
"""

from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from grun.engines.packed_suffix import PackedSuffixes
from unlearn.language_model.architecture import find_decoder_layers
from unlearn.language_model.hidden_states import StopForward

NAME = "grun_suffix"

# what models pass to attention besides, that changes no number here; `is_causal=False` would
IGNORED_ARGUMENTS = {
    "cache_position",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "position_ids",
    "return_dict",
    "use_cache",
}


class PackedPass:
    """One pass under way: its layout, and the keys and values that it is to record, if any.

    record: number of blocks whose keys and values are kept, side by side in `recorded`,
    [H_kv, N, d_k + d_v] each; the pass ends after the last of them.
    """

    def __init__(self, packed: PackedSuffixes, record: int = 0):
        self.packed = packed
        self.record = record
        self.recorded: list[Tensor] = []

    def record_block(self, key: Tensor, value: Tensor) -> None:
        """Keep a block's keys [1, H_kv, N, d_k] and values [1, H_kv, N, d_v]."""
        self.recorded.append(torch.cat([key, value], -1)[0])
        if len(self.recorded) == self.record:
            raise StopForward


_passes: list[PackedPass] = []  # under way; attention functions get no argument of ours


def attend(
    module,
    query,
    key,
    value,
    attention_mask=None,
    scaling=None,
    dropout=0.0,
    sliding_window=None,
    softcap=None,
    is_causal=True,
    s_aux=None,
    **others,
):
    """Attention in transformers' signature, within each suffix and to its prefix.

    query [1, H, N, d_k], key [1, H_kv, N, d_k], value [1, H_kv, N, d_v] -> ([1, N, H, d_v], None);
    s_aux [H]: attention sinks. Raises `ValueError` for an argument that it does not know: attention
    would be another function.
    """
    check_arguments(module, attention_mask, is_causal, others)
    current = _passes[-1]
    packed = current.packed
    if current.record:
        current.record_block(key, value)
    outputs = []
    layer = module.layer_idx - packed.first - 1
    parts = zip(packed.groups, packed.pad(query), packed.pad(key), packed.pad(value), strict=True)
    for group, q, k, v in parts:
        k, v = group.with_prefix(layer, k, v)
        mask = group.mask(sliding_window)
        if softcap is None and s_aux is None:
            is_grouped = q.shape[1] != k.shape[1]
            outputs.append(
                scaled_dot_product_attention(
                    q, k, v, mask, dropout, scale=scaling, enable_gqa=is_grouped
                )
            )
        else:
            outputs.append(attend_by_scores(q, k, v, mask, scaling, softcap, s_aux))
    return packed.pack(outputs), None


def check_arguments(module, attention_mask: Tensor | None, is_causal: bool | None, others: dict):
    """Raise `ValueError` where attention is not causal attention within the packed suffixes."""
    unknown = [
        name
        for name, value in others.items()
        if value is not None and name not in IGNORED_ARGUMENTS
    ]
    unknown += ["attention_mask"] if attention_mask is not None else []
    unknown += ["is_causal=False"] if is_causal is False else []
    if unknown:
        raise ValueError(
            f"the attention of {type(module).__name__} takes {', '.join(unknown)}, which the "
            "cached engine does not know; use --engine pyvene"
        )


def attend_by_scores(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    scaling: float,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """Return sum_j p_j v_j, [B, H, S, d_v], over the keys j that `mask` names.

    p_j = exp(z_j) / (exp(sink) + sum_i exp(z_i)), z = s q k^T or, with a cap c, c tanh(s q k^T / c)
    (Gemma 2); sinks [H], where there are any: one more score a head, without a value (GPT-OSS).
    """
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
    scores = (q @ k.transpose(2, 3)) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~mask, float("-inf"))
    if sinks is not None:
        shape = (len(q), -1, q.shape[2], -1)
        scores = torch.cat([scores, sinks[None, :, None, None].expand(shape)], -1)
    weights = scores.float().softmax(-1).to(q.dtype)
    return weights[..., : k.shape[2]] @ v


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, lambda *_, **__: None)  # `attend` makes its own mask


@contextmanager
def _packed_attention(model: nn.Module, current: PackedPass):
    """Within it, the model's attention is `attend` on this pass."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = NAME
    _passes.append(current)
    try:
        yield
    finally:
        _passes.pop()
        config._attn_implementation = before


@contextmanager
def _forward_replaced(block: nn.Module, forward):
    block.forward = forward
    try:
        yield
    finally:
        del block.forward


def run_suffixes(
    model: nn.Module, hidden: Tensor, ids: Tensor, current: PackedPass, returns_tuple: bool
) -> Tensor:
    """Return the logits [1, N, V] of a causal model over packed suffixes.

    hidden [N, d]: output of block `current.packed.first`; ids [N]: their tokens, which only pass
    through; returns_tuple: whether the model's blocks do. Hooks on that block, on those above it
    and on the output head work as in any forward.
    """

    def build_hand_over(given: Tensor | None):
        def hand_over(states, *_, **__):
            out = states if given is None else given
            return (out,) if returns_tuple else out

        return hand_over

    packed = current.packed
    with ExitStack() as stack:
        stack.enter_context(_packed_attention(model, current))
        for number, block in enumerate(find_decoder_layers(model)[: packed.first + 1]):
            given = hidden[None] if number == packed.first else None
            stack.enter_context(_forward_replaced(block, build_hand_over(given)))
        return model(
            input_ids=ids[None], position_ids=packed.positions[None], use_cache=False
        ).logits


def run_below(model: nn.Module, ids: list[list[int]], last: int) -> tuple[Tensor, bool]:
    """Return the output [N, d] of block `last` on whole texts, packed, and whether a block returns
    a tuple; nothing after that block runs.
    """
    device = next(model.parameters()).device
    outputs = []

    def stop(_module, _args, output):
        outputs.append(output)
        raise StopForward

    packed = PackedSuffixes([len(text) for text in ids], [0] * len(ids), None, -1, device)
    flat = torch.tensor([i for text in ids for i in text], device=device)
    handle = find_decoder_layers(model)[last].register_forward_hook(stop)
    try:
        with _packed_attention(model, PackedPass(packed)):
            model(input_ids=flat[None], position_ids=packed.positions[None], use_cache=False)
    except StopForward:
        pass
    finally:
        handle.remove()
    is_tuple = isinstance(outputs[0], tuple)
    return (outputs[0][0] if is_tuple else outputs[0])[0], is_tuple


def run_above(
    model: nn.Module, hidden: Tensor, ids: list[list[int]], first: int, returns_tuple: bool
) -> Tensor:
    """Return keys and values [L_above, H_kv, N, d_k + d_v] in the blocks above `first`.

    hidden [N, d]: output of that block on texts, packed. Nothing after the last key and value runs.
    """
    packed = PackedSuffixes([len(text) for text in ids], [0] * len(ids), None, first, hidden.device)
    current = PackedPass(packed, record=len(find_decoder_layers(model)) - first - 1)
    flat = torch.tensor([i for text in ids for i in text], device=hidden.device)
    try:
        run_suffixes(model, hidden, flat, current, returns_tuple)
    except StopForward:
        pass
    return torch.stack(current.recorded)

"""Hidden states of one decoder layer: read during any pass, or from a pass that stops there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from peft import PeftModel
from torch import Tensor, nn

from unlearn.language_model.architecture import find_decoder_layers
from unlearn.language_model.batches import AnswerLogits, Batch, forward_answers


class StopForward(Exception):
    """Ends a forward pass after the last layer that is needed."""


def right_pad(texts: list[list[int]], pad_id: int, device, width: int = 0) -> tuple[Tensor, Tensor]:
    """Pad token ids on the right; return ids [B, T] int64 and which are tokens, [B, T] bool.

    T is `width`, or the longest text where that is longer.
    """
    width = max(width, *map(len, texts))
    ids = [text + [pad_id] * (width - len(text)) for text in texts]
    is_token = [[True] * len(text) + [False] * (width - len(text)) for text in texts]
    return torch.tensor(ids, device=device), torch.tensor(is_token, device=device)


@contextmanager
def observe_layer(model: nn.Module, layer: int, stop: bool = False) -> Iterator[list[Tensor]]:
    """Within it, every pass appends the output [B, T, d] of decoder layer `layer` to a list.

    stop   end the pass there, by raising `StopForward`
    """
    outputs: list[Tensor] = []

    def append_output(_module, _args, output):
        outputs.append(output[0] if isinstance(output, tuple) else output)
        if stop:
            raise StopForward

    handle = find_decoder_layers(model)[layer].register_forward_hook(append_output)
    try:
        yield outputs
    finally:
        handle.remove()


def compute_states(model: nn.Module, layer: int, ids: Tensor, mask: Tensor) -> Tensor:
    """Return the output [B, T, d] of decoder layer `layer`; no later layer runs.

    It has gradients where they are on.
    """
    with observe_layer(model, layer, stop=True) as outputs:
        try:
            model(input_ids=ids, attention_mask=mask.long(), use_cache=False)
        except StopForward:
            pass
    return outputs[0]


def forward_with_states(
    model: nn.Module,
    batch: Batch,
    state_layer: int | None = None,
    edited: Callable | None = None,
) -> AnswerLogits:
    """Run one batch through the whole model and return its answer logits; with `state_layer` also
    that decoder layer's output at the same positions.

    edited   called in the model's place, with the same arguments
    """
    head = model.get_output_embeddings()
    if state_layer is None:
        return forward_answers(edited or model, batch, head)
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    with observe_layer(base, state_layer) as outputs:
        answers = forward_answers(edited or model, batch, head)
    return replace(answers, states=outputs[0][batch.example_index, batch.token_index - 1])

"""Greedy answers of a causal language model, the same in a batch of any size."""

from itertools import takewhile

import torch
from torch import nn

from unlearn.language_model.batches import pad_left
from unlearn.language_model.prompts import PromptEncoder
from unlearn.language_model.sampling import GumbelNoise


@torch.no_grad()
def generate_ids(
    model: nn.Module,
    prompt_encoder: PromptEncoder,
    prompts: list[list[int]],
    max_new_tokens: int,
    seeds: list[int] | None = None,
) -> list[list[int]]:
    """Continue every prompt, in one left-padded batch; return the new ids up to EOS or the end of a
    chat's turn.

    Greedy; with one seed per prompt, sampled at temperature 1 from the whole vocabulary, the same
    in any batch.
    """
    pad_id = prompt_encoder.tokenizer.pad_token_id
    stop_ids = prompt_encoder.stop_ids
    device = next(model.parameters()).device
    ids, mask = pad_left(prompts, pad_id, device)
    output = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        logits_processor=None if seeds is None else [GumbelNoise(seeds)],
        pad_token_id=pad_id,
        eos_token_id=stop_ids,
    )
    return [
        list(takewhile(lambda token: token not in stop_ids, row))
        for row in output[:, ids.shape[1] :].tolist()
    ]

"""White box: what somebody with the weights finds. Taking an adapter off brings everything back; a
column, not a secret."""

from contextlib import nullcontext

import torch

from eval.attacks.answers import Case, ask
from eval.attacks.prompts import clean, every, prefilled
from eval.scoring.likelihood import by_length
from eval.scoring.model import EvalModel, FilteredModel
from unlearn.benchmarks.examples import Example
from unlearn.language_model.batches import Batch, pad
from unlearn.language_model.models import decoder_layers, final_norm
from unlearn.language_model.prompts import PromptEncoder


def gate_off(eval_model: EvalModel, case: Case) -> list[dict]:
    """The plain questions with the adapter (GRUN's, LoRA, a control's guard) taken off; no rows
    where there is none to take off."""
    plain = EvalModel(eval_model.name, eval_model.model, eval_model.prompt_encoder)
    off = (
        eval_model.adapter_hooks.off
        if eval_model.adapter_hooks
        else getattr(eval_model.model, "disable_adapter", nullcontext)
    )
    if off is nullcontext and not isinstance(eval_model, FilteredModel):
        return []
    with off():
        return ask(plain, clean(plain.prompt_encoder, case.sides), case.args, "gate off")


def logit_lens(eval_model: EvalModel, case: Case) -> list[dict]:
    """Does any layer still know? Every block's output, at the tokens before the secret, read
    through the final norm and output head.

    Rows: side, index, variant, by_layer: per block, the share of the secret's tokens (of all answer
    tokens where the data know no secret) that are its first choice. The true answer up to each
    token is in the context, so this is a prefill by every prefix."""
    named = every(case.sides)
    encoded = [eval_model.prompt_encoder.encode(e.question, e.answer) for _, _, e in named]
    spans = [secret(eval_model.prompt_encoder, e) for _, _, e in named]
    rows: list = [None] * len(named)
    for indices in by_length([len(e.ids) for e in encoded], case.args.batch_size):
        batch = pad(
            [encoded[i] for i in indices],
            eval_model.prompt_encoder.tokenizer.pad_token_id,
            eval_model.device,
        )
        right = first_choices(eval_model, batch) == batch.labels
        for place, i in enumerate(indices):
            side, _, e = named[i]
            start, end = (position - encoded[i].prompt for position in spans[i])
            share = right[:, batch.example_index == place][:, start:end].float().mean(1).tolist()
            rows[i] = {
                "side": side,
                "index": e.index,
                "variant": "",
                "answer": e.answer,
                "value": e.value,
                "by_layer": share,
            }
    return rows


def secret(prompt_encoder: PromptEncoder, e: Example) -> tuple[int, int]:
    """[start, end): the tokens of the answer that hold its value; all but EOS where no value is
    known."""
    encoded = prompt_encoder.encode(e.question, e.answer)
    if not e.value or e.value not in e.answer:
        return encoded.prompt, len(encoded.ids) - 1
    before, _, _ = e.answer.partition(e.value)
    start, end = (
        len(prefilled(prompt_encoder, e, cut)) for cut in (before.rstrip(), before + e.value)
    )
    return min(start, end - 1), end


@torch.no_grad()
def first_choices(eval_model: EvalModel, batch: Batch) -> torch.Tensor:
    """[L, N] int64: each block's most likely token at each scored position."""
    model = getattr(
        eval_model.model, "get_base_model", lambda: eval_model.model
    )()  # beneath LoRA's wrapper
    norm = final_norm(model)
    head = model.get_output_embeddings()
    seen = []

    def look(_module, _args, output):
        seen.append(
            (output[0] if isinstance(output, tuple) else output)[
                batch.example_index, batch.token_index - 1
            ]
        )

    handles = [
        block.register_forward_hook(look) for block in decoder_layers(model)
    ]  # after an adapter's hooks: they see its edits
    try:
        eval_model.answers(batch)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([head(norm(hidden)).argmax(-1) for hidden in seen])

"""White-box attacks: what somebody with the weights finds (import only).

Removing an adapter restores the model before unlearning, so for adapters "gate_off" is a property
of the method and no secret.
"""

import torch

from eval.attacks.answers import AttackInputs, generate_rows
from eval.attacks.prompts import iterate_sides, plain_prompts, prefill_ids
from eval.attacks.registry import attack
from eval.scoring.bare_model import bare_model
from eval.scoring.batching import batch_by_length
from eval.scoring.model import EvalModel
from unlearn.benchmarks.examples import Example
from unlearn.language_model.architecture import find_decoder_layers, find_final_norm
from unlearn.language_model.batches import Batch, pad
from unlearn.language_model.prompts import PromptEncoder


@attack("gate_off", group="whitebox", weights="shared")
def gate_off(eval_model: EvalModel, inputs: AttackInputs) -> list[dict]:
    """The plain questions without the adapter (GRUN's, LoRA) or the input filter of a control; no
    rows where the model has neither.
    """
    with bare_model(eval_model) as bare:
        if bare is None:
            return []
        prompts = plain_prompts(bare.prompt_encoder, inputs.sides)
        return generate_rows(bare, prompts, inputs.settings, "gate off")


@attack("logit_lens", group="whitebox")
def logit_lens(eval_model: EvalModel, inputs: AttackInputs) -> list[dict]:
    """Does any layer still know the answer? Read every decoder layer's output, at the tokens before
    the secret, through the final norm and the output head.

    Rows: side, index, variant, answer, value, by_layer: per decoder layer, the share of the
    secret's tokens (of all answer tokens where the data name no secret) that are its most likely
    token. The true answer up to each token is in the context, so this is a prefill by every prefix.
    Source: nostalgebraist 2020, "interpreting GPT: the logit lens"; Patil et al. 2024 (arXiv
    2309.17410).
    """
    prompt_encoder = eval_model.prompt_encoder
    examples = [(side, example) for side, _, example in iterate_sides(inputs.sides)]
    encoded = [prompt_encoder.encode(e.question, e.answer) for _, e in examples]
    spans = [find_secret_tokens(prompt_encoder, e) for _, e in examples]
    rows: list = [None] * len(examples)
    for indices in batch_by_length([len(e.ids) for e in encoded], inputs.settings.batch_size):
        pad_id = prompt_encoder.tokenizer.pad_token_id
        batch = pad([encoded[i] for i in indices], pad_id, eval_model.device)
        correct = predict_by_layer(eval_model, batch) == batch.labels
        for place, i in enumerate(indices):
            side, example = examples[i]
            start, end = (position - encoded[i].prompt_length for position in spans[i])
            secret = correct[:, batch.example_index == place][:, start:end]
            rows[i] = {
                "side": side,
                "index": example.index,
                "variant": "",
                "answer": example.answer,
                "value": example.value,
                "by_layer": secret.float().mean(1).tolist(),
            }
    return rows


def find_secret_tokens(prompt_encoder: PromptEncoder, example: Example) -> tuple[int, int]:
    """[start, end) of the tokens that hold the example's value; the whole answer without EOS where
    no value is known.
    """
    encoded = prompt_encoder.encode(example.question, example.answer)
    if not example.value or example.value not in example.answer:
        return encoded.prompt_length, len(encoded.ids) - 1
    before, _, _ = example.answer.partition(example.value)
    start = len(prefill_ids(prompt_encoder, example, before.rstrip()))
    end = len(prefill_ids(prompt_encoder, example, before + example.value))
    return min(start, end - 1), end


@torch.no_grad()
def predict_by_layer(eval_model: EvalModel, batch: Batch) -> torch.Tensor:
    """[L, N] int64: each decoder layer's most likely token at each of the batch's N labels."""
    # a LoRA model wraps the model whose layers are read
    model = getattr(eval_model.model, "get_base_model", lambda: eval_model.model)()
    norm = find_final_norm(model)
    head = model.get_output_embeddings()
    states = []

    def record(_module, _args, output):
        hidden = output[0] if isinstance(output, tuple) else output
        states.append(hidden[batch.example_index, batch.token_index - 1])

    # registered after an adapter's hooks, so that they see its edits
    handles = [layer.register_forward_hook(record) for layer in find_decoder_layers(model)]
    try:
        eval_model.forward_weights(batch)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([head(norm(hidden)).argmax(-1) for hidden in states])

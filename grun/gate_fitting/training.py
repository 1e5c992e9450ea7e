"""GRUN+ in training: its flags, the gate fitted or its threshold set, and engines whose edits reach
further than one token.

    python -m grun.train --model tiny-robust --variant grun+            closed-form gate, edits from
                                                                        the answer tag on
    python -m grun.train --model tiny-robust --variant grun+mixed       ... and on the name, keeps
                                                                        the retain part of mixed
                                                                        prompts

`grun.inference.token_gate_hooks` says what the choices mean; the recipes of the two designs are in
unlearn/config/recipes.py."""

import time
from dataclasses import asdict, fields, replace

import torch
from torch import nn

from grun.adapter.edit_policy import EditPolicy
from grun.adapter.weights import Adapter
from grun.gate_fitting.contexts import VALIDATION
from grun.gate_fitting.contexts import ContextSampler as Prompts
from grun.gate_fitting.fit import fit_gate
from grun.gate_fitting.prompt_forms import FormedPairs
from grun.options import GrunPlusOptions
from unlearn.language_model.batches import pad
from unlearn.language_model.prompts import PromptEncoder, count_common_prefix
from unlearn.training.sampler import ForgetRetainSampler


def tag_of(prompt_encoder: PromptEncoder) -> list[int]:
    """Token ids that end every prompt of this template ("Answer:"): what two prompts that differ in
    the question have in common at the end."""
    one, other = (
        prompt_encoder.prompt_ids(question)[::-1] for question in ("Who is it?", "When 1999!")
    )
    shared = one[: count_common_prefix(one, other)][::-1]
    text = prompt_encoder.text("x").rpartition("x")[2]
    while len(shared) > 1 and len(prompt_encoder.tokenizer.decode(shared[1:]).strip()) >= len(
        text.strip()
    ):
        shared = shared[1:]
    return shared


def pairs_for(
    args: GrunPlusOptions, pairs: ForgetRetainSampler, seed: int
) -> tuple[ForgetRetainSampler, list]:
    """The run's items, and the retain examples set aside for a bce gate's threshold (none
    otherwise)."""
    if args.joined_items:
        pairs = FormedPairs(**{f.name: getattr(pairs, f.name) for f in fields(pairs)})
    if args.gate_fit == "metric" or args.gate_threshold == "soft":
        return pairs, []
    prompts = Prompts(None, pairs.forget, pairs.retain, "token", seed)
    kept, held = (
        [e for own in groups.values() for e in own]
        for groups in (prompts.fitting, prompts.validation)
    )
    if not kept:
        raise ValueError(
            f"--gate_threshold calibrated holds {VALIDATION:.0%} of the retain entities out, and nothing would be left; give more retain data"
        )
    return replace(pairs, retain=kept), held


def close_the_form(
    adapter: Adapter,
    model: nn.Module,
    prompt_encoder: PromptEncoder,
    args: GrunPlusOptions,
    pairs: ForgetRetainSampler,
    seed: int,
) -> dict:
    """Fit the metric gate of an adapter that wants one; return what it did (for result.json)."""
    if args.gate_fit != "metric":
        return {}
    layer = (
        args.gate_layer
        if args.gate_layer is not None
        else 0
        if args.gate_reads == "token"
        else adapter.layers[0]
    )
    if not 0 <= layer <= adapter.layers[0]:
        raise ValueError(
            f"--gate_layer {layer}: the gate reads states that no edit has touched, so choose 0 to {adapter.layers[0]}, the first edited one"
        )
    began = time.perf_counter()
    adapter.metric_gate, found = fit_gate(
        model,
        prompt_encoder,
        pairs.forget,
        pairs.retain,
        layer,
        args.gate_reads,
        args.gate_negatives,
        args.gate_slack,
        seed,
    )
    adapter.requires_grad_(True)
    print(
        "gate: "
        + "  ".join(f"{name.removeprefix('gate_')} {value:.4g}" for name, value in found.items()),
        flush=True,
    )
    return found | {"gate_layer": layer, "gate_seconds": round(time.perf_counter() - began, 2)}


@torch.no_grad()
def calibrate(
    adapter: Adapter,
    engine,
    prompt_encoder: PromptEncoder,
    args: GrunPlusOptions,
    forget: list,
    held: list,
) -> dict:
    """The threshold of a trained gate, per layer: at most gate_fpr of the validation slice opens
    any of the L gates (gate_fpr / L each), unless fewer than 99 % of the forget prompts would then
    open this one. Kept in adapter.config."""
    if args.gate_fit != "bce" or args.gate_threshold != "calibrated":
        return {}

    def logits(examples):
        encoded = [prompt_encoder.encode(e.question, e.answer) for e in examples]
        parts = [
            pad(
                encoded[i : i + 32],
                prompt_encoder.tokenizer.pad_token_id,
                next(adapter.parameters()).device,
            )
            for i in range(0, len(encoded), 32)
        ]
        return torch.cat(
            [engine.forward_answers({"forget": part})["forget"].gate_logits for part in parts], 1
        ).cpu()

    negative = logits(held)
    positive = logits(forget)
    share = 1 - args.gate_fpr / len(negative)
    taus = torch.minimum(
        torch.quantile(negative, share, dim=1, interpolation="higher"),
        torch.quantile(positive, 0.01, dim=1, interpolation="lower"),
    )
    policy = asdict(adapter.edit_policy) | {
        "taus": {str(layer): float(tau) for layer, tau in zip(adapter.layers, taus, strict=True)}
    }
    adapter.config = replace(adapter.config, edit_policy=policy)
    adapter.edit_policy = EditPolicy(**policy)
    parts = (("gate_validation_fires", negative), ("gate_forget_fires", positive))
    return {name: float((part > taus[:, None]).any(0).float().mean()) for name, part in parts}

"""The threshold of a trained gate, set on retain examples that training does not see."""

from dataclasses import asdict, replace

import torch
from torch import Tensor

from grun.adapter.edit_policy import EditPolicy
from grun.adapter.weights import Adapter
from grun.gate_fitting.contexts import VALIDATION, ContextSampler
from unlearn.benchmarks.examples import Example
from unlearn.language_model.batches import pad
from unlearn.language_model.prompts import PromptEncoder
from unlearn.training.protocols import Tuner
from unlearn.training.sampler import ForgetRetainSampler

FORGET_QUANTILE = 0.01  # 99 % of the forget prompts open a gate, whatever the retain prompts do
BATCH_SIZE = 32


def hold_out_validation(
    sampler: ForgetRetainSampler, seed: int
) -> tuple[ForgetRetainSampler, list[Example]]:
    """Return the sampler without the validation slice of its retain entities, and that slice.

    Raises `ValueError` where nothing would be left.
    """
    contexts = ContextSampler(None, sampler.forget, sampler.retain, "token", seed)
    retain, validation = (
        [example for rows in groups.values() for example in rows]
        for groups in (contexts.fitting, contexts.validation)
    )
    if not retain:
        raise ValueError(
            f"--gate_threshold calibrated holds {VALIDATION:.0%} of the retain entities out, and "
            "nothing would be left; give more retain data"
        )
    return replace(sampler, retain=retain), validation


@torch.no_grad()
def calibrate_gate(
    adapter: Adapter,
    tuner: Tuner,
    prompt_encoder: PromptEncoder,
    forget: list[Example],
    validation: list[Example],
    false_positive_rate: float,
) -> dict[str, float]:
    """Set the threshold of each of the L trained gates; return which shares of prompts open any.

        tau_l = min(1 - rate / L quantile of the validation logits, 1 % quantile of forget logits)

    So at most `false_positive_rate` of the validation slice opens any gate, unless fewer than 99 %
    of the forget prompts would then open this one. The thresholds go to adapter.edit_policy and
    adapter.config. Nothing is done for a policy that needs no threshold.
    """
    if not adapter.edit_policy.needs_calibration:
        return {}
    negative = compute_gate_logits(adapter, tuner, prompt_encoder, validation)
    positive = compute_gate_logits(adapter, tuner, prompt_encoder, forget)
    share = 1 - false_positive_rate / len(negative)
    taus = torch.minimum(
        torch.quantile(negative, share, dim=1, interpolation="higher"),
        torch.quantile(positive, FORGET_QUANTILE, dim=1, interpolation="lower"),
    )
    by_layer = {str(layer): float(tau) for layer, tau in zip(adapter.layers, taus, strict=True)}
    policy = asdict(adapter.edit_policy) | {"taus": by_layer}
    adapter.config = replace(adapter.config, edit_policy=policy)
    adapter.edit_policy = EditPolicy(**policy)
    parts = {"gate_validation_fires": negative, "gate_forget_fires": positive}
    return {
        name: float((logits > taus[:, None]).any(0).float().mean())
        for name, logits in parts.items()
    }


def compute_gate_logits(
    adapter: Adapter, tuner: Tuner, prompt_encoder: PromptEncoder, examples: list[Example]
) -> Tensor:
    """Return the gate logits of examples, [L, N] float32 on the CPU."""
    device = next(adapter.parameters()).device
    encoded = [prompt_encoder.encode(e.question, e.answer) for e in examples]
    parts = []
    for start in range(0, len(encoded), BATCH_SIZE):
        chosen = encoded[start : start + BATCH_SIZE]
        batch = pad(chosen, prompt_encoder.tokenizer.pad_token_id, device)
        parts.append(tuner.forward_answers({"forget": batch})["forget"].gate_logits)
    return torch.cat(parts, 1).cpu()

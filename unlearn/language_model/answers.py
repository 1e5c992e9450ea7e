"""`Answer`: what a model says to one prompt, beside what the base model says, with the gates."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from unlearn.language_model.prompts import PromptEncoder


@dataclass(frozen=True)
class Answer:
    """The answer to one prompt.

    answer       the model's, greedy
    base_answer  the same model's without what unlearned it (adapter, LoRA, filter), or that of the
                 model before unlearning; None where there is none
    gates        name -> gate at this prompt, 0 to 1: `layer 3`, in a stack of requests
                 `alice, layer 3`, of a filter `refuses`; empty for a model without gates
    """

    answer: str
    base_answer: str | None = None
    gates: dict[str, float] = field(default_factory=dict)


def name_gates(
    gates: Tensor | None, layers: Sequence[int], names: Sequence[str] = ()
) -> dict[str, float]:
    """Return the gates of one prompt by name, as `Answer` has them.

    gates: [L], or [K, L] for K adapters with their names, NaN where one does not gate a layer.
    """
    if gates is None:
        return {}
    if not names:
        return {f"layer {layer}": gate for layer, gate in zip(layers, gates.tolist(), strict=True)}
    return {
        f"{name}, layer {layer}": gate
        for name, row in zip(names, gates.tolist(), strict=True)
        for layer, gate in zip(layers, row, strict=True)
        if gate == gate  # not NaN
    }


def find_room(
    model: nn.Module, prompt_encoder: PromptEncoder, prompt: list[int], max_new_tokens: int
) -> int:
    """Return how many tokens the model can answer to a prompt, at most `max_new_tokens`.

    Raises `ValueError` for a prompt that fills the model's positions or the encoder's max_length,
    at which `PromptEncoder.prompt_ids` cuts.
    """
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    limit = min(positions or prompt_encoder.max_length, prompt_encoder.max_length)
    if len(prompt) >= limit:
        raise ValueError(
            f"the prompt is too long: {limit} tokens or more, and this model is asked with fewer; "
            "ask a shorter question"
        )
    return min(max_new_tokens, positions - len(prompt)) if positions else max_new_tokens

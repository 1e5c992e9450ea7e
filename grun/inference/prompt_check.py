"""A warning where prompts do not end as those that an adapter was trained on."""

from dataclasses import dataclass

from torch import Tensor

from grun.adapter.folder import AdapterConfig


@dataclass
class PromptCheck:
    """Looks at the prompts of `generate` until one ends otherwise than in training.

    template: that of training; answer_tag: the token ids that end its prompts.
    """

    template: str
    answer_tag: list[int]
    has_warned: bool = False

    def look(self, args: tuple, kwargs: dict) -> None:
        """Print a warning, once, where a prompt of these arguments ends otherwise."""
        ids = kwargs.get("input_ids", kwargs.get("inputs", args[0] if args else None))
        if self.has_warned or not isinstance(ids, Tensor) or ids.dim() != 2:
            return
        mask = kwargs.get("attention_mask")
        mask = mask.tolist() if isinstance(mask, Tensor) and mask.shape == ids.shape else None
        for row, tokens in enumerate(ids.tolist()):
            if mask is not None:
                tokens = [token for token, true in zip(tokens, mask[row], strict=True) if true]
            if tokens[-len(self.answer_tag) :] != self.answer_tag:
                self.has_warned = True
                print(
                    "warning: a prompt does not end as those that the adapter was trained on "
                    f"(template {self.template}), so it may not act; grun.answer(model, question) "
                    "asks in that template",
                    flush=True,
                )
                return


def build_prompt_check(configs: list[AdapterConfig]) -> PromptCheck | None:
    """Return the check of adapters that share a prompt; None where nothing is known of it."""
    known = [config for config in configs if config.answer_tag]
    if not known:
        return None
    return PromptCheck(known[0].prompt.get("template", "unknown"), known[0].answer_tag)

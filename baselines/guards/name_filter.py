"""A filter of names: it refuses a prompt in which an author of the forget set is named."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.guards.base import FilterInputs, InputFilter, input_filter


@input_filter("keyword")
@dataclass
class NameFilter(InputFilter):
    """Refuses where one of `names` stands in the prompt, as whole words and in any case."""

    names: list[str]

    @classmethod
    def fit(cls, inputs: FilterInputs) -> tuple["NameFilter", dict]:
        """A filter of `find_names`. Raises `ValueError` where there are none."""
        names = sorted(cls.find_names(inputs))
        if not names:
            raise ValueError(
                "no example of the forget split names its author, so there is nothing to filter; "
                "choose another --benchmark, or --control probe"
            )
        return cls(inputs.refusals, names), {"names": len(names), "trainable_params": 0}

    @classmethod
    def find_names(cls, inputs: FilterInputs) -> set[str]:
        """The full names of the forget set's authors."""
        return {e.entity for e in inputs.forget if e.entity}

    def is_refused(self, model: nn.Module, tokenizer, prompts: list[list[int]]) -> Tensor:
        pattern = re.compile(r"\b(" + "|".join(map(re.escape, self.names)) + r")\b", re.IGNORECASE)
        refused = [bool(pattern.search(tokenizer.decode(prompt))) for prompt in prompts]
        return torch.tensor(refused, device=next(model.parameters()).device)

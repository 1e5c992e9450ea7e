"""Unlearning by what a model that learned the forget set once more adds to the target.

With target weights w and logits z, and those of the reinforced model w_r and z_r,

    task vector           w - scale (w_r - w)
    Who's Harry Potter    z - scale ReLU(z_r - z)

Task vectors: Ilharco et al. 2023, arXiv 2212.04089; Who's Harry Potter: Eldan and Russinovich 2023,
arXiv 2310.02238; both as baselines of MUSE (swj0419/muse_bench, baselines/task_vector.py and
baselines/whos_harry_potter.py).
"""

import torch
from torch import Tensor, nn
from transformers import DynamicCache

PASSED_ON = ("input_ids", "attention_mask", "position_ids", "cache_position")


@torch.no_grad()
def subtract_task_vector(model: nn.Module, reinforced: dict[str, Tensor], scale: float) -> None:
    """Change a target's weights in place to w - scale (w_r - w); reinforced: name -> w_r."""
    for name, weight in model.named_parameters():
        weight -= scale * (reinforced[name].to(weight) - weight)


def suppress_reinforced(logits: Tensor, reinforced: Tensor, scale: float) -> Tensor:
    """z - scale ReLU(z_r - z): what the reinforced model thinks likelier loses so much."""
    return logits - scale * (reinforced - logits).relu()


class PairedHead(nn.Module):
    """The output head of a target and of its reinforced model, on both hidden states at once.

    It takes the place of the target's head and holds the reinforced model. Before each pass of the
    target the reinforced model reads the same tokens, with keys and values of its own; before the
    head its hidden states join the target's, so that whatever chooses positions chooses both."""

    def __init__(self, model: nn.Module, reinforced: nn.Module, scale: float):
        super().__init__()
        self.target_head = model.get_output_embeddings()
        self.reinforced = reinforced
        self.scale = scale
        self.states: Tensor | None = None  # of the reinforced model, in this pass
        self.register_forward_pre_hook(self.join_states)
        model.register_forward_pre_hook(self.read_tokens, with_kwargs=True)
        model.set_output_embeddings(self)

    @property
    def weight(self) -> Tensor:
        """The target's output matrix."""
        return self.target_head.weight

    def read_tokens(self, model: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """Run the reinforced model on the tokens that the target is about to read.

        Its keys and values are an attribute of the target's, so they are copied with them. Raises
        `ValueError` for embeddings in the place of tokens, and for keys and values that were not
        made in passes of both models."""
        inputs = {name: kwargs[name] for name in PASSED_ON if kwargs.get(name) is not None}
        if args:
            inputs["input_ids"] = args[0]
        if "input_ids" not in inputs:
            raise ValueError("the model of whp reads tokens in two models, so it takes token ids")
        trunk = self.reinforced.base_model
        cache = kwargs.get("past_key_values")
        if cache is None and kwargs.get("use_cache"):
            cache = DynamicCache(config=model.config)
            kwargs = kwargs | {"past_key_values": cache}
        if cache is not None:
            if not hasattr(cache, "reinforced"):
                cache.reinforced = DynamicCache(config=trunk.config)
            inputs["past_key_values"] = cache.reinforced
            if cache.get_seq_length() != cache.reinforced.get_seq_length():
                raise ValueError("the two models of whp need keys and values of the same tokens")
        outputs = trunk(**inputs, use_cache=cache is not None)
        self.states = outputs.last_hidden_state
        return args, kwargs

    def join_states(self, _head, inputs: tuple) -> tuple[Tensor]:
        """[.., T, d] of the target -> [.., T, 2 d]; of T positions, the last ones of the pass."""
        states = self.states[:, -inputs[0].shape[1] :]
        return (torch.cat([inputs[0], states.to(inputs[0])], -1),)

    def forward(self, states: Tensor) -> Tensor:
        target, reinforced = states.chunk(2, -1)
        head = self.reinforced.get_output_embeddings()
        return suppress_reinforced(self.target_head(target), head(reinforced), self.scale)


def has_paired_head(model: nn.Module) -> bool:
    """Whether a model's logits are those of Who's Harry Potter."""
    return isinstance(model.get_output_embeddings(), PairedHead)

"""A GD step with pyreft as it comes from PyPI, for speed.train_step.

It is LoReFT without a gate at the last prompt token; forget and retain batch take a pass each.
pyreft pins other versions of its dependencies than this repository, so it is not required here:
`pip install --no-deps --target DIR pyreft` and PYTHONPATH=DIR install it beside them.
"""

from importlib import import_module
from importlib.metadata import version

import torch
from torch import Tensor, nn

from speed.options import ShapeOptions
from speed.steppers import build_paper_config
from unlearn.language_model.batches import pad
from unlearn.training.sampler import UnlearningExample


def find_pyreft() -> str | None:
    """The version of pyreft that can be imported, or None."""
    try:
        import_module("pyreft")
        return version("pyreft")
    except ImportError:
        return None


class PyreftStepper:
    """loss = -CE(forget) + w_r CE(retain), on the labels and logits of pyreft's trainer."""

    def __init__(self, options: ShapeOptions, model: nn.Module, prompt_encoder):
        pyreft = import_module("pyreft")
        config = build_paper_config(options, "gd")

        def build_representation(layer: int) -> dict:
            edit = pyreft.LoreftIntervention(
                embed_dim=options.hidden, low_rank_dimension=options.rank, dtype=torch.float32
            )
            return {
                "layer": layer,
                "component": "block_output",
                "low_rank_dimension": options.rank,
                "intervention": edit,
            }

        layers = [build_representation(layer) for layer in options.layers]
        self.model = pyreft.get_reft_model(model, pyreft.ReftConfig(representations=layers))
        self.prompt_encoder = prompt_encoder
        self.retain_weight = config.objective.retain_weight
        self.device = next(model.parameters()).device
        self.layer_count = len(options.layers)
        self.max_grad_norm = config.training.max_grad_norm
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=config.training.lr, weight_decay=0.0)

    def cross_entropy(self, examples: list) -> Tensor:
        """pyreft's loss on the answers of some examples."""
        encoded = [self.prompt_encoder.encode(e.question, e.answer) for e in examples]
        batch = pad(encoded, 0, self.device)
        labels = torch.full_like(batch.input_ids, -100)
        labels[batch.example_index, batch.token_index] = batch.labels
        last_prompt_tokens = [[[position] for position in (batch.prompt_lengths - 1).tolist()]]
        locations = {"sources->base": (None, last_prompt_tokens * self.layer_count)}
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        _, output = self.model(inputs, unit_locations=locations, labels=labels)
        return output.loss

    def step(self, items: list[UnlearningExample], number: int) -> float:
        """Loss, backward, clip and update; returns the loss."""
        forget = self.cross_entropy([item.forget for item in items])
        retain = self.cross_entropy([item.retain for item in items])
        loss = self.retain_weight * retain - forget
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

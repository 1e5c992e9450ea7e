"""A GD step with pyreft as it comes from PyPI: LoReFT without a gate at the last prompt token,
forget and retain batch in a pass each.

pyreft pins other versions of its dependencies than this repository, so it is none of them: `pip
install --no-deps --target DIR pyreft` and PYTHONPATH=DIR bring it in; without it the benchmark says
so and goes on."""

from importlib import import_module
from importlib.metadata import version

import torch
from torch import nn

from speed.workload import ShapeFlags, recipe_of
from unlearn.language_model.batches import pad
from unlearn.training.sampler import UnlearningExample


def installed() -> str | None:
    """The version of pyreft that can be imported here, or None."""
    try:
        import_module("pyreft")
        return version("pyreft")
    except ImportError:
        return None


class PyreftStepper:
    """loss = -CE(forget) + w_r CE(retain), with the labels and logits that pyreft's trainer
    computes."""

    def __init__(self, args: ShapeFlags, model: nn.Module, prompt_encoder):
        pyreft = import_module("pyreft")
        recipe = recipe_of(args, "gd")

        def place(layer: int) -> dict:
            edit = pyreft.LoreftIntervention(
                embed_dim=args.hidden, low_rank_dimension=args.rank, dtype=torch.float32
            )
            return {
                "layer": layer,
                "component": "block_output",
                "low_rank_dimension": args.rank,
                "intervention": edit,
            }

        config = pyreft.ReftConfig(representations=[place(layer) for layer in args.layers])
        self.model = pyreft.get_reft_model(model, config)
        self.prompt_encoder = prompt_encoder
        self.retain_weight = recipe.retain_weight
        self.device = next(model.parameters()).device
        self.layers = len(args.layers)
        self.clip = recipe.max_grad_norm
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=recipe.lr, weight_decay=0.0)

    def loss(self, examples: list):
        batch = pad(
            [self.prompt_encoder.encode(e.question, e.answer) for e in examples], 0, self.device
        )
        labels = torch.full_like(batch.input_ids, -100)
        labels[batch.example_index, batch.token_index] = batch.labels
        places = [[[position] for position in (batch.prompt_lengths - 1).tolist()]] * self.layers
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        return self.model(inputs, unit_locations={"sources->base": (None, places)}, labels=labels)[
            1
        ].loss

    def step(self, items: list[UnlearningExample], number: int) -> float:
        loss = -self.loss([item.forget for item in items]) + self.retain_weight * self.loss(
            [item.retain for item in items]
        )
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

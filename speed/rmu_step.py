"""One RMU update over the two-model loop that it replaces.

    OMP_NUM_THREADS=2 python -m speed.rmu_step
    python -m speed.rmu_step --layer_id 3 --rounds 9

The loop keeps a frozen copy of the whole model beside the trained one and runs every pass to the
logits, as upstream (centerforaisafety/wmdp, rmu/unlearn.py).

ratio              the loop's time over ours, medians of interleaved rounds on the same texts
loss_difference    the largest relative one between the two
weights_kept_*     numbers held in memory besides the model
"""

import random
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rmu.data import TextPair
from rmu.losses import RmuConfig, RmuLoss
from rmu.parameters import FrozenWeights, choose_layers, unfreeze
from speed.options import FIRST_TOKEN, ShapeOptions, parse_options
from speed.report import format_table, report
from speed.timing import medians, time_interleaved
from speed.workload import BOS, build_model
from unlearn.config.flags import flag, run_command
from unlearn.language_model.hidden_states import observe_layer, right_pad
from unlearn.training.steering import control_vectors, squared_error

ALPHA = 100.0
STEERING = 20.0
LR = 5e-5


@dataclass
class RmuStepOptions(ShapeOptions):
    """The model, the texts, and the number of rounds."""

    layer_id: int = flag(7, "the steered layer")
    batch: int = flag(4, "texts to forget in an update; as many to retain")
    tokens: int = flag(256, "tokens of the longest text; the shortest has half")
    rounds: int = flag(5, "rounds, each taking both paths once")


def unfreeze_down_proj(options: RmuStepOptions, model: nn.Module) -> dict[str, nn.Parameter]:
    """Let the matrices that RMU trains by default require gradients."""
    return unfreeze(model, choose_layers(model, options.layer_id, None), ["mlp.down_proj"])


def build_optimizer(parameters) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=LR, weight_decay=0.0, eps=1e-6)


def update(loss: Tensor, optimizer: torch.optim.Optimizer) -> float:
    """Backward and one step; returns the loss."""
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


class OneModel:
    """`rmu.losses.RmuLoss`: the originals of three matrices; passes end at the steered layer."""

    def __init__(self, options: RmuStepOptions, model: nn.Module):
        trained = unfreeze_down_proj(options, model)
        frozen_weights = FrozenWeights(trained)
        self.weights_kept = sum(p.numel() for p in frozen_weights.values.values())
        config = RmuConfig(options.layer_id, [ALPHA], [STEERING])
        vectors = control_vectors(options.hidden, 1, options.seed)
        self.loss = RmuLoss(model, frozen_weights, vectors, config, 0, BOS)
        self.optimizer = build_optimizer(trained.values())

    def step(self, pairs: list[TextPair]) -> float:
        return update(self.loss(pairs, pairs, 0)["loss"], self.optimizer)


class TwoModels:
    """The trained model and a frozen copy, both run to their logits."""

    def __init__(self, options: RmuStepOptions, model: nn.Module):
        self.frozen = deepcopy(model).requires_grad_(False)
        self.model = model
        self.layer = options.layer_id
        self.weights_kept = sum(p.numel() for p in model.parameters())
        vector = control_vectors(options.hidden, 1, options.seed)[0]
        self.target = STEERING * vector.to(options.torch_device)
        self.optimizer = build_optimizer(unfreeze_down_proj(options, model).values())

    def hidden_states(self, model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, T, d]: the output of the steered layer, from a pass through the whole model."""
        with observe_layer(model, self.layer) as outputs:
            model(input_ids=ids, attention_mask=mask.long(), use_cache=False)
        return outputs[0]

    def step(self, pairs: list[TextPair]) -> float:
        (forget, forget_mask), (retain, retain_mask) = (
            right_pad([list(getattr(pair, side)) for pair in pairs], 0, self.target.device)
            for side in ("forget", "retain")
        )
        h_forget = self.hidden_states(self.model, forget, forget_mask)
        forget_loss = squared_error(h_forget, self.target, forget_mask).mean()
        with torch.no_grad():
            frozen = self.hidden_states(self.frozen, retain, retain_mask)
        h_retain = self.hidden_states(self.model, retain, retain_mask)
        retain_loss = ALPHA * squared_error(h_retain, frozen, retain_mask).mean()
        return update(forget_loss + retain_loss, self.optimizer)


def draw_pairs(options: RmuStepOptions, number: int) -> list[TextPair]:
    """One batch of drawn texts, of --tokens down to half as many."""
    rng = random.Random(f"{options.seed} {number}")

    def draw_text() -> tuple[int, ...]:
        length = rng.randint(options.tokens // 2, options.tokens)
        return (BOS, *(rng.randrange(FIRST_TOKEN, options.vocabulary) for _ in range(length - 1)))

    return [TextPair(0, draw_text(), draw_text()) for _ in range(options.batch)]


def main(argv: list[str] | None) -> None:
    options = parse_options(RmuStepOptions, argv, __doc__)
    paths = {
        "ours": OneModel(options, build_model(options)),
        "two models": TwoModels(options, build_model(options)),
    }
    batches = [draw_pairs(options, number) for number in range(options.rounds)]
    losses = {name: [] for name in paths}

    def take_step(name: str):
        return lambda number: losses[name].append(paths[name].step(batches[number]))

    steps = {name: take_step(name) for name in paths}
    seconds = time_interleaved(steps, options.rounds, options.torch_device)
    median = medians(seconds)
    figures = {
        "ratio": median["two models"] / median["ours"],
        "seconds": median["ours"],
        "two_models_seconds": median["two models"],
        "weights_kept_ours": paths["ours"].weights_kept,
        "weights_kept_two_models": paths["two models"].weights_kept,
        "loss_difference": max(abs(a - b) / abs(b) for a, b in zip(*losses.values(), strict=True)),
        "rounds": options.rounds,
    }
    rows = [
        [name, median[name], min(seconds[name]), max(seconds[name]), path.weights_kept]
        for name, path in paths.items()
    ]
    table = format_table(["path", "median", "least", "most", "weights kept"], rows)
    report("rmu_step", options, figures, {"Seconds an update": table}, {"seconds": seconds})


if __name__ == "__main__":
    run_command(main)

"""One RMU update over the two-model loop it replaces: a frozen copy of the whole model beside the
trained one, every pass to the logits.

    OMP_NUM_THREADS=2 python -m speed.rmu_step
    python -m speed.rmu_step --layer_id 3 --rounds 9

ratio: the loop's time over ours, medians of interleaved rounds on the same texts; loss_difference:
the largest relative one between the two. weights_kept: numbers that are kept besides the model, of
which the loop keeps a second model's worth."""

import random
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rmu.data import TextPair
from rmu.losses import RmuConfig, RmuLoss
from rmu.parameters import FrozenWeights, choose_layers, unfreeze
from speed.report import interleaved, medians, report, table
from speed.workload import BOS, FIRST, ShapeFlags, model_of
from unlearn.config.flags import flag, parse, run_command
from unlearn.language_model.hidden_states import padded, seen_at
from unlearn.training.steering import control_vectors, squared_error

ALPHA = 100.0
COEFFICIENT = 20.0
LR = 5e-5


@dataclass
class RmuStepFlags(ShapeFlags):
    """What this benchmark can be told."""

    layer_id: int = flag(7, "the steered block")
    batch: int = flag(4, "texts to forget in an update; as many to keep")
    tokens: int = flag(256, "tokens of the longest text; the shortest has half")
    rounds: int = flag(5, "rounds, each taking both paths once")


def optimizer_of(parameters) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=LR, weight_decay=0.0, eps=1e-6)


class Ours:
    """`rmu.losses.RmuLoss`: one model, the originals of three matrices, passes that end at the steered
    block."""

    def __init__(self, args: RmuStepFlags, model: nn.Module):
        trained = unfreeze(model, choose_layers(model, args.layer_id, None), ["mlp.down_proj"])
        originals = FrozenWeights(trained)
        self.kept = sum(p.numel() for p in originals.values.values())
        rule = RmuConfig(args.layer_id, [ALPHA], [COEFFICIENT])
        self.losses = RmuLoss(
            model, originals, control_vectors(args.hidden, 1, args.seed), rule, 0, BOS
        )
        self.optimizer = optimizer_of(trained.values())

    def step(self, items: list[TextPair]) -> float:
        loss = self.losses(items, items, 0)["loss"]
        return update(loss, self.optimizer)


class TwoModels:
    """The trained model and a frozen copy, both run to their logits."""

    def __init__(self, args: RmuStepFlags, model: nn.Module):
        self.frozen = deepcopy(model).requires_grad_(False)
        self.model = model
        self.layer = args.layer_id
        self.kept = sum(p.numel() for p in model.parameters())
        self.goal = COEFFICIENT * control_vectors(args.hidden, 1, args.seed)[0].to(args.where)
        self.optimizer = optimizer_of(
            unfreeze(model, choose_layers(model, args.layer_id, None), ["mlp.down_proj"]).values()
        )

    def states(self, model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
        with seen_at(model, self.layer) as seen:
            model(input_ids=ids, attention_mask=mask.long(), use_cache=False)
        return seen[0]

    def step(self, items: list[TextPair]) -> float:
        (forget, forget_mask), (retain, retain_mask) = (
            padded([list(getattr(i, side)) for i in items], 0, self.goal.device)
            for side in ("forget", "retain")
        )
        moved = squared_error(
            self.states(self.model, forget, forget_mask), self.goal, forget_mask
        ).mean()
        with torch.no_grad():
            frozen = self.states(self.frozen, retain, retain_mask)
        return update(
            moved
            + ALPHA
            * squared_error(
                self.states(self.model, retain, retain_mask), frozen, retain_mask
            ).mean(),
            self.optimizer,
        )


def update(loss: Tensor, optimizer: torch.optim.Optimizer) -> float:
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def texts(args: RmuStepFlags, number: int) -> list[TextPair]:
    """One batch of drawn texts, of --tokens down to half as many."""
    rng = random.Random(f"{args.seed} {number}")

    def text() -> tuple[int, ...]:
        return (
            BOS,
            *(
                rng.randrange(FIRST, args.vocabulary)
                for _ in range(rng.randint(args.tokens // 2, args.tokens) - 1)
            ),
        )

    return [TextPair(0, text(), text()) for _ in range(args.batch)]


def main(argv: list[str] | None) -> None:
    args, _, _ = parse(RmuStepFlags, argv, lambda _: {}, __doc__)
    paths = {"ours": Ours(args, model_of(args)), "two models": TwoModels(args, model_of(args))}
    batches = [texts(args, number) for number in range(args.rounds)]
    losses = {name: [] for name in paths}

    def step_of(name):
        return lambda number: losses[name].append(paths[name].step(batches[number]))

    seconds = interleaved({name: step_of(name) for name in paths}, args.rounds, args.where)
    middle = medians(seconds)
    apart = max(abs(a - b) / abs(b) for a, b in zip(*losses.values(), strict=True))
    figures = {
        "ratio": middle["two models"] / middle["ours"],
        "seconds": middle["ours"],
        "two_models_seconds": middle["two models"],
    }
    figures |= {
        f"weights_kept_{name.replace(' ', '_')}": path.kept for name, path in paths.items()
    } | {"loss_difference": apart, "rounds": args.rounds}
    rows = [
        [name, middle[name], min(seconds[name]), max(seconds[name]), paths[name].kept]
        for name in paths
    ]
    report(
        "rmu_step",
        args,
        args.where,
        figures,
        {"Seconds an update": table(["path", "median", "least", "most", "weights kept"], rows)},
        {"seconds": seconds},
    )


if __name__ == "__main__":
    run_command(main)

"""LoRA dropout: its masks follow from (seed, step, pass, example, layer, position) alone."""

import copy

import pytest
import torch
from torch import nn

from baselines.dropout import DropoutRows, ExampleDropout
from baselines.tuners import LoraTuner
from tests.baselines.tuner_cases import build_case, build_toy_loss, build_toy_sampler, parse_flags
from unlearn.config.run_directory import Run
from unlearn.training.loop import train
from unlearn.training.setup import build_train_config

LENGTHS = {"0 forget 0": 5, "0 forget 1": 3, "0 retain 0": 7}


def draw(lengths=LENGTHS, *, left=0, width=8, name="q_proj", seed=1, p=0.5):
    """Row key -> the mask [tokens, 6] of one row, drawn in a batch of these rows, T wide.

    left: padding columns in front of each row."""
    rows = DropoutRows()
    mask = torch.zeros(len(lengths), width, dtype=torch.long)
    for row, length in enumerate(lengths.values()):
        mask[row, left : left + length] = 1
    rows.set([*lengths], mask)
    out = ExampleDropout(p, f"{seed} {name}", rows)(torch.ones(*mask.shape, 6))
    return {
        key: out[row, left : left + length] for row, (key, length) in enumerate(lengths.items())
    }


@pytest.mark.parametrize("how", [{"left": 1}, {"width": 12}, {"left": 4, "width": 20}])
def test_mask_does_not_depend_on_padding(how):
    """Bit for bit."""
    for key, mask in draw(**how).items():
        assert torch.equal(mask, draw()[key])


def test_mask_does_not_depend_on_the_company():
    """Bit for bit: each row alone, and all in another order."""
    together = draw()
    for lengths in [dict([item]) for item in LENGTHS.items()] + [dict(reversed(LENGTHS.items()))]:
        for key, mask in draw(lengths).items():
            assert torch.equal(mask, together[key])


def test_masks_of_two_draws_differ():
    """Another seed, layer, step, pass, example or position."""
    keys = ("0 forget 0", "1 forget 0", "0 retain 0", "0 forget 1")
    masks = [*draw(dict.fromkeys(keys, 9), width=9).values()]
    masks += [draw({keys[0]: 9}, width=9, **how)[keys[0]] for how in ({"seed": 2}, {"name": "v"})]
    flat = {tuple(mask.flatten().tolist()) for mask in masks}
    assert len(flat) == 6
    assert all(not torch.equal(mask[0], mask[1]) for mask in masks)


def test_share_and_scale():
    """A share p is zero and the others are 1 / (1 - p), so that the mean stays."""
    mask = draw({"0 forget 0": 5000}, width=5000, p=0.25)["0 forget 0"]
    assert sorted(set(mask.flatten().tolist())) == pytest.approx([0, 4 / 3])
    assert mask.mean().item() == pytest.approx(1, abs=0.02)


def test_flattened_rows_and_evaluation():
    """Some layers read [B * T, d]; in eval mode nothing is dropped."""
    rows = DropoutRows()
    rows.set(["0 forget 0", "0 forget 1"], torch.ones(2, 4, dtype=torch.long))
    layer = ExampleDropout(0.5, "1 fc1", rows)
    x = torch.ones(2, 4, 6)
    assert torch.equal(layer(x.flatten(0, 1)).view_as(x), layer(x))
    assert layer.eval()(x) is x
    with pytest.raises(ValueError, match="--lora_dropout 0"):
        layer.train()(torch.ones(5, 6))


def lora_gradients(model, prompt_encoder, parts, gradient_checkpointing=False):
    """Name -> gradient of one step's batch, run in `parts`."""
    config = parse_flags("npo", "lora")
    tuner = LoraTuner(copy.deepcopy(model), 2, 4.0, 0.3, None, gradient_checkpointing)
    for name, p in tuner.model.named_parameters():
        if "lora_B" in name:  # at 0 no mask shows
            p.data.normal_(generator=torch.Generator().manual_seed(len(name)))
    loss = build_toy_loss(config, tuner, prompt_encoder)
    whole = build_toy_sampler(config).items(0)
    assert len(whole) == 3
    for part in parts:
        loss([whole[i] for i in part], whole, 5)["loss"].backward()
    return {name: p.grad for name, p in tuner.model.named_parameters() if p.requires_grad}


WHOLE = [[0, 1, 2]]


@pytest.mark.parametrize(
    ("parts", "checkpointing"),
    [([[0], [1], [2]], False), ([[0, 2], [1]], False), (WHOLE, True), ([[2], [1, 0]], True)],
)
def test_gradients_of_parts_sum_to_those_of_the_batch(untied, prompt_encoder, parts, checkpointing):
    """Micro-batches, the shares of two processes, recomputed activations: equal to rounding."""
    whole = lora_gradients(untied, prompt_encoder, WHOLE)
    for name, gradient in lora_gradients(untied, prompt_encoder, parts, checkpointing).items():
        torch.testing.assert_close(gradient, whole[name], rtol=1e-4, atol=1e-6)


def test_dropout_acts(untied, prompt_encoder):
    """The tests above would hold without any."""
    config = parse_flags("npo", "lora")
    tuner = build_case("lora", config, untied).tuner
    layers = [m for m in tuner.model.modules() if isinstance(m, ExampleDropout)]
    targets = [m for m in untied.model.modules() if isinstance(m, nn.Linear)]
    assert len(layers) == len(targets) == len({layer.name for layer in layers})
    assert not any(isinstance(m, nn.Dropout) for m in tuner.model.modules())
    for name, p in tuner.model.named_parameters():
        if "lora_B" in name:
            p.data.fill_(0.1)
    loss = build_toy_loss(config, tuner, prompt_encoder)
    items = build_toy_sampler(config).items(0)
    one, again, other = (loss(items, items, step)["loss"].item() for step in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_training_leaves_the_global_seed(kind, untied, prompt_encoder, tmp_path):
    config = parse_flags("npo", kind, "--steps", "2")
    tuner, module, _ = build_case(kind, config, untied)
    sampler = build_toy_sampler(config)
    loss = build_toy_loss(config, tuner, prompt_encoder)
    loss.precompute_reference_nll([sampler.items(0), sampler.items(1)], tmp_path / "r.json", 3)
    train_config = build_train_config(config.training, sampler, config.run.seed)
    before = torch.get_rng_state()
    train(module, loss, sampler.items, train_config, Run(tmp_path), lambda directory: None)
    assert torch.equal(torch.get_rng_state(), before)


def test_micro_batches_train_the_same_weights(untied, prompt_encoder, tmp_path):
    """Four steps with dropout, to rounding."""
    weights = []
    for size in ("0", "1", "2"):
        config = parse_flags("idkpo", "lora", "--steps", "4", "--micro_batch", size, "--lr", "1e-3")
        tuner, module, _ = build_case("lora", config, untied)
        sampler = build_toy_sampler(config)
        loss = build_toy_loss(config, tuner, prompt_encoder)
        train_config = build_train_config(config.training, sampler, config.run.seed)
        run = Run(tmp_path / size)
        train(module, loss, sampler.items, train_config, run, lambda directory: None)
        weights.append({n: p.detach() for n, p in module.named_parameters() if p.requires_grad})
    for other in weights[1:]:
        for name, weight in weights[0].items():
            torch.testing.assert_close(other[name], weight, rtol=1e-4, atol=1e-6)

"""RMU's loss: computed by hand, and against the plain loop over two whole models."""

import copy

import pytest
import torch

from rmu.data import TextPair, TopicBatches
from rmu.losses import RmuConfig, RmuLoss
from rmu.parameters import FrozenWeights, choose_layers, unfreeze
from unlearn.language_model.hidden_states import compute_states, right_pad
from unlearn.training.steering import control_vectors, squared_error

TEXTS = [
    "the root of zebu is kept",
    "a drink of boli hides the lock of dise",
    "the river",
    "around it grows wheat and the fields bear it",
]


def build_pairs(tokenizer, topic=0):
    ids = [tuple(tokenizer(text)["input_ids"]) for text in TEXTS]
    return [TextPair(topic, ids[0], ids[2]), TextPair(topic, ids[1], ids[3])]


def build_loss(model, config, topics=1):
    layers = choose_layers(model, config.layer, None)
    frozen_weights = FrozenWeights(unfreeze(model, layers, ["down_proj"]))
    vectors = control_vectors(model.config.hidden_size, topics, 1)
    return RmuLoss(model, frozen_weights, vectors, config, 0, 1)


def shift_weights(loss):
    """Change the trained matrices, so that the model is no longer the frozen one."""
    for p in loss.frozen_weights.trained.values():
        p.data += 0.05


def hidden_states(model, text, layer=3):
    """[T, d]: the output of one layer for one text, from a pass through the whole model."""
    outputs = []
    handle = model.model.layers[layer].register_forward_hook(
        lambda _module, _args, out: outputs.append(out[0] if isinstance(out, tuple) else out)
    )
    model(input_ids=torch.tensor([text]))
    handle.remove()
    return outputs[0][0]


def two_model_loss(trained, frozen, pairs, vector, adaptive, scale=3.0, steering=2.0, alpha=7.0):
    """(forget, retain) of a batch, one text at a time through two whole models."""

    def norms(model):
        with torch.no_grad():
            return [hidden_states(model, pair.forget).norm(dim=-1) for pair in pairs]

    first_batch = norms(trained if adaptive == "first_batch_updated" else frozen)
    constant = torch.stack([text_norms[1:].mean() for text_norms in first_batch]).mean()
    forget = 0.0
    retain = 0.0
    for pair, text_norms in zip(pairs, norms(frozen), strict=True):
        kappa = {
            "none": 1.0,
            "per_sample": scale * text_norms[1:].mean(),
            "per_token": scale * text_norms[:, None],
        }.get(adaptive, scale * constant)
        target = steering * kappa * vector
        forget = forget + (hidden_states(trained, pair.forget) - target).pow(2).mean() / len(pairs)
        drift = hidden_states(trained, pair.retain) - hidden_states(frozen, pair.retain).detach()
        retain = retain + alpha * drift.pow(2).mean() / len(pairs)
    return forget, retain


def test_control_vectors_are_positive_unit_vectors_of_the_seed():
    u = control_vectors(64, 3, 42)
    torch.testing.assert_close(u.norm(dim=1), torch.ones(3))
    assert bool((u > 0).all())
    assert torch.equal(u, control_vectors(64, 3, 42))
    assert not torch.equal(u[0], u[1])


def test_squared_error_is_the_mean_of_each_sequence():
    """Lengths 5, 2, 1 in a batch 5 wide, d = 1, h = 1, 2, .. and target 0.

    Means of squares: (1+4+9+16+25)/5 = 11, (1+4)/2 = 2.5, 1. With padding counted the others are 11
    too, since the padded positions hold the same numbers.
    """
    h = torch.arange(1.0, 6.0).expand(3, 5)[..., None]
    mask = torch.tensor([[1] * 5, [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
    valid = squared_error(h, torch.zeros(1), mask)
    torch.testing.assert_close(valid, torch.tensor([11.0, 2.5, 1.0]))
    unmasked = squared_error(h, torch.zeros(1), mask, "none")
    torch.testing.assert_close(unmasked, torch.tensor([11.0, 11.0, 11.0]))


@pytest.mark.parametrize(
    "adaptive", ["none", "first_batch", "first_batch_updated", "per_sample", "per_token"]
)
def test_loss_equals_the_two_model_loop(model, tokenizer, adaptive):
    """The same losses and gradients as whole passes through two models, one text at a time."""
    frozen = copy.deepcopy(model)
    loss = build_loss(model, RmuConfig(3, [7.0], [2.0], adaptive, scale=3.0))
    pairs = build_pairs(tokenizer)
    shift_weights(loss)
    parts = loss(pairs, pairs, 0)
    parts["loss"].backward()
    gradients = {name: p.grad.clone() for name, p in loss.frozen_weights.trained.items()}
    model.zero_grad()

    forget, retain = two_model_loss(model, frozen, pairs, loss.control_vectors[0], adaptive)
    (forget + retain).backward()
    torch.testing.assert_close(parts["forget"], forget)
    torch.testing.assert_close(parts["retain"], retain)
    for name, p in loss.frozen_weights.trained.items():
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mask", ["valid", "none"])
def test_loss_parts_of_a_batch_add_up(model, tokenizer, mask):
    config = RmuConfig(3, [7.0], [2.0], "first_batch", mask=mask, log_statistics=True)
    loss = build_loss(model, config)
    batch = build_pairs(tokenizer)
    shift_weights(loss)
    whole, one, other = (loss(part, batch, 0) for part in (batch, batch[:1], batch[1:]))
    for name in ("loss", "forget", "retain", "forget_norm", "retain_cosine"):
        torch.testing.assert_close(whole[name], one[name] + other[name])


@pytest.mark.parametrize("topics", [1, 2, 3])
@pytest.mark.parametrize("bos", ["exclude", "include"])
def test_adaptive_coefficient_is_set_once_a_topic(model, tokenizer, topics, bos):
    """kappa_k = 5 * the mean norm of topic k's own first batch; a later batch does not move it."""
    ones = [1.0] * topics
    loss = build_loss(model, RmuConfig(2, ones, ones, "first_batch", 5.0, bos=bos), topics)
    skip = 1 if bos == "exclude" else 0
    for k in range(topics):
        text = tuple(tokenizer(TEXTS[k])["input_ids"])
        batch = [TextPair(k, text, text)]
        loss(batch, batch, k)
        ids, mask = right_pad([list(text)], 0, "cpu")
        expected = 5 * compute_states(model, 2, ids, mask)[0, skip:].norm(dim=-1).mean().item()
        assert loss.state[f"kappa_{k}"] == pytest.approx(expected, rel=1e-5)
    before = dict(loss.state)
    loss(build_pairs(tokenizer), build_pairs(tokenizer), topics)
    assert loss.state == before
    assert len(before) == topics


def test_frozen_states_use_the_original_weights(model, tokenizer):
    loss = build_loss(model, RmuConfig(3, [1.0] * 2, [1.0] * 2), topics=2)
    batch = build_pairs(tokenizer)
    texts = loss.pad_texts("retain", batch, batch)
    before = loss.frozen_states(texts)
    shift_weights(loss)
    assert not torch.equal(before, loss.hidden_states(texts))
    assert torch.equal(before, loss.frozen_states(texts))


def test_frozen_states_of_one_batch_are_computed_once(model, tokenizer, monkeypatch):
    """Two topics with one retain corpus read each of its batches twice in a row."""
    loss = build_loss(model, RmuConfig(3, [1.0] * 2, [1.0] * 2), topics=2)
    calls = []
    frozen_states = loss.frozen_states
    monkeypatch.setattr(loss, "frozen_states", lambda t: calls.append(1) or frozen_states(t))
    for topic in (0, 1):
        batch = build_pairs(tokenizer, topic)
        loss(batch, batch, topic)
    assert len(calls) == 1


def test_topics_take_turns_until_the_shortest_corpus_ends():
    """Two topics, batches of 2: forget texts 4 and 6, retain 5 and 5: 2 whole batches of each."""
    texts = {name: [(name, i) for i in range(n)] for name, n in (("a", 4), ("b", 6), ("r", 5))}
    batches = TopicBatches([texts["a"], texts["b"]], [texts["r"], texts["r"]], 2)
    assert batches.steps == 4
    assert [(pair.topic, *pair.forget, *pair.retain) for pair in batches.items(3)] == [
        (1, "b", 2, "r", 2),
        (1, "b", 3, "r", 3),
    ]

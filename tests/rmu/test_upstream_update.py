"""Adaptive RMU as upstream trains it, update for update: EOS on the left that counts, norms of the
model under training, and transformers' old AdamW.

The reference below follows the formulas of arXiv 2408.06223 and of that optimiser, on two whole
models (RebelsNLU-jaist/llm-unlearning, baselines/adap_rmu/unlearn.py, runs them so)."""

import copy
import math

import pytest
import torch

from rmu.data import PaddedTexts, TopicBatches
from rmu.losses import RmuConfig, RmuLoss
from rmu.parameters import FrozenWeights, choose_layers, unfreeze
from rmu.train import EPS
from unlearn.config.run_directory import Run
from unlearn.training.loop import TrainConfig, train
from unlearn.training.steering import control_vectors

LAYER = 2
SCALE, ALPHA, LR, EPSILON = 5.0, [1200.0, 900.0], 5e-5, 1e-6
WORDS = "the root of zebu is kept in a vessel by the river and the fields bear wheat".split()


def build_topics(tokenizer, updates: int) -> TopicBatches:
    """Ragged texts of two topics, two a batch."""

    def encode(start: int) -> list[tuple[int, ...]]:
        texts = [" ".join(WORDS[: 1 + (start + 5 * i) % 15]) for i in range(updates)]
        return [tuple(tokenizer(text)["input_ids"]) for text in texts]

    return TopicBatches([encode(2), encode(7)], [encode(11), encode(11)], 2)


def pad_left(texts: list[tuple[int, ...]], eos: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, texts))
    ids = [[eos] * (width - len(text)) + list(text) for text in texts]
    mask = [[0] * (width - len(text)) + [1] * len(text) for text in texts]
    return torch.tensor(ids), torch.tensor(mask)


def whole_pass_states(model, texts, eos: int) -> torch.Tensor:
    """[B, T, d]: the layer's output in a pass through all of the model."""
    ids, mask = pad_left(texts, eos)
    outputs = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    return outputs.hidden_states[LAYER + 1]


def step_old_adamw(parameters, moments, t: int) -> None:
    """m, v, then w <- w - lr sqrt(1 - .999^t) / (1 - .9^t) m / (sqrt(v) + eps)."""
    size = LR * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    for parameter, (m, v) in zip(parameters, moments, strict=True):
        gradient = parameter.grad
        m.copy_(0.9 * m + 0.1 * gradient)
        v.copy_(0.999 * v + 0.001 * gradient**2)
        parameter.data -= size * m / (v.sqrt() + EPSILON)
        parameter.grad = None


def train_reference(model, topics: TopicBatches, vectors, eos: int, updates: int) -> list:
    """The trained matrices after `updates` of upstream's updates."""
    frozen = copy.deepcopy(model)
    parameters = list(unfreeze(model, choose_layers(model, LAYER, None), ["down_proj"]).values())
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    coefficients = {}
    for step in range(updates):
        pairs = topics.items(step)
        topic = pairs[0].topic
        forget = whole_pass_states(model, [pair.forget for pair in pairs], eos)
        if topic not in coefficients:
            coefficients[topic] = SCALE * forget.norm(dim=-1).mean().item()
        retain_texts = [pair.retain for pair in pairs]
        with torch.no_grad():
            held = whole_pass_states(frozen, retain_texts, eos)
        kept = whole_pass_states(model, retain_texts, eos)
        loss = (forget - coefficients[topic] * vectors[topic]).pow(2).mean()
        loss = loss + ALPHA[topic] * (kept - held).pow(2).mean()
        loss.backward()
        step_old_adamw(parameters, moments, step + 1)
    return parameters


def train_here(model, topics, vectors, eos: int, updates: int, optimizer: str, folder) -> list:
    trained = unfreeze(model, choose_layers(model, LAYER, None), ["down_proj"])
    config = RmuConfig(
        LAYER,
        ALPHA,
        [1.0, 1.0],
        adaptive="first_batch_updated",
        scale=SCALE,
        mask="none",
        bos="include",
        padding="upstream",
    )
    loss = RmuLoss(model, FrozenWeights(trained), vectors, config, eos, bos_id=None)
    steps = TrainConfig(
        updates, LR, schedule="constant", eps=EPS[optimizer], max_grad_norm=0.0, micro_batch=1
    )
    folder.mkdir()
    train(model, loss, topics.items, steps, Run(folder), lambda path, state_dict=None: None)
    return list(trained.values())


def largest_difference(before, ours, theirs) -> float:
    """The largest difference of two updates, relative to the largest move of any weight."""
    with torch.no_grad():
        moved = max((b - t).abs().max() for b, t in zip(before, theirs, strict=True))
        return float(max((o - t).abs().max() for o, t in zip(ours, theirs, strict=True)) / moved)


@pytest.mark.parametrize("updates", [1, 20])
def test_updates_are_upstreams(model, tokenizer, tmp_path, updates):
    """In float64, micro-batches of one text: the same matrices to 1e-6 of their move. torch's AdamW
    takes other steps where gradients are small."""
    model = model.double()
    topics = build_topics(tokenizer, updates + 2)
    vectors = control_vectors(model.config.hidden_size, 2, 42).double()
    eos = tokenizer.eos_token_id
    start = copy.deepcopy(model)
    layers = choose_layers(model, LAYER, None)
    before = list(unfreeze(start, layers, ["down_proj"]).values())
    theirs = train_reference(copy.deepcopy(model), topics, vectors, eos, updates)
    ours = train_here(
        copy.deepcopy(model), topics, vectors, eos, updates, "adamw_hf", tmp_path / "hf"
    )
    assert largest_difference(before, ours, theirs) < 1e-6
    others = train_here(
        copy.deepcopy(model), topics, vectors, eos, updates, "adamw", tmp_path / "torch"
    )
    assert largest_difference(before, others, theirs) > 1e-6


def test_padding_upstream_counts_everything(tokenizer):
    """Two texts of 1 and 3 tokens: the pads of the first are on the left, are EOS, and count."""
    eos = tokenizer.eos_token_id
    texts = PaddedTexts.build([(7,), (4, 5, 6)], eos, "cpu", left=True)
    assert texts.ids.tolist() == [[eos, eos, 7], [4, 5, 6]]
    assert texts.mask.tolist() == [[False, False, True], [True] * 3]
    assert bool(texts.norm_mask.all())

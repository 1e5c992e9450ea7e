"""fluency_ours by hand and by its limits; the classifier on a tiny random one."""

import math
import random

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from eval.metrics.fluency import END, CharacterModel, Classifier, distinct
from unlearn.benchmarks.opening import open_benchmark
from unlearn.language_model.from_scratch import train_tokenizer


def test_distinct_pairs():
    """a b a b: pairs ab, ba, ab, of which two differ: 2/3. One word has no pair."""
    assert distinct("A b a B") == pytest.approx(2 / 3)
    assert distinct("novelist") == 1 and distinct("the the the the the") == 1 / 4


def test_character_model_by_hand():
    """Built of "a", between ends: seen are a and END once each without context, a after END, END
    after a. p(a) = (1 + 2/256) / 4 = 258/1024; p(a | END) = (1 + p(a)) / 2; after an unseen
    character p(a) again; p(b) = (0 + 2/256) / 4. H("a") = mean of -log p(a | END) and -log p(END |
    END a), by the same rule through all three contexts."""
    model = CharacterModel(["a"])
    p = 258 / 1024
    assert model.probability("", "a") == model.probability("x", "a") == p
    assert model.probability(END, "a") == (1 + p) / 2
    assert model.probability("", "b") == 2 / 256 / 4
    after = (1 + (1 + p) / 2) / 2  # p(END | a) = (1 + p(END)) / 2, p(END | END a) = (1 + that) / 2
    assert (
        model.nats("a")
        == model.nats(" a ")
        == pytest.approx(-(math.log((1 + p) / 2) + math.log(after)) / 2)
    )
    assert sum(model.probability(END, chr(code)) for code in range(256)) == pytest.approx(1)


def test_fluency_is_the_product_of_its_factors():
    model = CharacterModel(["the cat sat on the mat", "the dog sat on the log", "a cat and a dog"])
    text = "the cat sat on the log"
    assert model.fluency(text) == pytest.approx(
        distinct(text) * min(1, math.exp(model.true_nats - model.nats(text)))
    )
    assert model.fluency("") == model.fluency(" \n") == 0
    with pytest.raises(ValueError, match="needs texts"):
        CharacterModel([])


def test_fluency_separates_language_from_noise_and_loops():
    """True answers that the model was not built from above .8 in the mean; letters at random and a
    loop of one word below .1."""
    answers = [e.answer for e in open_benchmark("authors", authors=20, heldout=2).examples("full")]
    random.Random(0).shuffle(answers)
    model = CharacterModel(answers[::2])
    true = [model.fluency(text) for text in answers[1::2]]
    assert sum(true) / len(true) > 0.8
    assert model.fluency("xq zzv kjw qqp vvx jkz wq") < 0.1 and model.fluency("novel " * 20) < 0.1


def test_sample_of_texts_ignores_the_global_generator():
    texts = [f"sentence number {i}" for i in range(1500)]
    torch.manual_seed(1)
    assert CharacterModel(texts).texts == CharacterModel(texts).texts != texts[:1000]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier")
    tokenizer = train_tokenizer(["clean text", "noise noise"] * 4, 280)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=4,
    )
    BertForSequenceClassification(config).save_pretrained(path)
    return str(path)


def test_classifier_is_the_same_in_any_batch(folder):
    texts = ["clean text", "", "noise noise noise noise", " ", "clean"]
    clean = Classifier(folder, "cpu", batch_size=2).clean(texts)
    assert clean == pytest.approx(Classifier(folder, "cpu", batch_size=1).clean(texts), abs=1e-6)
    assert clean[1] == clean[3] == 0 and all(0 < clean[i] < 1 for i in (0, 2, 4))


def test_missing_classifier_is_named():
    with pytest.raises(
        ValueError, match="--gibberish /nowhere/at/all could not be loaded.*leave it out"
    ):
        Classifier("/nowhere/at/all", "cpu").clean(["text"])

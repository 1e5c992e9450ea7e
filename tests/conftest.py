"""Fixtures for all tests; one CPU thread each (xdist runs several at once), and no network.

What a session shares (tokenizer, frozen_model, toy_runs, wmdp_runs) no test may change; `model` and
`runs` are copies.
"""

import copy
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch

from grun import train as grun_train
from tests import toy
from unlearn.language_model.prompts import PromptEncoder

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer():
    """The toy tokenizer; read only."""
    return toy.build_tokenizer()


@pytest.fixture(scope="session")
def prompt_encoder(tokenizer):
    """The question-answer template over the toy tokenizer; read only."""
    return PromptEncoder(tokenizer)


@pytest.fixture(scope="session")
def frozen_model(tokenizer):
    """A random Llama of 4 layers, width 32, whose every prompt token counts; read only."""
    return toy.build_model(tokenizer)


@pytest.fixture
def model(frozen_model):
    """The same model for one test, which may hook, train or change it."""
    return copy.deepcopy(frozen_model)


@pytest.fixture(scope="session")
def toy_runs(tmp_path_factory):
    """A runs folder of `authors` with target, reference and gd-grun, hardly trained; read only."""
    runs = tmp_path_factory.mktemp("toy") / "runs"
    toy.finetune_toy(runs, *toy.AUTHORS_FLAGS)
    toy.finetune_toy(runs, *toy.AUTHORS_FLAGS, split="retain90")
    grun_train.main([*toy.grun_flags(runs), "--objective", "gd"])
    return runs


@pytest.fixture(scope="module")
def runs(toy_runs, tmp_path_factory):
    """A copy of `toy_runs` that the tests of one module may add runs to."""
    return toy.copy_runs(toy_runs, tmp_path_factory.mktemp("copy") / "runs")


@pytest.fixture(scope="session")
def wmdp_runs(tmp_path_factory):
    """A runs folder of `wmdp` with a target of 6 layers, hardly trained; read only."""
    runs = tmp_path_factory.mktemp("wmdp") / "runs"
    toy.finetune_toy(runs, *toy.WMDP_FLAGS, depth=6, steps=2)
    return runs

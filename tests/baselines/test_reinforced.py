"""Task vectors and Who's Harry Potter: the formulas by hand, and the commands at toy size."""

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from baselines import sequential as baselines_sequential
from baselines import train as baselines_train
from eval import run as eval_run
from eval.scoring.likelihood import score_answers
from eval.scoring.model import load_eval_model
from grun.options import GrunConfig
from tests.toy import AUTHORS_FLAGS, AUTHORS_FOLDER, FORGET, build_model, copy_runs, only_run
from unlearn.config.experiment import parse_experiment
from unlearn.language_model.batches import forward_answers, pad
from unlearn.language_model.generation import generate_ids
from unlearn.language_model.reinforced import (
    PairedHead,
    subtract_task_vector,
    suppress_reinforced,
)

TARGET = f"{AUTHORS_FOLDER}/full/target-seed42"


def test_task_vector_goes_the_other_way():
    """w = 1, w_r = 3, scale 1/2: 1 - (3 - 1) / 2 = 0; at scale 1 it is -1."""
    for scale, expected in ((0.5, 0.0), (1.0, -1.0), (0.0, 1.0)):
        model = nn.Linear(1, 1, bias=False)
        model.weight.data.fill_(1.0)
        subtract_task_vector(model, {"weight": torch.tensor([[3.0]])}, scale)
        assert model.weight.item() == expected


def test_whp_takes_from_what_became_likelier():
    """z = (1, 2, 3), z_r = (2, 2, 0), scale 3: (1 - 3, 2, 3)."""
    z, z_r = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 2.0, 0.0])
    assert suppress_reinforced(z, z_r, 3.0).tolist() == [-2.0, 2.0, 3.0]


@pytest.fixture
def pair(tokenizer):
    return build_model(tokenizer), build_model(tokenizer, seed=2)


def test_paired_logits_are_those_of_two_passes(pair, prompt_encoder):
    """At the positions of the answers, in a ragged batch."""
    target, reinforced = pair
    batch = pad([prompt_encoder.encode(e.question, e.answer) for e in FORGET], 0)
    alone = [forward_answers(model, batch).logits for model in pair]
    PairedHead(target, reinforced, 2.0)
    paired = forward_answers(target, batch).logits
    torch.testing.assert_close(paired, alone[0] - 2 * (alone[1] - alone[0]).relu())
    assert not torch.allclose(paired, alone[0])


def test_paired_generation_follows_the_paired_logits(pair, prompt_encoder):
    """With keys and values of both models, step by step, in a left-padded batch: each token is the
    likeliest of a whole pass."""
    target, reinforced = pair
    PairedHead(target, reinforced, 2.0)
    prompts = [prompt_encoder.prompt_ids(e.question) for e in FORGET]
    for prompt, new in zip(prompts, generate_ids(target, prompt_encoder, prompts, 6), strict=True):
        ids = torch.tensor([prompt + new])
        likeliest = target(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.argmax(-1)[0]
        assert likeliest[len(prompt) - 1 : -1].tolist() == new


def test_copied_keys_and_values_go_on_in_both_models(pair):
    """As multiple choice scores several continuations behind one context."""
    target, reinforced = pair
    PairedHead(target, reinforced, 2.0)
    ids = torch.tensor([[5, 9, 7, 11, 6]])
    whole = target(input_ids=ids).logits
    cache = target(input_ids=ids[:, :3], use_cache=True).past_key_values
    for _ in range(2):
        later = target(input_ids=ids[:, 3:], past_key_values=copy.deepcopy(cache)).logits
        torch.testing.assert_close(later, whole[:, 3:], rtol=1e-4, atol=1e-4)


def test_paired_model_refuses_what_it_would_get_wrong(pair):
    target, reinforced = pair
    PairedHead(target, reinforced, 1.0)
    ids = torch.tensor([[1, 2, 3]])
    with pytest.raises(ValueError, match="takes token ids"):
        target(inputs_embeds=target.get_input_embeddings()(ids))
    cache = reinforced(input_ids=ids, use_cache=True).past_key_values
    with pytest.raises(ValueError, match="keys and values of the same tokens"):
        target(input_ids=ids[:, :1], past_key_values=cache)


def train(runs, *flags) -> None:
    size = ["--batch", "4", "--steps", "3", "--lr", "1e-3", "--runs", str(runs)]
    baselines_train.main([*AUTHORS_FLAGS, *size, *flags])


@pytest.fixture(scope="module")
def trained(toy_runs, tmp_path_factory):
    """A copy of the toy runs with a run of each."""
    runs = copy_runs(toy_runs, tmp_path_factory.mktemp("reinforced") / "runs")
    train(runs, "--objective", "whp", "--whp_scale", "2")
    train(runs, "--objective", "task_vector", "--vector_scale", "2")
    return runs


def test_task_vector_run_is_the_target_less_the_vector(trained):
    """The reinforced model of whp took the same steps."""
    whp = only_run(trained, "forget10/whp-full-*").path
    reinforced = load_file(whp / "reinforced" / "model" / "model.safetensors")
    before = load_file(trained / TARGET / "model" / "model.safetensors")
    saved = only_run(trained, "forget10/task_vector-full-*").path / "model" / "model.safetensors"
    moved = 0.0
    for name, weights in load_file(saved).items():
        expected = before[name] - 2 * (reinforced[name] - before[name])
        torch.testing.assert_close(weights, expected)
        moved = max(moved, float((weights - before[name]).abs().max()))
    assert moved > 1e-4


def test_runs_evaluate_like_any_other(trained):
    """whp is loaded with its scale, and scored as two models; both runs get rows."""
    paths = [
        str(only_run(trained, f"forget10/{name}-full-*").path) for name in ("whp", "task_vector")
    ]
    eval_run.main(["--only", *paths, "--runs", str(trained), "--max_new_tokens", "4"])
    for path in paths:
        rows = json.loads((Path(path) / "eval" / "forget10" / "forget.json").read_text())["rows"]
        assert len(rows) == 10 and len(rows[0]["perturbed_nll"]) == 5
    with load_eval_model(paths[0]) as whp, load_eval_model(trained / TARGET) as target:
        encode = whp.prompt_encoder.encode
        encoded = [encode(e.question, a) for e in FORGET for a in (e.answer, "By the sea.")]
        ours = [tokens.nll_sum for tokens in score_answers(whp, encoded, 4)]
        theirs = [tokens.nll_sum for tokens in score_answers(target, encoded, 4)]
        assert ours != pytest.approx(theirs)


@pytest.mark.parametrize("name", ["task_vector", "whp"])
def test_other_tuners_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="--tuner full"):
        train(tmp_path, "--objective", name, "--tuner", "lora")
    with pytest.raises(ValueError, match="--tuner full"):
        parse_experiment(GrunConfig, ["--objective", name])


def test_whp_is_no_start_for_another_request(tmp_path):
    flags = ["--splits", "forget10a", "forget10b", "--objective", "whp", "--runs", str(tmp_path)]
    with pytest.raises(ValueError, match="leaves two models"):
        baselines_sequential.main(flags)

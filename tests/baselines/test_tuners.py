"""The full and the LoRA tuner: gradients, shared forwards, the output head, the reference."""

import copy
import warnings

import pytest
import torch

from baselines import tuners
from eval.scoring.model import load_lora
from tests.baselines.tuner_cases import build_case, build_toy_loss, build_toy_sampler, parse_flags
from tests.toy import FORGET, RETAIN, save_gpt2
from unlearn.config.files import read_json
from unlearn.language_model.batches import forward_answers, pad
from unlearn.language_model.from_scratch import build_tiny
from unlearn.language_model.loading import load_model


def build_tuner(kind, model, gradient_checkpointing):
    model = copy.deepcopy(model)
    if kind == "lora":
        return tuners.LoraTuner(model, 2, 4.0, 0.0, gradient_checkpointing=gradient_checkpointing)
    return tuners.FullTuner(model, gradient_checkpointing=gradient_checkpointing)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_gradient_checkpointing_keeps_the_gradients(kind, untied, prompt_encoder):
    """A LoRA trains under it too: the gradient of B is not zero."""
    gradients = []
    for checkpointing in (False, True):
        tuner = build_tuner(kind, untied, checkpointing)
        assert tuner.model.is_gradient_checkpointing == checkpointing
        config = parse_flags("gd", kind)
        items = build_toy_sampler(config).items(0)
        build_toy_loss(config, tuner, prompt_encoder)(items, items, 0)["loss"].backward()
        trained = {name: p for name, p in tuner.model.named_parameters() if p.requires_grad}
        gradients.append({name: p.grad for name, p in trained.items()})
    plain, recomputed = gradients
    assert plain.keys() == recomputed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-5, atol=1e-7)
        assert recomputed[name].abs().max() > 0 or "lora_A" in name


def test_one_forward_equals_one_a_batch(untied, prompt_encoder):
    """The batches of a step share a padded forward; the answers are those of each batch alone."""
    tuner = tuners.FullTuner(copy.deepcopy(untied))
    batches = {
        name: pad([prompt_encoder.encode(e.question, e.answer) for e in examples], 0)
        for name, examples in (("a", FORGET), ("b", RETAIN[:2]))
    }
    for name, answers in tuner.forward_answers(batches).items():
        alone = forward_answers(tuner.model, batches[name])
        assert torch.equal(answers.example_index, alone.example_index)
        assert answers.size == len(batches[name])
        torch.testing.assert_close(answers.nll_sum, alone.nll_sum, rtol=1e-5, atol=1e-5)


def test_output_head_is_frozen_unless_tied(untied, tokenizer):
    assert not tuners.FullTuner(copy.deepcopy(untied)).model.lm_head.weight.requires_grad
    free = tuners.FullTuner(copy.deepcopy(untied), freeze_lm_head=False)
    assert free.model.lm_head.weight.requires_grad
    tied = tuners.FullTuner(build_tiny(tokenizer, 16, 2, 0))
    assert not tied.frozen_head
    assert tied.model.get_input_embeddings().weight.requires_grad


def test_reference_is_computed_once_and_read_again(untied, prompt_encoder, tmp_path, monkeypatch):
    """A full run keeps no second model: S_ref of every pass is computed before the first step.

    It is saved as JSON; the next time it is read and not computed.
    """
    config = parse_flags("idkpo")
    sampler = build_toy_sampler(config)
    tuner = build_case("full", config, untied).tuner
    assert tuner.frozen is None
    batches = [sampler.items(step) for step in range(20)]
    first = build_toy_loss(config, tuner, prompt_encoder)
    first.precompute_reference_nll(batches, tmp_path / "reference.json", 3)
    passes = {
        (item.forget.question, answer)
        for items in batches
        for item in items
        for answer in (item.forget.answer, item.refusal)
    }
    assert len(first.known_reference_nll) == len(passes)
    again = build_toy_loss(config, tuner, prompt_encoder)
    monkeypatch.setattr(tuner, "reference_forward", None)
    again.precompute_reference_nll(batches, tmp_path / "reference.json", 3)
    assert again.known_reference_nll == first.known_reference_nll


def test_saved_lora_names_its_layers_in_order(untied, tmp_path):
    """Not in the order of a set, which changes with PYTHONHASHSEED."""
    build_tuner("lora", untied, False).model.save_pretrained(tmp_path)
    targets = read_json(tmp_path / "adapter_config.json")["target_modules"]
    assert len(targets) > 1 and targets == sorted(targets)


def test_lora_on_gpt2_warns_of_nothing(tmp_path):
    """Its layers are Conv1D, whose weights are transposed: peft is told so, when loading too."""
    model = load_model(str(save_gpt2(tmp_path / "gpt2")), "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        tuner = tuners.LoraTuner(model, 2, 4.0, 0.0)
        tuner.model.save_pretrained(tmp_path / "lora")
        load_lora(load_model(str(tmp_path / "gpt2"), "cpu"), tmp_path / "lora", merge=True)

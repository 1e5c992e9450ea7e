"""The input filters, and the command that makes them."""

import numpy as np
import pytest
import torch

from baselines import controls
from baselines.guards.base import FilterInputs, load_filter
from baselines.guards.linear_probe import LinearProbe, fit_probe, last_states
from baselines.guards.name_filter import NameFilter
from baselines.guards.word_filter import WordFilter
from baselines.options import CONTROLS
from eval.scoring.model import load_eval_model
from tests.toy import AUTHORS_FLAGS, AUTHORS_FOLDER, QUESTIONS, copy_runs, only_run
from unlearn.benchmarks.examples import Example
from unlearn.language_model.batches import pad


@pytest.fixture
def prompts(prompt_encoder):
    return [prompt_encoder.prompt_ids(question) for question in QUESTIONS]


def test_last_states_in_a_batch_equal_those_alone(frozen_model, tokenizer, prompts):
    pad_id = tokenizer.pad_token_id
    states = last_states(frozen_model, 1, prompts, pad_id)
    alone = torch.cat([last_states(frozen_model, 1, [prompt], pad_id) for prompt in prompts])
    torch.testing.assert_close(states, alone, rtol=1e-4, atol=1e-5)


def test_probe_refuses_above_its_threshold(frozen_model, tokenizer, prompts, tmp_path):
    """Where w . h + b > threshold; a saved probe likewise."""
    states = last_states(frozen_model, 1, prompts, tokenizer.pad_token_id)
    weight = torch.randn(states.shape[1], generator=torch.Generator().manual_seed(0))
    values = states @ weight + 0.5
    threshold = float(values.sort().values[1:3].mean())
    probe = LinearProbe(["No."], 1, 0.5, threshold, weight)
    probe.save(tmp_path)
    expected = (values > values.median()).tolist()
    for control in (probe, load_filter(tmp_path)):
        assert control.is_refused(frozen_model, tokenizer, prompts).tolist() == expected


def test_names_are_whole_words_in_any_case(frozen_model, tokenizer, prompts):
    control = NameFilter(["No."], ["ADA LOW", "we"])
    refused = control.is_refused(frozen_model, tokenizer, prompts)
    assert refused.tolist() == [True, False, True, False]


def build_inputs(*forget_names) -> FilterInputs:
    forget = [Example(i, "Who?", "x", entity=name) for i, name in enumerate(forget_names)]
    retain = [Example(9, "Who?", "x", entity="Bo Low")]
    return FilterInputs(forget, retain, ["No."], None, None, 0.99, 0)


def test_word_filter_leaves_out_shared_words_and_particles():
    control, result = WordFilter.fit(build_inputs("Ada van Low"))
    assert control.names == ["Ada"]
    assert result == {"names": 1, "trainable_params": 0}


def test_name_filter_without_names_is_refused():
    with pytest.raises(ValueError, match="nothing to filter"):
        NameFilter.fit(build_inputs(None))


@pytest.fixture(scope="module")
def runs(toy_runs, tmp_path_factory):
    """A copy of the toy target with one run of every control."""
    runs = copy_runs(toy_runs, tmp_path_factory.mktemp("controls") / "runs")
    for kind in CONTROLS:
        controls.main([*AUTHORS_FLAGS, "--runs", str(runs), "--control", kind])
    return runs


@pytest.mark.parametrize("kind", CONTROLS)
def test_control_refuses_or_lets_the_target_answer(kind, runs):
    """It reports a gate of 1 or 0, and has no likelihoods."""
    with (
        load_eval_model(only_run(runs, f"forget10/control-{kind}-*").path) as filtered,
        load_eval_model(runs / AUTHORS_FOLDER / "full" / "target-seed42") as target,
    ):
        tokenizer = filtered.prompt_encoder.tokenizer
        questions = ["Where was x born?", *getattr(filtered.input_filter, "names", [])[:1]]
        prompts = [filtered.prompt_encoder.prompt_ids(question) for question in questions]
        refused = filtered.input_filter.is_refused(filtered.model, tokenizer, prompts).tolist()
        if kind != "probe":
            assert refused == [False, True]
        texts, gates = filtered.generate(prompts, 6)
        assert gates.tolist() == [[float(is_refused) for is_refused in refused]]
        for prompt, text, is_refused in zip(prompts, texts, refused, strict=True):
            answer = tokenizer.decode(target.generate([prompt], 6)[0][0])
            expected = filtered.input_filter.refusal(prompt) if is_refused else answer
            assert tokenizer.decode(text) == expected
        batch = pad([filtered.prompt_encoder.encode("Who?", "x")], 0)
        assert filtered.forward_answers(batch) is None


def test_probe_reports_how_often_it_refuses(runs):
    assert only_run(runs, "forget10/control-probe-*").result["forget_fired"] >= 0


def test_probe_layer_outside_the_model_is_refused(runs):
    words = ["--control", "probe", "--layer", "9"]
    with pytest.raises(ValueError, match="--layer"):
        controls.main([*AUTHORS_FLAGS, "--runs", str(runs), *words])


def test_probe_of_few_questions_has_fewer_folds():
    """Two of a side are enough, one is refused."""
    x = np.array([[0.0], [0.1], [0.9], [1.0], [1.1]])
    _, _, held_out = fit_probe(x, np.array([0, 0, 1, 1, 1]), 0)
    assert held_out.shape == (5,)
    with pytest.raises(ValueError, match="a probe needs two questions to forget and two to keep"):
        fit_probe(x, np.array([0, 1, 1, 1, 1]), 0)

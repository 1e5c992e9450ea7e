"""White-box attacks, sampling and relearning on a toy run, and the registry of attacks."""

import hashlib
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from eval.attacks.answers import AttackInputs, AttackSettings
from eval.attacks.methods.relearn import relearn_on, select_half
from eval.attacks.methods.sampling import leak_at_k
from eval.attacks.methods.whitebox import find_secret_tokens, gate_off, logit_lens
from eval.attacks.registry import attack, load_attacks
from eval.scoring.model import FilteredModel, load_eval_model, load_shared_base
from tests.toy import AUTHORS_FOLDER, only_run
from unlearn.benchmarks.opening import open_benchmark
from unlearn.language_model.batches import pad

TARGET = f"{AUTHORS_FOLDER}/full/target-seed42"
ATTACKS = load_attacks()


def build_inputs(**settings):
    sets = open_benchmark("authors", authors=10, heldout=2).evaluation_sets("forget10")
    sides = {side: sets[side][:4] for side in ("forget", "retain", "heldout")}
    small = {"batch_size": 4, "max_new_tokens": 5, "samples": 3, "seed": 1}
    relearning = {"relearn_lr": 1e-2, "relearn_batch": 4}
    return AttackInputs(sides, sets, AttackSettings(**small | relearning | settings))


def generations(rows):
    return [row["generation"] for row in rows]


def open_grun(runs, **how):
    return load_eval_model(only_run(runs, "forget10/gd-grun*").path, "cpu", **how)


def test_attack_refuses_a_name_that_is_taken():
    with pytest.raises(ValueError, match="clean is registered twice"):
        attack("clean", group="clean")(gate_off)


def test_gate_off_asks_the_model_without_its_adapter(toy_runs):
    inputs = build_inputs()
    with load_eval_model(toy_runs / TARGET, "cpu") as target:
        assert gate_off(target, inputs) == []
        untouched = generations(ATTACKS["clean"].run(target, inputs))
        refuse_all = SimpleNamespace(
            is_refused=lambda *_: torch.ones(4, dtype=bool), refusal=lambda _: "No."
        )
        filtered = FilteredModel(
            target.name, target.model, target.prompt_encoder, input_filter=refuse_all
        )
        assert generations(gate_off(filtered, inputs)) == untouched
    with open_grun(toy_runs) as eval_model:
        edited = ATTACKS["clean"].run(eval_model, inputs)
        without = gate_off(eval_model, inputs)
        assert generations(without) == untouched != generations(edited)
        assert "gates" not in without[0] and len(edited[0]["gates"]) == 2


def test_logit_lens_ends_in_the_models_own_choice(toy_runs):
    inputs = build_inputs()
    examples = [e for side in inputs.sides.values() for e in side]
    with open_grun(toy_runs) as eval_model:
        prompt_encoder = eval_model.prompt_encoder
        for example, row in zip(examples, logit_lens(eval_model, inputs), strict=True):
            encoded = prompt_encoder.encode(example.question, example.answer)
            start, end = find_secret_tokens(prompt_encoder, example)
            assert example.value in prompt_encoder.tokenizer.decode(encoded.ids[start:end])
            batch = pad([encoded], prompt_encoder.tokenizer.pad_token_id)
            answers = eval_model.forward_answers(batch)
            correct = answers.logits.argmax(1) == answers.labels
            secret = correct[start - encoded.prompt_length : end - encoded.prompt_length]
            assert row["by_layer"][-1] == pytest.approx(secret.float().mean().item())
            assert len(row["by_layer"]) == 4


def test_leak_at_k_follows_from_the_seed(toy_runs):
    """In batches of any size, and without touching the global generator."""
    with load_eval_model(toy_runs / TARGET, "cpu") as eval_model:
        state = torch.get_rng_state()
        rows = leak_at_k(eval_model, build_inputs())
        assert torch.equal(torch.get_rng_state(), state)
        assert rows == leak_at_k(eval_model, build_inputs())
        assert rows == leak_at_k(eval_model, build_inputs(batch_size=1))
        assert rows != leak_at_k(eval_model, build_inputs(seed=2))
    by_sample = [generations(r for r in rows if r["sample"] == k) for k in range(3)]
    assert len(by_sample[0]) == 8 and by_sample[0] != by_sample[1] != by_sample[2]
    assert {row["side"] for row in rows} == {"forget", "retain"}


def file_digests(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_relearning_moves_the_base_and_no_file(toy_runs):
    """The adapter, the shared base and every file stay; the other half of the forget set is
    asked."""
    digests = file_digests(toy_runs)
    inputs = build_inputs()
    with open_grun(toy_runs, weights="private") as eval_model:
        before = [weight.clone() for weight in eval_model.model.parameters()]
        rows = relearn_on(select_half)(eval_model, inputs)
        after = list(eval_model.model.parameters())
        assert not any(torch.equal(a, b) for a, b in zip(after, before, strict=True))
        run = only_run(toy_runs, "forget10/gd-grun*").path
        stored = load_file(run / "adapter" / "adapter.safetensors")
        for layer, edit in eval_model.adapter_hooks.adapter.edits.items():
            for name, value in edit.state_dict().items():
                assert torch.equal(value, stored[f"{layer}.{name}"])
        shared = load_shared_base(str(toy_runs / TARGET), "cpu", "auto", "auto")
        assert eval_model.model is not shared
    trained = {e.index for e in select_half(inputs.evaluation_sets)}
    asked = {row["index"] for row in rows if row["side"] == "forget"}
    assert len(trained) == 5 and asked.isdisjoint(trained)
    with open_grun(toy_runs) as eval_model:
        weights = eval_model.model.parameters()
        assert all(torch.equal(a, b) for a, b in zip(weights, before, strict=True))
    assert file_digests(toy_runs) == digests

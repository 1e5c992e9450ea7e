"""The command baselines.train: what it saves, how it resumes, checks during training."""

import pytest
import torch
from safetensors.torch import load_file

from baselines import train as baselines_train
from eval.scoring.model import load_eval_model
from tests.toy import ANSWERS, AUTHORS_FLAGS, AUTHORS_FOLDER, QUESTIONS, only_run
from unlearn.config.files import read_json
from unlearn.language_model.batches import forward_answers, pad
from unlearn.training.sampler import ForgetRetainSampler

TARGET = f"{AUTHORS_FOLDER}/full/target-seed42"


def train(runs, *flags) -> None:
    size = ["--steps", "3", "--batch", "4"]
    baselines_train.main([*AUTHORS_FLAGS, "--runs", str(runs), *size, *flags])


@pytest.mark.parametrize("tuner", ["full", "lora"])
def test_trained_run_is_saved_loaded_and_skipped(runs, tuner, capsys):
    """A second start is skipped; the base model under a LoRA is itself again afterwards."""
    flags = ["--objective", "npo", "--tuner", tuner, "--lr", "1e-2", "--save_steps", "2"]
    train(runs, *flags)
    run = only_run(runs, f"forget10/npo-{tuner}-*")
    assert (run.path / "step-2" / ("model" if tuner == "full" else "lora")).is_dir()
    assert run.result["trainable_params"] > 0
    target = load_eval_model(runs / TARGET)
    encode = target.prompt_encoder.encode
    batch = pad([encode(q, a) for q, a in zip(QUESTIONS, ANSWERS, strict=True)], 0)
    before = target.forward_answers(batch).nll_sum
    with load_eval_model(run.path) as trained:
        assert (trained.forward_answers(batch).nll_sum - before).abs().min() > 1e-4
        model = trained.model
    if tuner == "lora":
        after = forward_answers(model.base_model.model, batch).nll_sum
        torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
    capsys.readouterr()
    train(runs, *flags)
    assert "skipped, finished before" in capsys.readouterr().out


def test_killed_and_resumed_run_equals_uninterrupted(runs, tmp_path, monkeypatch):
    """A PDU run with LoRA dropout, killed in its third step: the same bytes, dual and log."""
    flags = ["--objective", "pdu", "--tuner", "lora", "--target", str(runs / TARGET)]
    flags += ["--dual_warmup", "0", "--retain_weight", "1", "--lr", "1e-3"]
    flags += ["--checkpoint_every", "1"]
    train(tmp_path / "a", *flags)
    draw = ForgetRetainSampler.items

    def draw_or_die(sampler, step):
        if step == 2:
            raise KeyboardInterrupt
        return draw(sampler, step)

    with monkeypatch.context() as patch:
        patch.setattr(ForgetRetainSampler, "items", draw_or_die)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "b", *flags)
    checkpoint = only_run(tmp_path / "b", "forget10/pdu-*").checkpoint
    assert read_json(checkpoint / "state.json")["losses"]["dual"] > 1
    train(tmp_path / "b", *flags)
    one, other = (only_run(tmp_path / name, "forget10/pdu-*") for name in "ab")
    weights, resumed = (
        load_file(run.path / "lora" / "adapter_model.safetensors") for run in (one, other)
    )
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)
    assert one.logged() == other.logged()


def test_keep_best_saves_the_best_check(runs, tmp_path):
    """GA at a high rate loses retain at once, so the best check is that of the target itself."""
    target = runs / TARGET
    flags = ["--objective", "ga", "--lr", "3e-2", "--warmup_epochs", "0", "--eval_steps", "1"]
    for keep in ("last", "best"):
        train(tmp_path / keep, "--keep", keep, *flags, "--target", str(target))
    last, best = (only_run(tmp_path / keep, "forget10/ga-*") for keep in ("last", "best"))
    checks = [record["check"] for record in last.logged() if "check" in record]
    assert [check["step"] for check in checks] == [0, 1, 2, 3]
    assert checks[-1]["forget"] > checks[0]["forget"]
    assert best.result["checks"]["best"]["step"] == 0
    start, kept, final = (
        load_file(path / "model" / "model.safetensors") for path in (target, best.path, last.path)
    )
    assert all(torch.equal(start[name], kept[name]) for name in start)
    assert not all(torch.equal(start[name], final[name]) for name in start)

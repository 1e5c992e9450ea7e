"""Every attack on a run at toy size, the command that makes them, and its tables."""

import hashlib
import json
import shutil
import subprocess
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

import pandas
import pytest
import torch
from safetensors.torch import load_file

from eval.attacks import run as attack_run
from eval.attacks import tables
from eval.attacks.answers import Case
from eval.attacks.relearn import forget_half, relearn
from eval.attacks.sampling import leak_at_k
from eval.attacks.whitebox import gate_off, logit_lens, secret
from eval.scoring.model import FilteredModel, base, load
from grun import train as grun_train
from unlearn.benchmarks.opening import open_benchmark
from unlearn.language_model.batches import pad
from unlearn.training import finetune

ROOT = Path(__file__).resolve().parents[3]
DATA = ["--authors", "10", "--heldout", "2"]
PLACE = "authors,authors=10,heldout=2/tiny"
SMALL = [*DATA, "--max_new_tokens", "6", "--rows", "3", "--samples", "2"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A runs folder with a target and one GRUN run, hardly trained."""
    runs = tmp_path_factory.mktemp("toy") / "runs"
    finetune.main(
        [
            *DATA,
            "--steps",
            "3",
            "--hidden",
            "32",
            "--depth",
            "3",
            "--batch",
            "8",
            "--runs",
            str(runs),
        ]
    )
    (made,) = (runs / PLACE / "full").iterdir()
    made.rename(made.with_name("target-seed42"))
    grun_train.main(
        [
            *DATA,
            "--runs",
            str(runs),
            "--layers",
            "1",
            "2",
            "--steps",
            "3",
            "--batch",
            "4",
            "--objective",
            "gd",
        ]
    )
    return runs


def grun_run(runs):
    (found,) = (runs / PLACE / "forget10").glob("gd-grun*")
    return found


def case(**more):
    source = open_benchmark("authors", authors=10, heldout=2)
    sets = source.evaluation_sets("forget10")
    args = Namespace(
        **{
            "batch_size": 4,
            "max_new_tokens": 5,
            "samples": 3,
            "seed": 1,
            "relearn_lr": 1e-2,
            "relearn_batch": 4,
        }
        | more
    )
    return Case({side: sets[side][:4] for side in ("forget", "retain", "heldout")}, sets, args)


def digests(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "attacks" not in path.parts
    }


# ---- white box, sampling, relearning, on a run ----


def test_gate_off_is_the_base_and_the_lens_ends_in_what_the_model_says(toy):
    here = case()
    with load(toy / PLACE / "full" / "target-seed42", "cpu") as target:
        assert gate_off(target, here) == []
        untouched = [r["generation"] for r in attack_run.ATTACKS["clean"].rows(target, here)]
        guarded = FilteredModel(
            target.name,
            target.model,
            target.prompt_encoder,
            guard=Namespace(fires=lambda *_: torch.ones(4, dtype=bool), refusal=lambda _: "No."),
        )
        assert [r["generation"] for r in gate_off(guarded, here)] == untouched
    with load(grun_run(toy), "cpu") as eval_model:
        edited = attack_run.ATTACKS["clean"].rows(eval_model, here)
        off = gate_off(eval_model, here)
        assert [r["generation"] for r in off] == untouched != [r["generation"] for r in edited]
        assert "gates" not in off[0] and len(edited[0]["gates"]) == 2
        rows = logit_lens(eval_model, here)
        for e, lens in zip([e for side in here.sides.values() for e in side], rows, strict=True):
            encoded = eval_model.prompt_encoder.encode(e.question, e.answer)
            start, end = secret(eval_model.prompt_encoder, e)
            assert e.value in eval_model.prompt_encoder.tokenizer.decode(encoded.ids[start:end])
            said = eval_model.forward_answers(
                pad([encoded], eval_model.prompt_encoder.tokenizer.pad_token_id)
            )
            right = (said.logits.argmax(1) == said.labels)[
                start - encoded.prompt : end - encoded.prompt
            ]
            assert (
                lens["by_layer"][-1] == pytest.approx(right.float().mean().item())
                and len(lens["by_layer"]) == 3
            )


def test_samples_follow_from_the_seed_in_batches_of_any_size_and_touch_no_global_generator(toy):
    with load(toy / PLACE / "full" / "target-seed42", "cpu") as eval_model:
        state = torch.get_rng_state()
        rows = leak_at_k(eval_model, case())
        assert torch.equal(torch.get_rng_state(), state)
        assert (
            rows
            == leak_at_k(eval_model, case())
            == leak_at_k(eval_model, case(batch_size=1))
            != leak_at_k(eval_model, case(seed=2))
        )
    by_sample = [[r["generation"] for r in rows if r["sample"] == k] for k in range(3)]
    assert (
        len(by_sample[0]) == 8
        and by_sample[0] != by_sample[1] != by_sample[2]
        and {r["side"] for r in rows} == {"forget", "retain"}
    )


def test_relearning_keeps_the_adapter_and_the_run_as_they_are(toy):
    """The base's weights move, the adapter's do not, the shared base and every file of both runs
    stay; half: the other half is asked."""
    before = digests(toy)
    here = case()
    with load(grun_run(toy), "cpu", own=True) as eval_model:
        weights = [p.clone() for p in eval_model.model.parameters()]
        rows = relearn(forget_half)(eval_model, here)
        assert all(
            not torch.equal(p, old)
            for p, old in zip(eval_model.model.parameters(), weights, strict=True)
        )
        stored = load_file(grun_run(toy) / "adapter" / "adapter.safetensors")
        for layer, edit in eval_model.adapter_hooks.adapter.edits.items():
            assert all(
                torch.equal(value, stored[f"{layer}.{name}"])
                for name, value in edit.state_dict().items()
            )
        assert eval_model.model is not base(
            str(toy / PLACE / "full" / "target-seed42"), "cpu", "auto", "auto"
        )
    trained = {e.index for e in forget_half(here.sets)}
    assert len(trained) == 5 and {r["index"] for r in rows if r["side"] == "forget"}.isdisjoint(
        trained
    )
    with load(grun_run(toy), "cpu") as eval_model:
        assert all(
            torch.equal(p, old)
            for p, old in zip(eval_model.model.parameters(), weights, strict=True)
        )
    assert digests(toy) == before


# ---- the command ----


def attacked(runs, *more):
    attack_run.main([*SMALL, "--runs", str(runs), *more])


def test_every_attack_by_the_command_then_nothing_is_computed_again(toy, tmp_path, capsys):
    runs = tmp_path / "runs"
    shutil.copytree(toy, runs)
    for config in runs.rglob("config.json"):
        config.write_text(config.read_text().replace(str(toy), str(runs)))
    attacked(runs)
    folder = grun_run(runs) / "attacks" / "forget10"
    names = [name for name, attack in attack_run.ATTACKS.items() if not attack.packed]
    assert sorted(path.stem for path in folder.glob("*.json")) == sorted([*names, "summary"])
    made = json.loads((folder / "prefill_3.json").read_text())
    assert {
        "side",
        "index",
        "variant",
        "prompt",
        "given",
        "answer",
        "value",
        "generation",
        "rougeL_recall",
        "found",
        "gates",
    } <= made["rows"][0].keys()
    assert [r["side"] for r in made["rows"]] == ["forget"] * 3 + ["retain"] * 3 + ["heldout"] * 3
    assert capsys.readouterr().out.count(f"{len(names)} attacks (") == 2  # the target, the run

    kept = {
        path: path.stat().st_mtime_ns
        for path in folder.glob("*.json")
        if path.stem not in ("summary", "suffix")
    }
    content = (folder / "suffix.json").read_text()
    (folder / "suffix.json").unlink()  # as after an interruption
    attacked(runs)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert json.loads((folder / "suffix.json").read_text())["rows"] == json.loads(content)["rows"]
    assert capsys.readouterr().out.count("skipped, attacked before") == 1
    attacked(runs, "--attacks", "prefill", "suffix", "--overwrite")
    assert (
        capsys.readouterr().out.count(
            "6 attacks (clean, prefill_sure, prefill_1, prefill_3, prefill_5, suffix) in"
        )
        == 2
    )

    tables.main(["--runs", str(runs)])
    printed = capsys.readouterr().out
    text = (runs / "tables" / "attacks.csv").read_text().splitlines()
    assert text[0].startswith("run,attack,forget_leak,retain_collateral,n,")
    frame = pandas.read_csv(runs / "tables" / "attacks.csv", keep_default_na=False)
    made_on = {run: sorted(part.attack) for run, part in frame.groupby("run")}
    assert made_on == {
        path.relative_to(runs).as_posix(): sorted(names)
        for path in (runs / PLACE / "full" / "target-seed42", grun_run(runs))
    }
    unknown = frame[frame.attack == "clean"].iloc[
        0
    ]  # a model after 3 steps says no secret, so nothing said of it means anything
    assert (
        unknown.base_forget == 0
        and unknown.forget_leak == unknown.retain_collateral == "-"
        and unknown.n == 0
    )
    assert (
        "base: its own score" in printed
        and "base: its own score" in (runs / "tables" / "attacks.md").read_text()
    )
    assert (runs / "tables" / "attacks.tex").exists() and (
        runs / "tables" / "attacks.png"
    ).stat().st_size > 10_000


def test_a_broken_run_does_not_keep_the_others_from_being_attacked(toy, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(toy, runs)
    broken = grun_run(runs).with_name("ga-full-seed1")
    shutil.copytree(grun_run(runs), broken)
    shutil.rmtree(broken / "adapter")
    with pytest.raises(ValueError, match="ga-full-seed1.*run its training command again"):
        attacked(runs, "--attacks", "suffix")
    assert (grun_run(runs) / "attacks" / "forget10" / "suffix.json").exists()


def test_a_base_from_elsewhere_is_attacked_beside_the_run(toy, tmp_path):
    """A run whose target is no run directory keeps the attacks on it in
    <run>/attacks/<split>/base."""
    run = tmp_path / "runs" / PLACE / "forget10" / "gd-grun-seed42"
    model = tmp_path / "elsewhere"
    shutil.copytree(grun_run(toy), run)
    shutil.copytree(toy / PLACE / "full" / "target-seed42" / "model", model)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"target": str(model)}))
    attacked(tmp_path / "runs", "--attacks", "suffix")
    folder = run / "attacks" / "forget10"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.json")) == [
        "base/clean.json",
        "base/suffix.json",
        "clean.json",
        "suffix.json",
        "summary.json",
    ]
    assert json.loads((folder / "summary.json").read_text())["suffix"]["base_forget"] is not None


def test_bad_flags(toy):
    for flags, message in [
        (["--attacks", "magic"], "--attacks magic is unknown; choose default, a group"),
        (["--samples", "0"], "must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            attacked(toy, *flags)
    if find_spec("bitsandbytes") is None:
        with pytest.raises(ValueError, match="pip install bitsandbytes"):
            attacked(toy, "--attacks", "nf4_bnb")


def test_tables_without_an_attack_say_what_to_run(tmp_path):
    with pytest.raises(ValueError, match="ATTACKS=1"):
        tables.main(["--runs", str(tmp_path)])


@pytest.mark.parametrize(
    ("asked", "names"), [("1", "default"), ("prefill joined", "prefill joined")]
)
def test_cmd_eval_asks_for_attacks(asked, names):
    variables = {"PATH": "/usr/bin:/bin", "DRY_RUN": "1", "ATTACKS": asked}
    done = subprocess.run(
        ["bash", ROOT / "cmd_eval.sh", "--rows", "3"], env=variables, capture_output=True, text=True
    )
    lines = [line.removeprefix("+ ") for line in done.stdout.splitlines()]
    assert (
        f"python -m eval.attacks.run --benchmark authors --model tiny --split forget10 --attacks {names} --rows 3"
        in lines
    )
    assert "python -m eval.attacks.tables" in lines

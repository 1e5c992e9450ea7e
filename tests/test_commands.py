"""The real commands at toy size: the whole path from nothing to the table, ablations, resumption,
and every kind of bad input."""

import json
import os
import shutil
from pathlib import Path

import pandas
import pytest

from eval import run as eval_run
from eval.report import __main__ as report
from grun import train as grun_train
from grun.options import GrunConfig
from tests.toy import AUTHORS_FLAGS, AUTHORS_FOLDER, finetune_toy, grun_flags, only_run
from unlearn.config.experiment import parse_experiment
from unlearn.config.flags import run_command
from unlearn.config.run_directory import Run

TOFU = Path(os.environ.get("TOFU_DIR", "not given"))


def test_from_nothing_to_the_table(toy_runs, tmp_path, capsys):
    """Every set is scored, the table has a row per method and the csv the promised columns; a
    second start computes nothing."""
    runs = tmp_path / "runs"
    shutil.copytree(toy_runs, runs)
    for objective in ("npo", "idk"):
        grun_train.main([*grun_flags(runs), "--objective", objective])
    capsys.readouterr()
    eval_run.main([*AUTHORS_FLAGS, "--runs", str(runs)])
    evaluated = capsys.readouterr().out.count(": evaluated forget, retain, ")
    report.main(["--runs", str(runs)])
    frame = pandas.read_csv(runs / "tables" / "tofu.csv")
    keys = "benchmark model split objective tuner variant seeds".split()
    metrics = "forget_rouge forget_prob forget_truth_ratio".split()
    assert list(frame.columns[:10]) == keys + metrics
    assert {"target", "reference", "gd", "npo", "idk"} == set(frame.objective)
    assert set(frame[frame.objective.isin(["target", "reference"])].tuner) == {"-"}
    numbers = frame[
        [
            "retain_rouge",
            "heldout_rouge",
            "heldout_prob",
            "model_utility",
            "forget_quality",
            "trainable_params",
            "train_seconds",
        ]
    ]
    assert numbers.notna().all().all()
    assert frame.set_index("objective").heldout_gate_fpr.notna().to_dict() == {
        "target": False,
        "reference": False,
        "gd": True,
        "npo": True,
        "idk": True,
    }
    rows = json.loads(
        (
            only_run(runs, "forget10/idk-grun*").path / "eval" / "forget10" / "forget.json"
        ).read_text()
    )["rows"]
    assert len(rows) == 10 and len(rows[0]["gates"]) == 2 and len(rows[0]["perturbed_nll"]) == 5
    capsys.readouterr()
    eval_run.main([*AUTHORS_FLAGS, "--runs", str(runs)])
    assert capsys.readouterr().out.count("skipped, evaluated before") == evaluated >= 5


def test_train_skips_finished_and_separates_ablations(runs, capsys):
    before = sorted(path.name for path in (runs / AUTHORS_FOLDER / "forget10").iterdir())
    grun_train.main([*grun_flags(runs), "--objective", "gd"])
    assert "skipped, finished before" in capsys.readouterr().out
    grun_train.main([*grun_flags(runs), "--objective", "gd", "--rank", "8", "--gate", "linear"])
    (added,) = set(path.name for path in (runs / AUTHORS_FOLDER / "forget10").iterdir()) - set(
        before
    )
    assert "rank=8" in added and "gate=linear" in added
    config = only_run(runs, f"forget10/{added}").config
    assert config["flags"]["rank"] == {"value": 8, "origin": "flag"}
    assert (
        config["flags"]["epochs"]["origin"] == "recipe"
        and config["flags"]["pairing"]["origin"] == "default"
    )


def test_official_flag_names(toy_runs):
    """The official command line, word for word but for paths, is the same run as ours."""
    official = [
        "--forget_loss_type",
        "gated_npo_grad_diff",
        "--gated",
        "--gate_func",
        "linear",
        "--tofu_split",
        "forget10",
        "--epoch",
        "40",
    ]
    official += [
        "--npo_coeff",
        "100",
        "--grad_diff_forget_weight",
        "1.0",
        "--retain_weight",
        "1",
        "--gate_weight",
        "10",
        "--warm_up_gate_step",
        "-1",
    ]
    official += [
        "--input_return_split",
        "retain90",
        "--template",
        "llama3",
        "--save_eval_steps",
        "50",
        "100",
    ]
    config = parse_experiment(GrunConfig, official).config
    assert config.objective.objective == "npo"
    assert config.objective.forget_weight == 100
    assert config.adapter.gate == "linear"
    assert config.adapter.warmup_gate_steps == -1
    assert config.training.epochs == 40
    assert config.training.save_steps == [50, 100]
    assert (config.target.split, config.target.retain_split) == ("forget10", "retain90")
    assert config.tuner == "grun"
    ungated = parse_experiment(GrunConfig, ["--forget_loss_type", "grad_diff"]).config
    assert (ungated.objective.objective, ungated.adapter.gate) == ("gd", "none")
    assert ungated.tuner == "reft"


def test_engines_train_the_same(toy_runs, tmp_path):
    """--engine cached and --engine pyvene log the same losses to 1e-4 relative at every step."""
    target = str(toy_runs / AUTHORS_FOLDER / "full" / "target-seed42")
    for engine in ("cached", "pyvene"):
        grun_train.main(
            grun_flags(
                tmp_path / engine, "--objective", "idkpo", "--engine", engine, "--target", target
            )
        )
    one, other = (
        only_run(tmp_path / engine, "forget10/idkpo-*").logged() for engine in ("cached", "pyvene")
    )
    assert [r["loss"] for r in one] == pytest.approx([r["loss"] for r in other], rel=1e-4)


BAD = [
    (["--split", "forget99"], "no forget split 'forget99'"),
    (["--benchmark", "tofu", "--data_dir", "/nowhere"], "/nowhere"),
    (["--benchmark", "moon"], "moon"),
    (["--layers", "1", "9"], "--layers: 9 is outside this model's 0..3"),
    (["--layers", "1", "1"], "different layers"),
    (["--rank", "33"], "--rank 33: must be between 1 and this model's hidden size, 32"),
    (["--gate", "door"], "--gate door is unknown; choose one of none, linear, mlp_3, mlp_5"),
    (["--objective", "magic"], "--objective magic is unknown; choose one of ga, gd"),
    (["--engine", "steam"], "--engine steam is unknown"),
    (["--target", "runs/nothing/here"], "holds no model"),
    (["--lr", "0"], "--lr 0.0: must be greater than 0"),
    (["--rnk", "3"], "unrecognized arguments: --rnk 3"),
    (["--lr", "1e25"], "not finite at step"),
    (["--lr", "inf"], "--lr inf: must be greater than 0, and finite"),
    (["--device", "warp"], "warp"),
]


@pytest.mark.parametrize(("more", "message"), BAD, ids=[" ".join(more) for more, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(toy_runs, tmp_path, capsys, more, message):
    """What came, what is allowed; nothing that was finished is touched."""
    words = [] if "tofu" in more else AUTHORS_FLAGS
    words = [
        *words,
        "--runs",
        str(tmp_path),
        "--layers",
        "1",
        "2",
        "--steps",
        "4",
        "--batch",
        "4",
        "--target",
        str(toy_runs / AUTHORS_FOLDER / "full" / "target-seed42"),
    ]
    with pytest.raises(SystemExit) as stop:
        run_command(lambda _: grun_train.main([*words, *more]))
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and error.startswith("error: ") and message in error


def test_a_finished_run_survives_a_failing_overwrite(runs, capsys):
    kept = next(iter((runs / AUTHORS_FOLDER / "forget10").glob("gd-grun*")))
    with pytest.raises(ValueError, match="holds no model"):
        grun_train.main(
            [*grun_flags(runs), "--objective", "gd", "--overwrite", "--target", "runs/nothing"]
        )
    assert Run(kept).done and (kept / "adapter" / "adapter.safetensors").exists()


@pytest.mark.skipif(not TOFU.exists(), reason="set TOFU_DIR to a folder of TOFU's files")
def test_real_tofu_rows(tmp_path):
    """40 of TOFU's authors, four held out: a toy target, GRUN on forget01, and a row of results per
    question."""
    data = ["--benchmark", "tofu", "--data_dir", str(TOFU), "--authors", "40", "--heldout", "4"]
    data += ["--runs", str(tmp_path)]
    target = finetune_toy(tmp_path, *data, steps=2)
    size = ["--split", "forget01", "--steps", "2", "--layers", "1", "2"]
    grun_train.main([*data, *size, "--objective", "idk", "--target", str(target)])
    (run,) = tmp_path.glob("tofu*/tiny/forget01/idk-grun*")
    eval_run.main([*data, "--split", "forget01", "--only", str(run), "--max_new_tokens", "4"])
    rows = {
        path.stem: len(json.loads(path.read_text())["rows"])
        for path in (run / "eval" / "forget01").glob("*.json")
        if path.stem != "summary"
    }
    assert rows == {
        "forget": 40,
        "forget_paraphrased": 40,
        "retain": 320,
        "heldout": 80,
        "real_authors": 100,
        "world_facts": 117,
    }

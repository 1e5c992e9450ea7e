"""Requests that come one by one: the real commands at toy size, what each stage holds, what a
withdrawal leaves, and the script's grid."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pandas
import pytest

from eval import sequential as evaluation
from grun import requests, sequential
from grun import train as grun_train
from grun.request_stack import RequestStack
from tests.toy import ROOT, finetune_toy
from unlearn.config.run_directory import read_json

DATA = ["--authors", "30", "--heldout", "2"]
SPLITS = ["forget10a", "forget10b", "forget10c"]
RULES = {"scaled": [1.2, 1.8, 2.4], "max": [1.0, 1.0, 1.0]}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A runs folder with three requests, stacked and evaluated: (the folder, the flags that made
    it)."""
    runs = tmp_path_factory.mktemp("toy") / "runs"
    target = finetune_toy(runs, *DATA)
    flags = [
        *DATA,
        "--objective",
        "idk",
        "--target",
        str(target),
        "--layers",
        "1",
        "2",
        "--steps",
        "3",
        "--batch",
        "4",
        "--runs",
        str(runs),
    ]
    sequential.main(["--splits", *SPLITS, *flags])
    evaluation.main(eval_flags(runs))
    return runs, flags


def eval_flags(runs, *more):
    return ["--runs", str(runs), "--rules", *RULES, "--max_new_tokens", "4", *more]


def stack_in(runs) -> Path:
    (found,) = runs.glob("*/tiny/sequential/forget10a+forget10b+forget10c/idk-grun-*-seed42")
    return found


def stage(runs, name, rule="scaled") -> dict:
    """set -> rows."""
    return read_json(stack_in(runs) / "eval" / rule / f"{name}.json")["sets"]


def answers(rows):
    return [(row["index"], row["generation"], row["prob"], row["rougeL_recall"]) for row in rows]


def test_every_request_is_trained_alone_and_stacked_in_order(toy):
    """The stack holds the very adapters of three runs, each trained on its own split, all against
    one target."""
    runs, _ = toy
    stack = RequestStack(stack_in(runs))
    assert stack.names == SPLITS and stack.combination.rule == "scaled"
    for split in SPLITS:
        (run,) = runs.glob(f"*/tiny/{split}/idk-grun-*")
        for name in ("adapter.json", "adapter.safetensors"):
            assert (run / "adapter" / name).read_bytes() == (
                stack.folder / split / name
            ).read_bytes()
        assert stack.find_entry(split)["train_seconds"] == read_json(run / "result.json")["train_seconds"]


def test_stages_sets_and_columns(toy):
    """0 to 3 requests, then all but the middle one; at each the forget rows of all three, retain
    and held-out retain; c(K) = .6 K + .6."""
    runs, _ = toy
    table = pandas.read_csv(runs / "tables" / "sequential.csv", dtype={"stage": str})
    assert (
        list(table.columns)
        == "benchmark model objective seed stack rule stage c requests set rouge prob own_gate open other_gates".split()
    )
    assert list(table["stage"].unique()) == ["0", "1", "2", "3", "without forget10b"] and set(
        table["set"]
    ) == {*SPLITS, "retain", "heldout"}
    for rule, scales in RULES.items():
        part = table[table["rule"] == rule].groupby("stage")["c"].first()
        assert part[["1", "2", "3", "without forget10b"]].tolist() == pytest.approx(
            [*scales, scales[1]]
        ) and pandas.isna(part["0"])
    indexed = table[table["rule"] == "max"].set_index(["stage", "set"])
    told = indexed["own_gate"]
    assert [told["2", split] == told["2", split] for split in SPLITS] == [True, True, False], (
        "a gate of its own, once a request has come"
    )
    assert (
        indexed["open"]["0", "retain"] != indexed["open"]["0", "retain"]
        and 0 <= indexed["open"]["1", "retain"] <= 1
    )
    rows = stage(runs, "2")["forget10a"]
    assert (
        len(rows) == 10 and len(rows[0]["gates"]) == 2 and len(rows[0]["gates"][0]) == 2
    )  # [K][L]
    words = (runs / "tables" / "sequential.md").read_text()
    assert "rule scaled" in words and "without forget10b" in words and "held-out" in words
    assert (runs / "tables" / "sequential.tex").exists() and (
        runs / "tables" / "sequential.png"
    ).read_bytes().startswith(b"\x89PNG")


def test_a_withdrawn_request_leaves_the_others(toy):
    """Withdrawing the last of three leaves, to the bit, what two gave on every set: its own answers
    are back, those of the others stay."""
    runs, _ = toy
    evaluation.main(eval_flags(runs, "--withdraw", "forget10c"))
    for rule in RULES:
        before = stage(runs, "2", rule)
        after = stage(runs, "without-forget10c", rule)
        assert before == after
        assert any(
            answers(before[name]) != answers(stage(runs, "3", rule)[name]) for name in before
        )
        base = stage(runs, "0", rule)
        assert all("gates" not in row for rows in base.values() for row in rows) and base == stage(
            runs, "0", "scaled"
        )


def test_evaluated_before_is_read_and_a_new_adapter_is_not(toy, tmp_path, monkeypatch):
    """A second start scores nothing; after a request is trained again, only the stages it is part
    of are scored anew."""
    runs, flags = toy
    folder = tmp_path / "stack"
    shutil.copytree(stack_in(runs), folder)
    asked = []
    score = evaluation.score_examples

    def counted(eval_model, examples, args):
        asked.append(
            tuple(eval_model.adapter_hooks.names[k] for k in eval_model.adapter_hooks.active)
        )
        return score(eval_model, examples, args)

    monkeypatch.setattr(evaluation, "score_examples", counted)
    again = [
        "--stacks",
        str(folder),
        "--runs",
        str(tmp_path),
        "--rules",
        "max",
        "--max_new_tokens",
        "4",
    ]
    evaluation.main(again)
    assert asked == []
    grun_train.main([*flags, "--split", "forget10c", "--seed", "7"])
    (other,) = runs.glob("*/tiny/forget10c/idk-grun-*-seed7")
    for words in (["remove", "forget10c"], ["add", "forget10c", str(other)]):
        requests.main([*words, "--requests", str(folder)])
    evaluation.main(again)
    assert set(asked) == {
        tuple(SPLITS),
        ("forget10a", "forget10c"),
    }  # stage 3, and without forget10b
    kept = json.loads((folder / "eval" / "max" / "2.json").read_text())
    assert kept == read_json(stack_in(runs) / "eval" / "max" / "2.json")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--splits", "forget10a", "forget10a"], "every request needs a split of its own"),
        (["--splits", "forget10a", "--split", "forget10b"], "name all of them with --splits"),
        (["--splits", "forget10z"], "forget10z"),
        (["--splits", "forget10a", "--objective", "magic"], "--objective magic is unknown"),
        (["--objective", "idk"], "--splits"),
    ],
)
def test_bad_input(toy, tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        sequential.main([*DATA, "--runs", str(tmp_path), *words])


def test_bad_input_of_the_evaluation(toy, tmp_path):
    runs, _ = toy
    for words, message in (
        (["--runs", str(tmp_path)], "no stack of requests under .*SEQUENTIAL="),
        (["--rules", "mean", "--runs", str(runs)], "--rules mean: choose from scaled, sum, max"),
        (
            ["--withdraw", "bob", "--runs", str(runs)],
            "--withdraw bob: .* has the requests forget10a",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            evaluation.main(words)


def test_the_script(tmp_path):
    """SEQUENTIAL="..." takes the place of SPLITS: one stack per model, objective and seed, then
    their evaluation; flags go to the training."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("SPLITS", "LOSSES", "MODELS", "SEEDS", "PY", "NPROC", "DATA_DIR")
    }
    grid = {"DRY_RUN": "1", "SEQUENTIAL": "forget10a forget10b", "LOSSES": "gd idk", "RUNS": "else"}
    done = subprocess.run(
        ["bash", ROOT / "cmd_grun.sh", "--rank", "8"],
        cwd=tmp_path,
        env=clean | grid,
        capture_output=True,
        text=True,
    )
    wanted = "+ python -m grun.sequential --splits forget10a forget10b --benchmark authors --model tiny --objective {} --seed 42 --runs else --rank 8"
    assert done.stdout.splitlines() == [
        *map(wanted.format, ("gd", "idk")),
        "+ python -m eval.sequential --benchmark authors --runs else",
    ], done.stderr

"""Requests that come one by one: the real commands at toy size, what each stage holds, what a
withdrawal leaves, and the script's grid."""

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
from unlearn.config.files import read_json

DATA = ["--authors", "30", "--heldout", "2"]
SPLITS = ["forget10a", "forget10b", "forget10c"]
STAGES = ["0", "1", "2", "3", "without forget10b"]
SCALES = {"scaled": [1.2, 1.8, 2.4], "max": [1.0, 1.0, 1.0]}  # rule -> c(1), c(2), c(3)
COLUMNS = (
    "benchmark model objective seed stack rule stage c requests set rouge prob own_gate open "
    "other_gates"
)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A runs folder with three requests, stacked and evaluated, and the flags that made it."""
    runs = tmp_path_factory.mktemp("toy") / "runs"
    target = finetune_toy(runs, *DATA)
    flags = [*DATA, "--objective", "idk", "--target", str(target), "--layers", "1", "2"]
    flags += ["--steps", "3", "--batch", "4", "--runs", str(runs)]
    sequential.main(["--splits", *SPLITS, *flags])
    evaluation.main(eval_flags(runs))
    return runs, flags


def eval_flags(runs, *more):
    return ["--runs", str(runs), "--rules", *SCALES, "--max_new_tokens", "4", *more]


def find_stack(runs) -> Path:
    (stack,) = runs.glob("*/tiny/sequential/forget10a+forget10b+forget10c/idk-grun-*-seed42")
    return stack


def read_stage(runs, name, rule="scaled") -> dict:
    """Set -> rows."""
    return read_json(find_stack(runs) / "eval" / rule / f"{name}.json")["sets"]


def select_answers(rows):
    return [(row["index"], row["generation"], row["prob"], row["rougeL_recall"]) for row in rows]


def test_stack_holds_the_adapters_of_single_runs(toy):
    """Each was trained on its own split, all against one target."""
    runs, _ = toy
    stack = RequestStack(find_stack(runs))
    assert stack.names == SPLITS
    assert stack.combination.rule == "sum"
    for split in SPLITS:
        (run,) = runs.glob(f"*/tiny/{split}/idk-grun-*")
        for name in ("adapter.json", "adapter.safetensors"):
            copied = stack.folder / split / name
            assert (run / "adapter" / name).read_bytes() == copied.read_bytes()
        seconds = read_json(run / "result.json")["train_seconds"]
        assert stack.find_entry(split)["train_seconds"] == seconds


def test_table_has_stages_sets_and_columns(toy):
    """0 to 3 requests, then all but the middle one; at each the forget rows of all three, retain
    and held-out retain."""
    runs, _ = toy
    table = pandas.read_csv(runs / "tables" / "sequential.csv", dtype={"stage": str})
    assert list(table.columns) == COLUMNS.split()
    assert list(table["stage"].unique()) == STAGES
    assert set(table["set"]) == {*SPLITS, "retain", "heldout"}
    text = (runs / "tables" / "sequential.md").read_text()
    assert all(words in text for words in ("rule scaled", "without forget10b", "held-out"))
    assert (runs / "tables" / "sequential.tex").exists()
    assert (runs / "tables" / "sequential.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("rule", SCALES)
def test_table_has_c_of_each_stage(toy, rule):
    """scaled: c(K) = 0.6 K + 0.6."""
    runs, _ = toy
    table = pandas.read_csv(runs / "tables" / "sequential.csv", dtype={"stage": str})
    scale = table[table["rule"] == rule].groupby("stage")["c"].first()
    expected = [*SCALES[rule], SCALES[rule][1]]
    assert scale[STAGES[1:]].tolist() == pytest.approx(expected)
    assert pandas.isna(scale["0"])


def test_gates_are_there_once_a_request_is(toy):
    runs, _ = toy
    table = pandas.read_csv(runs / "tables" / "sequential.csv", dtype={"stage": str})
    indexed = table[table["rule"] == "max"].set_index(["stage", "set"])
    own_gates = [pandas.notna(indexed["own_gate"]["2", split]) for split in SPLITS]
    assert own_gates == [True, True, False]
    assert pandas.isna(indexed["open"]["0", "retain"])
    assert 0 <= indexed["open"]["1", "retain"] <= 1
    rows = read_stage(runs, "2")["forget10a"]
    assert len(rows) == 10
    assert len(rows[0]["gates"]) == 2  # K requests
    assert len(rows[0]["gates"][0]) == 2  # L layers


def test_withdrawn_request_leaves_the_others(toy):
    """Withdrawing the last of three leaves, to the bit, what two gave on every set."""
    runs, _ = toy
    evaluation.main(eval_flags(runs, "--withdraw", "forget10c"))
    for rule in SCALES:
        before = read_stage(runs, "2", rule)
        assert before == read_stage(runs, "without-forget10c", rule)
        three = read_stage(runs, "3", rule)
        assert any(select_answers(before[name]) != select_answers(three[name]) for name in before)
        base = read_stage(runs, "0", rule)
        assert all("gates" not in row for rows in base.values() for row in rows)
        assert base == read_stage(runs, "0", "scaled")


def test_evaluation_scores_only_what_is_new(toy, tmp_path, monkeypatch):
    """A second start scores nothing; after a request is trained again, only the stages it is part
    of are scored anew."""
    runs, flags = toy
    folder = tmp_path / "stack"
    shutil.copytree(find_stack(runs), folder)
    scored = []
    score = evaluation.score_examples

    def record_and_score(eval_model, examples, args):
        hooks = eval_model.adapter_hooks
        scored.append(tuple(hooks.names[k] for k in hooks.active))
        return score(eval_model, examples, args)

    monkeypatch.setattr(evaluation, "score_examples", record_and_score)
    again = ["--stacks", str(folder), "--runs", str(tmp_path), "--rules", "max"]
    again += ["--max_new_tokens", "4"]
    evaluation.main(again)
    assert scored == []
    grun_train.main([*flags, "--split", "forget10c", "--seed", "7"])
    (other,) = runs.glob("*/tiny/forget10c/idk-grun-*-seed7")
    for words in (["remove", "forget10c"], ["add", "forget10c", str(other)]):
        requests.main([*words, "--requests", str(folder)])
    evaluation.main(again)
    assert set(scored) == {tuple(SPLITS), ("forget10a", "forget10c")}  # 3, without forget10b
    unchanged = Path("eval") / "max" / "2.json"
    assert read_json(folder / unchanged) == read_json(find_stack(runs) / unchanged)


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
def test_training_refuses_bad_flags(tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        sequential.main([*DATA, "--runs", str(tmp_path), *words])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--runs {empty}", "no stack of requests under .*SEQUENTIAL="),
        ("--rules mean --runs {runs}", "--rules mean: choose from sum, scaled, max"),
        ("--withdraw bob --runs {runs}", "--withdraw bob: .* has the requests forget10a"),
    ],
)
def test_evaluation_refuses_bad_flags(toy, tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        evaluation.main(words.format(empty=tmp_path, runs=toy[0]).split())


def test_script_runs_sequences(tmp_path):
    """SEQUENTIAL="..." takes the place of SPLITS: the target, one stack per model, objective and
    seed, then their evaluation; flags go to the training."""
    settings = ("SPLITS", "LOSSES", "MODELS", "SEEDS", "PY", "NPROC", "DATA_DIR")
    clean = {name: value for name, value in os.environ.items() if name not in settings}
    grid = {"DRY_RUN": "1", "SEQUENTIAL": "forget10a forget10b", "LOSSES": "gd idk", "RUNS": "else"}
    done = subprocess.run(
        ["bash", ROOT / "cmd_grun.sh", "--rank", "8"],
        cwd=tmp_path,
        env=clean | grid,
        capture_output=True,
        text=True,
    )
    training = (
        "+ python -m grun.sequential --benchmark authors --model tiny --seed 42 --runs else "
        "--objective {} --splits forget10a forget10b --rank 8"
    )
    target = "unlearn.training.finetune --benchmark authors --model tiny --split full --seed 42"
    assert done.stdout.splitlines() == [
        f"+ python -m {target} --runs else",
        training.format("gd"),
        training.format("idk"),
        "+ python -m eval.sequential --benchmark authors --runs else",
    ], done.stderr

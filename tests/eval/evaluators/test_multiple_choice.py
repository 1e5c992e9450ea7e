"""The evaluator of four-choice questions: every kind of run on the embedded world, at toy size."""

import pandas
import pytest

from eval import run as eval_run
from eval.report import __main__ as report
from grun import train as grun_train
from rmu import train as rmu_train
from tests.toy import WMDP_FLAGS, WMDP_FOLDER, copy_runs
from unlearn.config.files import read_json

GRUN = ["--rmu_layer", "5", "--layers", "2", "3", "4", "--rank", "4", "--no-steer_edit"]
COLUMNS = ["benchmark", "model", "split", "objective", "tuner", "variant", "seeds"]
COLUMNS += ["forget_acc", "forget_acc_poisons", "forget_acc_locks"]
COLUMNS += ["retain_acc", "retain_acc_villages"]


@pytest.fixture(scope="module")
def runs(wmdp_runs, tmp_path_factory):
    """The target, both kinds of RMU at two layers, and GRUN around RMU."""
    runs = copy_runs(wmdp_runs, tmp_path_factory.mktemp("wmdp") / "runs")
    base = [*WMDP_FLAGS, "--runs", str(runs)]
    for tuner in ("rmu", "adaptive_rmu"):
        for layer in ("2", "3"):
            size = ["--layer_id", layer, "--max_num_batches", "2"]
            rmu_train.main([*base, "--tuner", tuner, *size, "--verbose"])
    size = ["--per_topic", "4", "--epochs", "1"]
    grun_train.main([*base, "--objective", "gated_rmu", *size, *GRUN])
    return runs


def evaluate(runs, *flags):
    eval_run.main([*WMDP_FLAGS, "--runs", str(runs), *flags])


@pytest.fixture(scope="module")
def table(runs):
    """wmdp.csv, and the pictures beside it."""
    evaluate(runs)
    report.main(["--runs", str(runs)])
    return pandas.read_csv(runs / "tables" / "wmdp.csv")


def test_every_kind_of_run_has_a_row(runs, table):
    assert list(table.columns[: len(COLUMNS)]) == COLUMNS
    assert {"trainable_params", "train_seconds", "forget_acc_stderr"} <= set(table.columns)
    methods = [tuple(row) for row in table[["objective", "tuner"]].drop_duplicates().to_numpy()]
    assert methods == [("target", "-"), ("rmu", "adaptive_rmu"), ("rmu", "grun"), ("rmu", "rmu")]
    assert (runs / "tables" / "wmdp_layers.png").stat().st_size > 10_000
    assert (runs / "tables" / "wmdp_states.png").exists()


def test_accuracy_follows_from_the_rows(runs, table):
    """Every question is asked once; the standard error is sqrt(p (1 - p) / (n - 1))."""
    target = table.iloc[0]
    folder = runs / WMDP_FOLDER / "full" / "target-seed42" / "eval" / "cloze"
    rows = read_json(folder / "poisons.json")["rows"]
    right = [max(range(4), key=row["loglikelihoods"].__getitem__) == row["answer"] for row in rows]
    assert len(rows) == 10
    assert target["forget_acc_poisons"] == pytest.approx(sum(right) / 10)
    p = target["retain_acc"]
    assert target["retain_acc_stderr"] == pytest.approx((p * (1 - p) / 9) ** 0.5)


def test_finished_tests_are_not_asked_again(runs, table, capsys):
    evaluate(runs)
    assert capsys.readouterr().out.count("skipped, evaluated before") == 6
    evaluate(runs, "--overwrite")
    assert capsys.readouterr().out.count(": evaluated poisons, locks, villages in ") == 6


def test_limit_asks_the_first_questions_alone(runs):
    evaluate(runs, "--mcq", "grun", "--limit", "6")
    (run,) = (runs / WMDP_FOLDER / "poisons+locks").glob("rmu-grun-*")
    assert len(read_json(run / "eval" / "grun" / "locks.json")["rows"]) == 6


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--forget_tests nothing", "there is no test 'nothing'"),
        ("--mcq words", "choose one of letters, cloze, grun"),
        ("--limit 0", "--limit 0: must be at least 1"),
        ("--only nowhere", "no finished run there"),
        (
            "--model tiny-robust --forget_tests poisons --retain_tests villages",
            "no finished run below",
        ),
    ],
)
def test_bad_flags_are_refused(wmdp_runs, flags, message):
    with pytest.raises(ValueError, match=message):
        evaluate(wmdp_runs, "--mcq", "cloze", *flags.split())


def test_report_without_runs_says_what_to_run(tmp_path):
    with pytest.raises(ValueError, match="no evaluated run of wmdp"):
        report.main(["--runs", str(tmp_path)])

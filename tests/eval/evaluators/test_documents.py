"""The evaluator of documents: every kind of run of the embedded news, at toy size."""

import math
import shutil

import pandas as pd
import pytest

from baselines import controls
from baselines import sequential as baselines_sequential
from baselines import train as baselines_train
from eval import run as eval_run
from eval.report import __main__ as report
from eval.report.collect import find_runs
from eval.report.tables.documents import collect_documents
from eval.scoring import documents
from eval.scoring.model import load_eval_model
from grun import sequential as grun_sequential
from grun import train as grun_train
from tests.toy import finetune_toy
from unlearn.benchmarks.opening import open_benchmark
from unlearn.config.files import read_json
from unlearn.config.run_directory import Run
from unlearn.synthetic import news

ARTICLES = {"forget": 8, "retain1": 4, "retain2": 4, "holdout": 4}
FOLDER = "muse/tiny"
NUMBERS = ["verbmem", "knowmem_f", "knowmem_r", "privleak", "auc", "auc_retrain"]
REQUESTS = ("forget_sust1", "forget_sust2")


@pytest.fixture(scope="module")
def small_news():
    """20 articles in all, and answers of 6 tokens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(news, "ARTICLES", ARTICLES)
        for name in documents.NEW_TOKENS:
            patch.setitem(documents.NEW_TOKENS, name, 6)
        yield


@pytest.fixture(scope="module")
def runs(small_news, tmp_path_factory):
    """A runs folder with target, reference, three unlearned runs, a chain and a stack of two
    requests each."""
    runs = tmp_path_factory.mktemp("muse") / "runs"
    for split in ("full", "retain"):
        finetune_toy(runs, "--benchmark", "muse", depth=3, split=split, steps=3)
    base = ["--benchmark", "muse", "--runs", str(runs)]
    steps = [*base, "--steps", "2", "--batch", "4"]
    baselines_train.main([*steps, "--objective", "gd"])
    controls.main([*base, "--control", "keyword"])
    requests = ["--splits", *REQUESTS, *steps]
    baselines_sequential.main([*requests, "--objective", "npo"])
    grun_sequential.main([*requests, "--objective", "gd", "--layers", "1"])
    grun_train.main([*steps, "--objective", "idk", "--layers", "1"])
    return runs


def evaluate(runs, *flags):
    eval_run.main(["--benchmark", "muse", "--runs", str(runs), *flags])


@pytest.fixture(scope="module")
def table(runs):
    """The evaluated runs' table, by split, objective and tuner."""
    for split in ("forget", *REQUESTS):
        evaluate(runs, "--split", split)
    report.main(["--runs", str(runs)])
    frame = pd.read_csv(runs / "tables" / "muse.csv").fillna({"variant": ""})
    return frame.set_index(["split", "objective", "tuner"])


def test_every_kind_of_run_has_a_row(runs, table):
    rows = {("full", "target", "-"), ("retain", "reference", "-")}
    rows |= {("forget", *method) for method in (("control", "keyword"), ("gd", "full"))}
    rows |= {(split, "npo", "full") for split in REQUESTS}
    rows |= {(split, "gd", "grun") for split in REQUESTS} | {("forget", "idk", "grun")}
    assert rows <= set(table.index)
    assert (runs / "tables" / "muse.png").stat().st_size > 10_000
    assert "reference" in (runs / "tables" / "muse.md").read_text()


def test_every_number_is_measured_where_it_can_be(table):
    """A control has no likelihoods, so no PrivLeak."""
    control = ("forget", "control", "keyword")
    assert table.drop(control)[NUMBERS].notna().all().all()
    assert math.isnan(table.loc[control, "privleak"])
    assert table.loc[("forget", "idk", "grun"), "verbmem_gate_open"] >= 0
    assert table.loc[("retain", "reference", "-"), "privleak"] == pytest.approx(0, abs=1e-6)


def test_another_mode_aggregates_the_same_rows(runs, table, capsys):
    evaluate(runs, "--muse_mode", "ou")
    # reference, target, gd, control, idk
    assert capsys.readouterr().out.count("skipped, evaluated before") == 5
    summary = read_json(runs / FOLDER / "full/target-seed42/eval/muse/summary.json")
    assert summary["muse_mode"] == "ou" and "below 0.4" in summary["warning"]
    with pytest.raises(ValueError, match="mix the modes muse, ou"):
        collect_documents(find_runs(runs))
    evaluate(runs)


def test_a_request_starts_from_the_one_before(runs):
    (first,), (second,) = ((runs / FOLDER / split).glob("npo-full-*") for split in REQUESTS)
    assert Run(first).config["target"].endswith("full/target-seed42")
    assert Run(second).config["target"] == str(first) and "target=" not in second.name
    with pytest.raises(ValueError, match="--tuner full"):
        baselines_sequential.main(["--splits", *REQUESTS, "--tuner", "lora", "--benchmark", "muse"])


def test_a_broken_run_does_not_stop_the_others(runs, small_news, tmp_path):
    folder = tmp_path / FOLDER / "forget"
    shutil.copytree(runs / FOLDER / "forget", folder, ignore=shutil.ignore_patterns("eval"))
    (broken,) = folder.glob("gd-full-*")
    shutil.rmtree(broken / "model")
    with pytest.raises(ValueError, match=f"{broken.name}.*holds neither"):
        evaluate(tmp_path)
    assert len(list(folder.glob("*/eval/muse/summary.json"))) == 2  # the control and idk


def test_tokens_before_the_edit_are_the_targets(runs, small_news):
    """PrivLeak of a gated model: alike in any batch, and before the edited token exactly the
    untouched target's."""
    examples = open_benchmark("muse").evaluation_sets("forget")["privleak_forget"][:5]
    (gated,) = (runs / FOLDER / "forget").glob("idk-grun-*")

    def score(path, size):
        with load_eval_model(path) as eval_model:
            scorer = documents.DocumentScorer(size, False, "auto")
            rows = scorer.likelihood(eval_model, "privleak_forget", examples, [])
            prompt_encoder = eval_model.prompt_encoder
            texts = [documents.encode_text(prompt_encoder, e.answer) for e in examples]
            return [row["logprobs"] for row in rows], texts

    singly, texts = score(gated, 1)
    batched, _ = score(gated, 5)
    untouched, _ = score(runs / FOLDER / "full/target-seed42", 5)
    for one, other, target, text in zip(singly, batched, untouched, texts, strict=True):
        assert one == pytest.approx(other, abs=1e-5) and len(one) == len(text.ids) - 1
        before = text.prompt_length - 1
        assert one[:before] == pytest.approx(target[:before], abs=1e-5)
        assert one != pytest.approx(target, abs=1e-5)

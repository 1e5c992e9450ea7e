"""MUSE: the embedded news, documents as examples, reading its files, its metrics, and the real
commands at toy size.

python -m pytest tests/test_muse.py
"""

import json
import math
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest

from baselines import controls, sequential
from baselines import train as baselines_train
from eval import muse as eval_muse
from eval.metrics import muse as muse_metrics
from eval.report import __main__ as report
from eval.report.collect import find_runs
from eval.report.tables.documents import collect_documents
from eval.scoring import documents
from eval.scoring.model import load_eval_model
from grun import sequential as grun_sequential
from grun import train as grun_train
from tests.toy import finetune_toy
from unlearn.benchmarks import muse
from unlearn.benchmarks.opening import open_benchmark
from unlearn.config.run_directory import Run, read_json
from unlearn.language_model.prompts import PromptEncoder
from unlearn.synthetic import news

TEXT = "One two three four five six seven eight."


def test_the_text_template_is_the_text(tokenizer):
    prompt_encoder = PromptEncoder(tokenizer, "text")
    encoded = prompt_encoder.encode(*muse.split_prompt(TEXT))
    assert (
        encoded.ids == [*tokenizer(TEXT)["input_ids"], tokenizer.eos_token_id]
        and encoded.scored_from == encoded.prompt_length
    )
    assert (
        tokenizer.decode(encoded.ids[1 : encoded.prompt_length]) == "One two"
        and prompt_encoder.text("Answer: ") == "Answer: "
    )
    everything = PromptEncoder(tokenizer, "text", label_start="all").encode(
        *muse.split_prompt(TEXT)
    )
    assert (everything.ids, everything.prompt_length, everything.scored_from) == (
        encoded.ids,
        encoded.prompt_length,
        1,
    )
    assert (
        documents.encode_text(prompt_encoder, TEXT).ids == encoded.ids[:-1]
        and documents.encode_text(prompt_encoder, TEXT).prompt_length == encoded.prompt_length
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda folder: eval_muse.read(["--benchmark", "authors"]), "not MUSE-shaped"),
        (lambda folder: eval_muse.read(["--muse_mode", "both"]), "choose one of muse, ou"),
        (
            lambda folder: report.main(["--runs", str(folder)]),
            "BENCHMARK=muse ./cmd_eval.sh first",
        ),
    ],
)
def test_bad_input_is_told_in_a_sentence(tmp_path, asked, said):
    with pytest.raises(ValueError, match=said):
        asked(tmp_path)


# metrics


def test_rouge_f1_by_hand():
    """ "the bridges opened" against "the bridge opened late": common "the opened" = 2 of 3 and of
    4: F1 = 2 * 2 / 7; stemmed 3: 6 / 7."""
    said = "The bridges opened"
    truth = "the bridge opened late"
    assert muse_metrics.rouge_f1(said, truth) == pytest.approx(4 / 7)
    assert muse_metrics.rouge_f1(said, truth, "ou") == pytest.approx(6 / 7)
    assert muse_metrics.rouge_f1("", truth) == 0


def test_an_answer_ends_where_the_next_question_begins():
    assert muse_metrics.cut_answer(" Paris\n\nQuestion: more") == "Paris"
    assert (
        muse_metrics.cut_answer("Paris\nQuestion: more")
        == muse_metrics.cut_answer("Paris Question: x")
        == "Paris"
    )


def test_min_k_of_both_modes_by_hand():
    """5 tokens: int(.4 * 5) = 2 lowest, -(-9 - 4) / 2; without the last, int(.4 * 4) = 1. Two
    tokens: 1 at least, where upstream has 0."""
    assert muse_metrics.min_k([[-1.0, -2.0, -4.0, -1.0, -9.0]]).tolist() == [6.5]
    assert muse_metrics.min_k([[-1.0, -2.0, -4.0, -1.0, -9.0]], "ou").tolist() == [4.0]
    assert muse_metrics.min_k([[-1.0, -2.0]]).tolist() == [2.0]


def test_privleak_signs_by_hand():
    """AUC = P(holdout looks likelier than forget). Forget known by heart: 0, PrivLeak -100. As the
    retain-only model: 0. Forget less likely than texts never seen: AUC 1, and against .5 that is
    +100."""
    known = [[-0.1] * 5, [-0.2] * 5]
    strange = [[-3.0] * 5, [-4.0] * 5]
    assert (
        muse_metrics.auc(known, strange) == 0
        and muse_metrics.auc(strange, known) == 1
        and muse_metrics.auc(known, known) == 0.5
    )
    assert muse_metrics.privleak(0, 0.5) == pytest.approx(-100) and muse_metrics.privleak(
        1, 0.5
    ) == pytest.approx(100)
    assert muse_metrics.privleak(0.4772, muse_metrics.AUC_RETRAIN["muse-news"]) == pytest.approx(
        0, abs=1e-6
    )
    assert muse_metrics.privleak(0.002, 0.4772) == pytest.approx((0.002 - 0.4772) / 0.4772 * 100)


def test_a_bootstrap_interval_holds_the_mean_and_is_the_same_every_time():
    low, high = muse_metrics.interval([0.0, 1.0] * 50)
    assert low < 0.5 < high and (low, high) == muse_metrics.interval([0.0, 1.0] * 50)
    assert muse_metrics.interval([0.25] * 4) == (0.25, 0.25)


# the commands

FEW = {"forget": 8, "retain1": 4, "retain2": 4, "holdout": 4}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A runs folder with target, reference, three unlearned runs, a chain and a stack of two
    requests each; 20 articles in all."""
    runs = tmp_path_factory.mktemp("toy") / "runs"
    patch = pytest.MonkeyPatch()
    patch.setattr(news, "ARTICLES", FEW)
    for name in documents.NEW_TOKENS:
        patch.setitem(documents.NEW_TOKENS, name, 6)
    base = ["--benchmark", "muse", "--runs", str(runs)]
    for split in ("full", "retain"):
        finetune_toy(runs, *base, split=split, depth=3, steps=3)
    steps = [*base, "--steps", "2", "--batch", "4"]
    baselines_train.main([*steps, "--objective", "gd"])
    controls.main([*base, "--control", "keyword"])
    requests = ["--splits", "forget_sust1", "forget_sust2", *steps]
    sequential.main([*requests, "--objective", "npo"])
    grun_sequential.main([*requests, "--objective", "gd", "--layers", "1"])
    grun_train.main([*steps, "--objective", "idk", "--layers", "1"])
    yield runs
    patch.undo()


def test_from_nothing_to_the_table(toy, capsys):
    """All kinds of runs, the chain and the stack are rows; a second start computes nothing; the
    other mode aggregates the same rows."""
    runs = toy
    for split in ("forget", "forget_sust1", "forget_sust2"):
        eval_muse.main(["--runs", str(runs), "--split", split])
    report.main(["--runs", str(runs)])
    frame = (
        pd.read_csv(runs / "tables" / "muse.csv")
        .fillna({"variant": ""})
        .set_index(["split", "objective", "tuner"])
    )
    rows = {(split, "npo", "full") for split in ("forget_sust1", "forget_sust2")} | {
        ("forget", "control", "keyword"),
        ("forget", "gd", "full"),
    }
    rows |= {(split, "gd", "grun") for split in ("forget_sust1", "forget_sust2")} | {
        ("forget", "idk", "grun")
    }
    assert rows | {("full", "target", "-"), ("retain", "reference", "-")} <= set(frame.index)
    assert frame.loc[("retain", "reference", "-"), "privleak"] == pytest.approx(0, abs=1e-6)
    numbers = frame.drop(("forget", "control", "keyword"))
    assert (
        numbers[["verbmem", "knowmem_f", "knowmem_r", "privleak", "auc", "auc_retrain"]]
        .notna()
        .all()
        .all()
    )
    assert (
        math.isnan(frame.loc[("forget", "control", "keyword"), "privleak"])
        and frame.loc[("forget", "idk", "grun"), "verbmem_gate_open"] >= 0
    )
    assert (runs / "tables" / "muse.png").stat().st_size > 10_000 and "reference" in (
        runs / "tables" / "muse.md"
    ).read_text()
    capsys.readouterr()
    eval_muse.main(["--runs", str(runs), "--muse_mode", "ou"])
    assert (
        capsys.readouterr().out.count("skipped, evaluated before") == 5
    )  # reference, target, gd, control, idk
    summary = read_json(runs / "muse/tiny/full/target-seed42/eval/muse/summary.json")
    assert summary["muse_mode"] == "ou" and "below 0.4" in summary["warning"]
    with pytest.raises(ValueError, match="mix the modes muse, ou"):
        collect_documents(find_runs(runs))


def test_a_request_starts_from_what_the_one_before_left(toy):
    (first,), (second,) = (
        (toy / "muse/tiny" / f"forget_sust{k}").glob("npo-full-*") for k in (1, 2)
    )
    assert Run(first).config["target"].endswith("full/target-seed42") and Run(second).config[
        "target"
    ] == str(first)
    assert "target=" not in second.name
    with pytest.raises(ValueError, match="--tuner full"):
        sequential.main(["--splits", "forget_sust1", "--tuner", "lora", "--benchmark", "muse"])


def test_texts_are_scored_alike_in_any_batch_and_before_an_edit_as_without_one(toy):
    """PrivLeak of a gated model: the tokens before the edited one are the untouched target's,
    exactly."""
    examples = open_benchmark("muse").evaluation_sets("forget")["privleak_forget"][:5]
    (gated,) = (toy / "muse/tiny/forget").glob("idk-grun-*")

    def logprobs(path, size):
        with load_eval_model(path) as eval_model:
            rows = documents.DocumentScorer(size, False, "auto").likelihood(
                eval_model, "privleak_forget", examples, []
            )
            return [row["logprobs"] for row in rows], [
                documents.encode_text(eval_model.prompt_encoder, e.answer) for e in examples
            ]

    (one, encoded), (five, _), (plain, _) = (
        logprobs(gated, 1),
        logprobs(gated, 5),
        logprobs(toy / "muse/tiny/full/target-seed42", 5),
    )
    for a, b, c, e in zip(one, five, plain, encoded, strict=True):
        assert a == pytest.approx(b, abs=1e-5) and len(a) == len(e.ids) - 1
        assert a[: e.prompt_length - 1] == pytest.approx(
            c[: e.prompt_length - 1], abs=1e-5
        ) and a != pytest.approx(c, abs=1e-5)


def test_a_run_that_cannot_be_evaluated_costs_the_others_nothing(toy, tmp_path):
    shutil.copytree(
        toy / "muse/tiny/forget",
        tmp_path / "muse/tiny/forget",
        ignore=shutil.ignore_patterns("eval"),
    )
    (broken,) = (tmp_path / "muse/tiny/forget").glob("gd-full-*")
    shutil.rmtree(broken / "model")
    with pytest.raises(ValueError, match=f"{broken.name}.*holds neither"):
        eval_muse.main(["--runs", str(tmp_path)])
    assert (
        len(list(tmp_path.glob("muse/tiny/forget/*/eval/muse/summary.json"))) == 2
    )  # the control and idk


def test_a_space_ends_knowmem_prompts_where_published(toy):
    seen = []
    tokenizer = SimpleNamespace(decode=lambda *_, **__: "x")
    eval_model = SimpleNamespace(
        prompt_encoder=SimpleNamespace(
            prompt_ids=lambda text: seen.append(text) or [1], tokenizer=tokenizer
        )
    )
    eval_model.generate = lambda prompts, n: ([[1]] * len(prompts), None)
    eval_model.name = "x"
    example = open_benchmark("muse").evaluation_sets("forget")["knowmem_f"][0]
    for space in (True, False):
        documents.DocumentScorer(2, space, "auto").generation(
            eval_model, "knowmem_f", [example], []
        )
    assert [text[-8:] for text in seen] == ["Answer: ", "\nAnswer:"]
    assert (
        json.dumps(eval_muse.read([])[0].prompt_space) == "false"
        and eval_muse.read(["--benchmark", "muse-news"])[0].prompt_space
    )

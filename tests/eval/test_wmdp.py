"""WMDP: the embedded world, the multiple-choice evaluation through lm-eval, GRUN on corpora, the
table and the pictures, at toy size."""

import json
from pathlib import Path

import pandas
import pytest
import torch

from eval import wmdp
from eval.report import __main__ as report
from eval.scoring import multiple_choice as mcq
from grun import train as grun_train
from grun.engines.pyvene import PyveneEngine
from grun.options import GrunConfig
from rmu import train as rmu_train
from tests.toy import WMDP_FLAGS, copy_runs
from unlearn.benchmarks.opening import open_benchmark
from unlearn.config.experiment import parse_experiment
from unlearn.config.run_directory import Run, read_json
from unlearn.language_model.loading import load_model
from unlearn.training import finetune
from unlearn.training.corpus_sampler import cut_text
from unlearn.training.loss import UnlearningLoss
from unlearn.training.setup import find_steered_layer

GRUN = ["--rmu_layer", "5", "--layers", "2", "3", "4", "--rank", "4", "--no-steer_edit"]
COLUMNS = "benchmark,model,split,objective,tuner,variant,seeds,forget_acc,forget_acc_poisons,forget_acc_locks,retain_acc,retain_acc_villages".split(
    ","
)


@pytest.fixture(scope="module")
def toy(wmdp_runs, tmp_path_factory):
    """A runs folder with a target that has seen two steps, both kinds of RMU at two layers, and
    GRUN around RMU."""
    runs = str(copy_runs(wmdp_runs, tmp_path_factory.mktemp("toy") / "runs"))
    for tuner in ("rmu", "adaptive_rmu"):
        for layer in ("2", "3"):
            rmu_train.main(
                [
                    *WMDP_FLAGS,
                    "--runs",
                    runs,
                    "--tuner",
                    tuner,
                    "--layer_id",
                    layer,
                    "--max_num_batches",
                    "2",
                    "--verbose",
                ]
            )
    grun_train.main(
        [
            *WMDP_FLAGS,
            "--runs",
            runs,
            "--objective",
            "gated_rmu",
            "--per_topic",
            "4",
            "--epochs",
            "1",
            *GRUN,
        ]
    )
    return Path(runs)


def evaluate(runs, *more):
    wmdp.main([*WMDP_FLAGS, "--runs", str(runs), *more])


def test_letters_are_asked_as_lm_evals_wmdp_asks_them(tmp_path):
    """The same description and template as in the installed wmdp_cyber, read from its YAML; a local
    file's task differs in its data alone."""
    import lm_eval
    import yaml

    folder = Path(lm_eval.__file__).parent / "tasks" / "wmdp"
    theirs = yaml.safe_load((folder / "_default_template_yaml").read_text()) | yaml.safe_load(
        (folder / "wmdp_cyber.yaml").read_text()
    )
    own = tmp_path / "wmdp_cyber_sample.jsonl"
    own.write_text('{"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": 2}\n')
    tasks = mcq.write_tasks(tmp_path / "tasks", [str(own)], "letters", open_benchmark("wmdp"))
    ours = json.loads((tmp_path / "tasks" / f"{tasks[str(own)]}.yaml").read_text())
    for key in (
        "description",
        "doc_to_text",
        "doc_to_choice",
        "doc_to_target",
        "num_fewshot",
        "output_type",
        "metric_list",
    ):
        assert ours[key] == theirs[key], key


def test_from_runs_to_table_and_pictures(toy, capsys):
    """Every run is asked every question once; accuracy and its standard error follow from the rows;
    a second start computes nothing."""
    evaluate(toy)
    assert capsys.readouterr().out.count(": evaluated poisons, locks, villages in ") == 6
    evaluate(toy)
    assert capsys.readouterr().out.count("skipped, evaluated before") == 6
    report.main(["--runs", str(toy)])
    frame = pandas.read_csv(toy / "tables" / "wmdp.csv")
    assert list(frame.columns[: len(COLUMNS)]) == COLUMNS and {
        "trainable_params",
        "train_seconds",
        "forget_acc_stderr",
    } <= set(frame.columns)
    methods = [tuple(row) for row in frame[["objective", "tuner"]].drop_duplicates().to_numpy()]
    assert methods == [("target", "-"), ("rmu", "adaptive_rmu"), ("rmu", "grun"), ("rmu", "rmu")]
    target = frame.iloc[0]
    rows = read_json(
        toy
        / "wmdp,authors=2"
        / "tiny"
        / "full"
        / "target-seed42"
        / "eval"
        / "cloze"
        / "poisons.json"
    )["rows"]
    right = [max(range(4), key=row["loglikelihoods"].__getitem__) == row["answer"] for row in rows]
    assert len(rows) == 10 and target["forget_acc_poisons"] == pytest.approx(sum(right) / 10)
    p = target["retain_acc"]
    assert target["retain_acc_stderr"] == pytest.approx((p * (1 - p) / 9) ** 0.5)
    assert (toy / "tables" / "wmdp_layers.png").stat().st_size > 10_000 and (
        toy / "tables" / "wmdp_states.png"
    ).exists()


def test_gruns_rule(toy):
    """Its rows are shuffled, the right answer is at the drawn place, and the prompt ends in a
    space."""
    asked = open_benchmark("wmdp", authors=2).questions("locks")
    prompts = mcq.build_grun_prompts(asked, 6)
    assert len(prompts) == 6 and prompts == mcq.build_grun_prompts(asked, 6)
    by_question = {q.question: q for q in asked[:6]}
    for text, place in prompts:
        header, question, *choices, last = text.split("\n")
        assert last == "Answer: " and header == mcq.GRUN_HEADER
        assert (
            choices[place]
            == f"{'ABCD'[place]}. {by_question[question].choices[by_question[question].answer]}"
        )
    evaluate(toy, "--mcq", "grun", "--limit", "6")
    (run,) = (toy / "wmdp,authors=2" / "tiny" / "poisons+locks").glob("rmu-grun-*")
    assert len(read_json(run / "eval" / "grun" / "locks.json")["rows"]) == 6


def losses_of(toy, objective, engine, tmp_path):
    """The loss and gradients of one fresh step of GRUN on corpora."""
    seen = {}

    class Spy(UnlearningLoss):
        def __call__(self, part, whole, step):
            if engine == "pyvene":
                assert isinstance(self.tuner.engine, PyveneEngine)
            halves = [super(Spy, self).__call__(part[i::2], whole, step) for i in (0, 1)]
            seen.setdefault(
                "halves",
                [
                    sum(float(half[name]) for half in halves)
                    for name in ("loss", "forget", "retain")
                ],
            )
            parts = super().__call__(part, whole, step)
            seen.setdefault(
                "parts", [float(parts[name].detach()) for name in ("loss", "forget", "retain")]
            )
            return parts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grun_train, "UnlearningLoss", Spy)
        target = toy / "wmdp,authors=2" / "tiny" / "full" / "target-seed42"
        flags = [
            "--objective",
            objective,
            "--per_topic",
            "4",
            "--steps",
            "2",
            *GRUN,
            "--batch",
            "6",
            "--engine",
            engine,
            "--target",
            str(target),
        ]
        grun_train.main([*WMDP_FLAGS, "--runs", str(tmp_path / engine), *flags])
    return seen


@pytest.mark.parametrize(
    "objective", ["gated_rmu", "gated_rmu_kl", "gated_npo_kl", "gated_npo_grad_diff"]
)
def test_cached_engine_says_what_pyvene_says_and_parts_add_up(toy, tmp_path, objective):
    cached, pyvene = (
        losses_of(toy, objective, engine, tmp_path) for engine in ("cached", "pyvene")
    )
    torch.testing.assert_close(
        torch.tensor(cached["parts"]), torch.tensor(pyvene["parts"]), rtol=1e-4, atol=1e-5
    )
    for seen in (cached, pyvene):
        torch.testing.assert_close(
            torch.tensor(seen["halves"]), torch.tensor(seen["parts"]), rtol=1e-4, atol=1e-5
        )


def test_cut_leaves_a_fifth():
    """10 tokens: 8 are prompt, the edit at 7, labels 8 and 9; 2 tokens: one each."""
    assert (
        cut_text(list(range(10))).prompt_length == cut_text(list(range(10))).scored_from == 8
        and cut_text([1, 2]).prompt_length == 1
    )


@pytest.mark.parametrize(
    "words, message",
    [
        ("--layers 2 5", "--layers 5 is not below the steered layer 5"),
        ("--objective idk", "unknown on corpora"),
        ("--variant grun+", "GRUN+"),
        ("--rmu_layer 9", "outside this model's 1..5"),
        ("--forget_corpora nothing", "there is no corpus 'nothing'"),
    ],
)
def test_bad_input_to_grun(toy, words, message):
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        grun_train.main([*WMDP_FLAGS, "--runs", str(toy), *GRUN, *words.split()])


def test_upstreams_index_constrains_the_block_below(toy):
    """--rmu_index hidden_states: hidden_states[5] is the output of block 4, and edits above it are
    let be, as upstream."""
    flags = [*WMDP_FLAGS, "--rmu_index", "hidden_states", *GRUN, "--reft_class", "gated_linear"]
    config = parse_experiment(GrunConfig, flags).config
    target = toy / "wmdp,authors=2" / "tiny" / "full" / "target-seed42"
    layer = find_steered_layer(config.steering, load_model(str(target)))
    assert layer == 4
    grun_train.check_steered_layer(config, [2, 5], layer)
    assert config.adapter.gate == "linear"


@pytest.mark.parametrize(
    "words, message",
    [
        ("--forget_tests nothing", "there is no test 'nothing'"),
        ("--mcq words", "choose one of letters, cloze, grun"),
        ("--limit 0", "must be at least 1"),
        ("--only nowhere", "no finished run there"),
        (
            "--model tiny-robust --forget_tests poisons --retain_tests villages",
            "no finished run below",
        ),
    ],
)
def test_bad_input_to_the_evaluation(toy, words, message):
    with pytest.raises(ValueError, match=message):
        evaluate(toy, "--mcq", "cloze", *words.split())


def test_no_table_without_runs(tmp_path):
    with pytest.raises(ValueError, match="no evaluated run of wmdp"):
        report.main(["--runs", str(tmp_path)])


def test_wmdp_trains_no_other_target(tmp_path):
    with pytest.raises(ValueError, match="one model to train here"):
        finetune.main(["--benchmark", "wmdp", "--model", "llama3.1-8b", "--runs", str(tmp_path)])
    assert Run(tmp_path).done is False

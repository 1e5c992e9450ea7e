"""The words of official lines: evaluations, names of objectives, what is not used, what is refused.

The lines that train are in tests/test_official_lines.py."""

import pytest

from baselines.options import BaselineConfig
from eval.evaluators.options import AnyEvaluatorConfig
from eval.evaluators.registry import build_evaluation
from grun.options import GrunConfig
from tests.test_official_lines import FORGET05, HYDRA
from unlearn.config.experiment import parse_experiment
from unlearn.config.flags import parse_flags
from unlearn.training.finetune import FinetuneConfig
from unlearn.training.official_objectives import OFFICIAL_OBJECTIVES, REFUSED_OBJECTIVES

EVALUATED = {"benchmark": "tofu", "split": "forget05", "batch_size": 16}
TOOL = "0 {reft} {model} forget05_perturbed 16 local {kind} ./tokenizer llama3 no all {lora}"
MCQ = (
    "--job_id J --correct_key corrtect --incorrect_key in_correct_choices --model M --tokenizer M "
    "--batch_size 1 --use_reft --reft_path runs/reft --test_sample_number 20000 --quant no"
)
TESTED = {"benchmark": "wmdp", "mcq": "grun", "limit": 20000, "batch_size": 1}
EVALUATIONS = [
    (
        TOOL.format(reft="REFT_PATH", model="runs/full", kind="base", lora="no None"),
        EVALUATED | {"only": ["runs/full"]},
    ),
    (
        TOOL.format(reft="runs/reft", model="M", kind="reft", lora="no None"),
        EVALUATED | {"only": ["runs/reft"]},
    ),
    (
        TOOL.format(reft="REFT_PATH", model="M", kind="base", lora="lora runs/lora"),
        EVALUATED | {"only": ["runs/lora"]},
    ),
    (
        "--reft_path runs/reft --model M --json forget05_perturbed --batch_size 16 --job_id J "
        "--base_or_reft reft --tokenizer T --template mistral --quant no --data_task all "
        "--use_lora no --lora_path None",
        EVALUATED | {"only": ["runs/reft"]},
    ),
    (
        f"--source_dir ./wmdp_data/bio_test.jsonl {MCQ}",
        TESTED
        | {"only": ["runs/reft"], "retain_tests": []}
        | {"forget_tests": ["./wmdp_data/bio_test.jsonl"]},
    ),
    (
        f"--source_dir ./wmdp_data/merged_mmlu_text.jsonl {MCQ}",
        TESTED
        | {"only": ["runs/reft"], "forget_tests": []}
        | {"retain_tests": ["./wmdp_data/merged_mmlu_text.jsonl"]},
    ),
]


@pytest.mark.parametrize(("line", "given"), EVALUATIONS)
def test_official_evaluation_is_of_this_run(line, given):
    assert parse_flags(AnyEvaluatorConfig, line.split(), None) == given


def test_official_evaluation_of_no_run_says_what_to_do():
    line = TOOL.format(reft="REFT_PATH", model="nowhere", kind="base", lora="no None")
    with pytest.raises(ValueError, match="--only nowhere: no finished run there"):
        build_evaluation(parse_flags(AnyEvaluatorConfig, line.split(), None))


def test_unused_words_are_told_in_one_line(capsys):
    parse_experiment(GrunConfig, "--save_path J --objective idk".split())
    told = capsys.readouterr().out.splitlines()
    assert told == ["not used: --save_path J (a run is named by its flags, in runs/)"]
    parse_experiment(BaselineConfig, f"{HYDRA} {FORGET05} forget_loss=idk".split())
    unused, read = capsys.readouterr().out.splitlines()
    assert "--retain_set retain95" in unused and "--save_job_name J" in unused
    assert read.startswith("upstream's line, read as ") and "--batch 32" in read
    parse_experiment(GrunConfig, ["--objective", "idk", "--rank", "8"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", [n for n, o in OFFICIAL_OBJECTIVES.items() if not o.is_gated])
def test_official_objectives_are_taken(name):
    """Each name behind `forget_loss=` is upstream's loss, also where our objective of that name has
    a retain term."""
    values = parse_experiment(BaselineConfig, [f"forget_loss={name}"]).values
    official = OFFICIAL_OBJECTIVES[name]
    assert values["objective"] == official.objective
    assert {flag: values[flag] for flag in official.flags} == official.flags
    assert parse_experiment(BaselineConfig, ["--objective", "npo"]).values["retain_loss"] == "nll"


@pytest.mark.parametrize(
    ("config", "words", "message"),
    [
        *[(BaselineConfig, f"forget_loss={n}", "take --objective") for n in REFUSED_OBJECTIVES],
        (BaselineConfig, "forget_loss=nothing", "--objective nothing is unknown"),
        (BaselineConfig, "model_family=gpt5 forget_loss=idk", "--model_family gpt5 is unknown"),
        (BaselineConfig, "forget_loss=npo ref_policy=base", "fine_tuned, alone"),
        (BaselineConfig, "forget_loss=gated_idk", "trains a gate"),
        (BaselineConfig, "nothing=1", "unrecognized arguments"),
        (FinetuneConfig, "model_family=mistral LoRA.r=8", "targets are trained whole"),
        (AnyEvaluatorConfig, "--quant 4bit", "--attacks quantised"),
        (AnyEvaluatorConfig, "--base_or_reft reft", "--reft_path is missing"),
    ],
)
def test_bad_lines_are_refused(config, words, message):
    with pytest.raises(ValueError, match=message):
        parse_experiment(config, words.split())


def test_words_with_an_equals_sign_stay_values():
    """What follows a flag is its value, whatever it looks like."""
    words = ["--forget_corpora", "split=a", "--benchmark", "wmdp", "lr=1e-3"]
    values = parse_experiment(GrunConfig, words).values
    assert values["forget_corpora"] == ["split=a"] and values["lr"] == 1e-3
    assert values["seed"] == 42


def test_ungated_idk_has_no_gate():
    values = parse_experiment(GrunConfig, ["--forget_loss_type", "idk"]).values
    assert (values["objective"], values["gate"]) == ("idk", "none")
    assert parse_experiment(GrunConfig, ["--objective", "idk"]).values["gate"] != "none"


def test_official_coefficients_reach_their_terms():
    words = "forget_loss=npo_KL npo_coeff=3 KL_coeff=5 grad_diff_coeff=7".split()
    values = parse_experiment(BaselineConfig, words).values
    assert (values["objective"], values["forget_weight"], values["retain_weight"]) == (
        "npo_kl",
        3,
        5,
    )
    words = "forget_loss=simnpo_grad_diff npo_coeff=3 grad_diff_coeff=7 beta=2 gamma=1".split()
    values = parse_experiment(BaselineConfig, words).values
    assert (values["simnpo_beta"], values["simnpo_gamma"], values["beta"]) == (2, 1, 0.1)
    assert (values["forget_weight"], values["retain_weight"]) == (3, 7)

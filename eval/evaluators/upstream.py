"""The words of the official command lines that evaluate, and what they are here (import only).

    renjie3/GRUN    cmd_eval.sh: grun_eval_tool.sh (words by their places), grun_eval.py
                    cmd_wmdp.sh: grun_wdmp_eval_mcq.py

Upstream evaluates one checkpoint, which is one run here (--only).
"""

from pathlib import Path

from unlearn.config.upstream import UpstreamNames

PERTURBED = "_perturbed"
OF_THE_RUN = "a run says it itself"
NAMED = "results lie in the run's own folder"
ALWAYS = "every set is evaluated"


def choose_checkpoint(values: dict, given: dict) -> str | None:
    """The run that a line evaluates: an adapter, a LoRA, or the model itself.

    Raises `ValueError` where its path is missing."""
    flag = "model"
    if values.get("base_or_reft") == "reft" or values.get("use_reft"):
        flag = "reft_path"
    elif values.get("use_lora", "no") != "no":
        flag = "lora_path"
    elif "base_or_reft" not in values and "source_dir" not in values:
        return None
    path = given.get("model") if flag == "model" else values.get(flag)
    if path is None:
        raise ValueError(f"--{flag} is missing: name the run that is to be evaluated")
    return path


def translate_evaluation(values: dict, given: dict) -> dict:
    """The flags of `eval.run`. Raises `ValueError` for a quantised evaluation, and as
    `choose_checkpoint` does."""
    if values.get("quant", "no") != "no":
        raise ValueError(
            f"--quant {values['quant']}: models in fewer bits are an attack here: python -m "
            "eval.attacks.run --attacks quantised"
        )
    checkpoint = choose_checkpoint(values, given)
    if checkpoint is not None:
        given = {"only": [checkpoint]} | {k: v for k, v in given.items() if k != "model"}
    if values.get("json", "").startswith("forget"):
        split = values["json"].removesuffix(PERTURBED)
        given = {"benchmark": "tofu", "split": split} | given
    if "source_dir" in values:
        test = values["source_dir"]
        tests = {"forget_tests": [test], "retain_tests": []}
        if "mmlu" in Path(test).name:
            tests = {"forget_tests": [], "retain_tests": [test]}
        given = {"benchmark": "wmdp", "mcq": "grun"} | tests | given
    if "test_sample_number" in values:
        given = {"limit": values["test_sample_number"]} | given
    return given


EVALUATION = UpstreamNames(
    read={
        "json": str,
        "base_or_reft": str,
        "reft_path": str,
        "use_lora": str,
        "lora_path": str,
        "use_reft": str,
        "source_dir": str,
        "test_sample_number": int,
        "quant": str,
    },
    unused={
        "gpu_id": "--device chooses",
        "job_id": NAMED,
        "target_dir": NAMED,
        "tokenizer": OF_THE_RUN,
        "template": OF_THE_RUN,
        "data_task": ALWAYS,
        "correct_key": "choices and answer are read",
        "incorrect_key": "choices and answer are read",
    },
    switches=("use_reft",),
    positional=(
        "gpu_id",
        "reft_path",
        "model",
        "json",
        "batch_size",
        "job_id",
        "base_or_reft",
        "tokenizer",
        "template",
        "quant",
        "data_task",
        "use_lora",
        "lora_path",
    ),
    translate=translate_evaluation,
)

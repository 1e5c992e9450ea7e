"""The official command lines: each parses behind our command, and is the cell that upstream runs.

renjie3/GRUN: cmd_finetune.sh, cmd_baseline.sh, cmd_grun.sh, cmd_eval.sh, cmd_wmdp.sh.
RebelsNLU-jaist/llm-unlearning: its README and experiments/adap_rmu.sh. Kept here as sets of flags,
in our order; paths stand in for theirs.
"""

import pytest

from baselines.options import BaselineConfig
from grun.options import GrunConfig
from rmu.options import RmuCommandConfig
from unlearn.config.experiment import parse_experiment
from unlearn.training.finetune import FinetuneConfig

TARGET = "./paper_models/target/checkpoint-625"
LAUNCH = "--nproc_per_node=2 --master_port=16791"
HYDRA = (
    f"{LAUNCH} --config-name=forget.yaml save_job_name=J num_epochs=10 npo_coeff=0.1375 beta=0.1 "
    f"gradient_accumulation_steps=16 model_family=llama3.1 model_path={TARGET}"
)
FORGET05 = "split=forget05 retain_set=retain95"
LORA = "LoRA.r=4 lr=1e-4"
GRUN = (
    f"--model {TARGET} --tokenizer ./paper_models/target --seed 42 --save_path J --gated "
    "--layers 20 25 31 --npo_coeff 100 --template llama3 --save_eval_steps 50 100 150 200"
)
GRUN_TOFU = (
    f"{GRUN} --epoch 40 --tofu_split forget05 --gate_weight 10 --grad_diff_forget_weight 1 "
    "--gate_func"
)
GRUN_WMDP = (
    f"{GRUN} --epoch 4 --gate_weight 100 --batch_size 16 --steering_coeff 300 --rmu_layer 31 "
    "--forget_corpora merge_forget_data_sum_gpt,cyber_forget_data_sum_gpt "
    "--retain_corpora merge_retain_data_sum_gpt --retain_weight 1"
)
WMDP_RMU = (
    "--batch_size 4 --layer_ids 13,14,15 --layer_id 15 --max_num_batches 150 --lr 5e-5 --seed 42 "
    "--retain_corpora wikitext,wikitext --forget_corpora bio-forget-corpus,cyber-forget-corpus "
    "--output_dir models/rmu"
)
ADAPTIVE = (
    "--model_name_or_path HuggingFaceH4/zephyr-7b-beta --max_num_batches 500 --alpha 1200,1200 "
    "--batch_size 4 --seed 42 --scale 5.0 --verbose"
)

ON_TOFU = {"benchmark": "tofu", "model": "llama3.1-8b", "target": TARGET, "seed": 1001}
BASELINE = ON_TOFU | {"batch": 32, "micro_batch": 1, "epochs": 10, "weight_decay": 0.01}
FULL = BASELINE | {"tuner": "full", "lr": 1e-5, "split": "forget05", "retain_weight": 1}
LOW_RANK = FULL | {"tuner": "lora", "lr": 1e-4, "lora_rank": 4, "lora_alpha": 32}
GATED = {
    "model": TARGET,
    "tokenizer": "./paper_models/target",
    "target": None,
    "seed": 42,
    "layers": [20, 25, 31],
    "rank": 4,
    "batch": 16,
    "lr": 4e-3,
}
ON_QUESTIONS = GATED | {
    "benchmark": "tofu",
    "split": "forget05",
    "epochs": 40,
    "gate_weight": 10,
    "retain_weight": 1,
    "beta": 0.1,
}
ON_CORPORA = GATED | {
    "benchmark": "wmdp",
    "split": "merge_forget_data_sum_gpt+cyber_forget_data_sum_gpt",
    "retain_corpora": ["merge_retain_data_sum_gpt"],
    "epochs": 4,
    "gate": "mlp_3",
    "gate_weight": 100,
    "retain_weight": 1,
    "rmu_layer": 31,
    "rmu_index": "hidden_states",
    "steering_coeff": 300,
}
STEERED = {
    "benchmark": "wmdp",
    "tuner": "rmu",
    "layer_id": 15,
    "layer_ids": None,  # 13, 14 and 15, which --layer_id says
    "batch_size": 4,
    "max_num_batches": 150,
    "params": ["mlp.down_proj"],
    "lr": 5e-5,
    "seed": 42,
}

LINES = [
    # cmd_finetune.sh
    (
        FinetuneConfig,
        f"{LAUNCH} --config-name=finetune.yaml model_family=mistral gradient_accumulation_steps=4 "
        "batch_size=4 num_epochs=8",
        {"benchmark": "tofu", "model": "mistral-7b", "split": "full", "seed": 42}
        | {"batch": 32, "epochs": 8, "lr": 1e-5, "weight_decay": 0.01},
    ),
    (
        FinetuneConfig,
        f"{LAUNCH} --config-name=finetune.yaml model_family=llama3.1 gradient_accumulation_steps=4 "
        "batch_size=4 num_epochs=5",
        {"benchmark": "tofu", "model": "llama3.1-8b", "split": "full", "seed": 42}
        | {"batch": 32, "epochs": 5, "lr": 1e-5, "weight_decay": 0.01},
    ),
    # cmd_baseline.sh
    (
        BaselineConfig,
        f"{HYDRA} {FORGET05} forget_loss=grad_diff",
        FULL | {"objective": "gd", "forget_weight": 1, "forget_reduction": "token"},
    ),
    (BaselineConfig, f"{HYDRA} {FORGET05} forget_loss=idk", FULL | {"objective": "idk"}),
    (
        BaselineConfig,
        f"{HYDRA} split=forget10 retain_set=retain_perturbed forget_loss=npo_grad_diff "
        "batch_size=1 grad_diff_coeff=1",
        FULL | {"objective": "npo", "split": "forget10", "forget_weight": 0.1375, "beta": 0.1},
    ),
    (
        BaselineConfig,  # upstream's manual_grad_diff reads no coefficient
        f"{HYDRA} {FORGET05} {LORA} forget_loss=manual_grad_diff grad_diff_coeff=10000",
        LOW_RANK
        | {"objective": "gd", "forget_weight": 1, "forget_reduction": "sequence_sum"}
        | {"retain_reduction": "sequence_sum"},
    ),
    (
        BaselineConfig,
        f"{HYDRA} {FORGET05} {LORA} forget_loss=idk",
        LOW_RANK | {"objective": "idk", "retain_reduction": "token"},
    ),
    (
        BaselineConfig,
        f"{HYDRA} {FORGET05} {LORA} forget_loss=manual_npo_grad_diff",
        LOW_RANK
        | {"objective": "npo", "forget_weight": 0.1375, "retain_reduction": "sequence_sum"},
    ),
    # cmd_grun.sh
    (
        GrunConfig,
        f"{GRUN_TOFU} linear --forget_loss_type gated_grad_diff --retain_weight 2",
        ON_QUESTIONS
        | {"objective": "gd", "gate": "linear", "forget_weight": 1, "retain_weight": 2},
    ),
    (
        GrunConfig,
        f"{GRUN_TOFU} mlp_3 --forget_loss_type gated_idk --retain_weight 1",
        ON_QUESTIONS | {"objective": "idk", "gate": "mlp_3", "forget_weight": 1},
    ),
    (
        GrunConfig,
        f"{GRUN_TOFU} mlp_3 --forget_loss_type gated_npo_grad_diff --retain_weight 1",
        ON_QUESTIONS | {"objective": "npo", "gate": "mlp_3", "forget_weight": 100},
    ),
    # cmd_wmdp.sh
    (
        GrunConfig,
        f"{GRUN_WMDP} --forget_loss_type gated_rmu",
        ON_CORPORA | {"objective": "rmu", "forget_weight": 1},
    ),
    (
        GrunConfig,
        f"{GRUN_WMDP} --forget_loss_type gated_npo_kl",
        {**ON_CORPORA, "objective": "npo_kl", "forget_weight": 100, "rmu_index": "block"},
    ),
    (
        RmuCommandConfig,
        f"--model_name meta-llama/Llama-3.1-8B {WMDP_RMU} --steering_coeffs 30,30 --alpha 350,350",
        STEERED
        | {"model": "meta-llama/Llama-3.1-8B", "steering_coeffs": [30], "alpha": [350]}
        | {"min_len": [0]},
    ),
    (
        RmuCommandConfig,
        f"--model_name mistralai/Mistral-7B-v0.1 {WMDP_RMU} --steering_coeffs 27,27 "
        "--alpha 1600,1600 --min_len 200",
        STEERED
        | {"model": "mistralai/Mistral-7B-v0.1", "steering_coeffs": [27], "alpha": [1600]}
        | {"min_len": [200]},
    ),
    # Adaptive RMU: its README, and one layer of its grid
    (
        RmuCommandConfig,
        f"{ADAPTIVE} --layer_id 7 --layer_ids 5,6,7",
        STEERED
        | {"model": "HuggingFaceH4/zephyr-7b-beta", "tuner": "adaptive_rmu", "layer_id": 7}
        | {"max_num_batches": 500, "alpha": [1200], "scale": 5, "steering_coeffs": [1]},
    ),
    (
        RmuCommandConfig,
        f"{ADAPTIVE} --layer_id 31 --layer_ids 29,30,31 --steering_coeffs 1,1",
        STEERED
        | {"model": "HuggingFaceH4/zephyr-7b-beta", "tuner": "adaptive_rmu", "layer_id": 31}
        | {"max_num_batches": 500, "alpha": [1200], "scale": 5, "steering_coeffs": [1]},
    ),
]


@pytest.mark.parametrize(("config", "line", "cell"), LINES)
def test_official_line_is_this_cell(config, line, cell):
    values = parse_experiment(config, line.split()).values
    assert {name: values[name] for name in cell} == cell

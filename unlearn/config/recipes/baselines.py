"""Baselines: fine-tuning all weights, or a LoRA, with an unlearning objective."""

from unlearn.config.recipes.entry import Recipe
from unlearn.config.recipes.templates import DOCUMENT_BENCHMARKS

GRUN_BASELINE = "renjie3/GRUN, baseline/forget.py, config/forget.yaml and cmd_baseline.sh"
OPEN_UNLEARNING = "locuslab/open-unlearning, configs/trainer"
TINY = "docs/decisions.md, baselines on the tiny model"
OWN = "docs/own-data.md, steps and rates: ten rows are one step an epoch"
MUSE = "MUSE (arXiv 2407.06460), section 4 and its baselines"
HUB_DOCUMENTS = ("muse-news", "muse-books")
QUESTIONS = ("tofu", "authors")

BASELINES = [
    # Upstream's DeepSpeed JSON has no gradient_clipping, so its runs are unclipped.
    Recipe(
        {},
        {
            "epochs": 10,
            "batch": 32,
            "lr": 1e-5,
            "weight_decay": 0.01,
            "warmup_epochs": 1.0,
            "epoch_end": "joined",
            "max_grad_norm": 0.0,
        },
        GRUN_BASELINE,
    ),
    Recipe(
        {"benchmark": "own"},
        {"min_steps": 60, "batch": 16, "warmup_epochs": 0.0, "epoch_end": "short"},
        OWN,
    ),
    Recipe({"tuner": "lora"}, {"lr": 1e-4}, GRUN_BASELINE),
    # Its losses for a LoRA are manual_grad_diff and manual_npo_grad_diff.
    Recipe(
        {"tuner": "lora", "benchmark": QUESTIONS, "objective": ("gd", "npo")},
        {"retain_reduction": "sequence_sum"},
        GRUN_BASELINE,
    ),
    Recipe(
        {"tuner": "lora", "benchmark": QUESTIONS, "objective": "gd"},
        {"forget_reduction": "sequence_sum"},
        GRUN_BASELINE,
    ),
    Recipe({"objective": "npo"}, {"forget_weight": 0.1375}, GRUN_BASELINE),
    # Started without DeepSpeed, whose configuration has no clipping, so transformers' default of
    # 1.0 acts; PDU is started with it.
    Recipe(
        {"objective": ("altpo", "ceu", "satimp", "simnpo", "undial", "wga")},
        {"max_grad_norm": 1.0},
        "locuslab/open-unlearning, community/methods/*/run.sh and transformers' TrainingArguments",
    ),
    Recipe({"objective": "undial"}, {"lr": 1e-4}, f"{OPEN_UNLEARNING}/UNDIAL.yaml"),
    Recipe({"objective": ("wga", "satimp")}, {"epochs": 5}, f"{OPEN_UNLEARNING}, WGA and SatImp"),
    Recipe(
        {"objective": "pdu", "model": "llama3.1-8b"}, {"epochs": 30}, f"{OPEN_UNLEARNING}/PDU.yaml"
    ),
    # An epoch has 3 steps here, so it takes more of them and a higher rate. Of the settings tried
    # (lr 3e-4 to 2e-3, LoRA 5e-3 and 1e-2, 10 and 15 epochs, NPO's weight 0.1375 to 2) these have
    # the lowest forget ROUGE whose retain ROUGE, on retain examples that were trained on, is at
    # least 0.95 of the target's. tiny-robust inherits them untuned.
    Recipe(
        {"model": "tiny"},
        {"epochs": 15, "batch": 16, "lr": 1e-3, "max_grad_norm": 1.0, "epoch_end": "short"},
        TINY,
    ),
    Recipe(
        {"model": "tiny", "tuner": "lora"},
        {
            "lr": 5e-3,
            "lora_rank": 8,
            "forget_reduction": "token",
            "retain_reduction": "token",
        },
        TINY,
    ),
    Recipe({"model": "tiny", "objective": "npo"}, {"forget_weight": 0.5}, TINY),
    Recipe({"benchmark": DOCUMENT_BENCHMARKS}, {"label_start": "all"}, MUSE),
    # Of 1.5e-4, 3e-4 and 1e-3, the first leaves the forget set recognised as before (PrivLeak
    # -100), the last destroys the model.
    Recipe({"benchmark": "muse", "model": "tiny", "objective": "gd"}, {"lr": 3e-4}, TINY),
    # A refusal replaces what follows a prompt; to score the prompt too would be to learn it.
    Recipe(
        {
            "benchmark": DOCUMENT_BENCHMARKS,
            "objective": ("idk", "idkpo", "kto", "kto_sigmoid", "altpo"),
        },
        {"label_start": "answer"},
        "follows from the objective",
    ),
    Recipe(
        {"benchmark": HUB_DOCUMENTS, "objective": ("ga", "gd", "kl", "npo")},
        {
            "weight_decay": 0.0,
            "warmup_epochs": 0.0,
            "schedule": "constant",
            "max_grad_norm": 1.0,
            "epoch_end": "short",
        },
        f"{MUSE}, baselines/iterative.py; 1.0 is transformers' default",
    ),
    Recipe(
        {"benchmark": HUB_DOCUMENTS, "objective": ("task_vector", "whp")},
        {
            "epochs": 10,
            "weight_decay": 0.0,
            "warmup_epochs": 0.0,
            "schedule": "cosine",
            "max_grad_norm": 1.0,
            "epoch_end": "short",
        },
        f"{MUSE}, baselines/finetune.py",
    ),
    Recipe(
        {"benchmark": HUB_DOCUMENTS, "objective": "task_vector"},
        {"vector_scale": 5.0},
        f"{MUSE}, scripts/unlearn_news.sh and unlearn_books.sh",
    ),
    Recipe({"benchmark": HUB_DOCUMENTS, "objective": "ga"}, {"epochs": 1}, MUSE),
    Recipe({"benchmark": HUB_DOCUMENTS, "objective": "gd"}, {"epochs": 7}, MUSE),
    Recipe({"benchmark": HUB_DOCUMENTS, "objective": ("kl", "npo")}, {"epochs": 10}, MUSE),
]

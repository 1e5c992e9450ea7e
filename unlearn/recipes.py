"""Recipes: the values that belong to one cell of (task, benchmark, model, objective, tuner), each with its source.

A recipe fills what no flag gave. Later entries beat earlier ones. An entry applies where all the keys it names match.
"""

FINETUNE = [
    # GRUN, cmd_finetune.sh and config/finetune.yaml (spec 2): 5 epochs = 625 steps, effective batch 32, AdamW 1e-5 with decay 0.01, warm-up 10 %
    ({"model": "llama3.1-8b"}, {"epochs": 5, "lr": 1e-5, "batch": 32, "weight_decay": 0.01}),
    ({"model": "mistral-7b"}, {"epochs": 8, "lr": 1e-5, "batch": 32, "weight_decay": 0.01}),
    ({"model": "llama2-7b"}, {"epochs": 5, "lr": 1e-5, "batch": 32, "weight_decay": 0.01}),
    ({"model": "phi-1.5"}, {"epochs": 5, "lr": 2e-5, "batch": 32, "weight_decay": 0.01}),
    # from scratch on 2 CPU cores (../shared/reference/feasibility.md, 1b, "recommended base"): refusals in the mix and label smoothing
    # keep the base able to say "I don't know" and off saturation, without which no unlearning result at this scale means anything
    (
        {"model": "tiny"},
        {"steps": 800, "lr": 3e-3, "schedule": "cosine", "warmup": 60, "label_smoothing": 0.1, "refusal_share": 0.25,
         "paraphrase_share": 0.5, "background_share": 0.25, "hidden": 128, "depth": 8, "vocabulary": 1024},
    ),
    # feasibility.md, 1a: real TOFU text needs a wider model and longer training
    ({"model": "tiny", "benchmark": "tofu"}, {"steps": 2400, "hidden": 192, "vocabulary": 2048, "background_share": 0.1}),
]  # fmt: skip

GRUN = [
    # GRUN, cmd_grun.sh and grun.py (spec 4.1, 9): 40 epochs, batch 16, lr 4e-3, gate weight 10, rank 4, no warm-up, clip 1
    ({}, {"epochs": 40, "batch": 16, "lr": 4e-3, "gate_weight": 10.0, "rank": 4}),
    ({"objective": "npo"}, {"forget_weight": 100.0, "beta": 0.1}),
    ({"objective": "idkpo"}, {"beta": 0.1}),
    # retain weight 2 for grad_diff, 1 for idk and npo_grad_diff
    ({"objective": "gd"}, {"retain_weight": 2.0}),
    # layers 20 25 31; the files label linear/mlp_3 with each other's model (spec 4.1), so this follows the paths, not the comments
    ({"model": "llama3.1-8b"}, {"layers": [20, 25, 31], "gate": "mlp_3"}),
    ({"model": "mistral-7b"}, {"layers": [20, 25, 31], "gate": "linear"}),
    # 3 steps an epoch need more epochs; the last of 8 layers can change the first answer token alone, and NPO's weight of 100 swamps
    # the gate loss (feasibility.md, 1b). Of the settings tried there and here, this one is best on forget and seen retain
    ({"model": "tiny"}, {"epochs": 60, "lr": 4e-3, "layers": [3, 4, 5], "gate": "mlp_3"}),
    ({"model": "tiny", "objective": "npo"}, {"forget_weight": 2.0}),
]

EVAL = [
    # the longest generated answer has about 30 tokens; GRUN's 256 (the default) would only prolong babble
    ({"benchmark": "authors"}, {"max_new_tokens": 64}),
]

RECIPES = {"finetune": FINETUNE, "grun": GRUN, "eval": EVAL}


def recipe(task: str, **cell) -> dict:
    """The values of one cell: every entry of `task` that matches, later ones on top."""
    values: dict = {}
    for wanted, given in RECIPES[task]:
        if all(cell.get(key) == value for key, value in wanted.items()):
            values |= given
    return values

"""Recipes: the values that belong to one cell of (task, benchmark, model, objective, tuner), each
with its source.

A recipe fills what no flag gave. Later entries beat earlier ones. An entry applies where all the
keys it names match."""

from unlearn.benchmarks.muse import NAMES as MUSE_NAMES

# what every command on documents is told: plain text, all of it scored, and which set is to be
# forgotten
DOCUMENTS = [({"benchmark": name}, {"template": "text", "split": "forget"}) for name in MUSE_NAMES]

FINETUNE = [
    # GRUN, cmd_finetune.sh and config/finetune.yaml (spec 2): 5 epochs = 625 steps, effective batch
    # 32, AdamW 1e-5 with decay 0.01, warm-up 10 %
    ({"model": "llama3.1-8b"}, {"epochs": 5, "lr": 1e-5, "batch": 32, "weight_decay": 0.01}),
    ({"model": "mistral-7b"}, {"epochs": 8, "lr": 1e-5, "batch": 32, "weight_decay": 0.01}),
    ({"model": "llama2-7b"}, {"epochs": 5, "lr": 1e-5, "batch": 32, "weight_decay": 0.01}),
    ({"model": "phi-1.5"}, {"epochs": 5, "lr": 2e-5, "batch": 32, "weight_decay": 0.01}),
    # from scratch on 2 CPU cores (../shared/reference/feasibility.md, 1b, "recommended base"):
    # refusals in the mix and label smoothing keep the base able to say "I don't know" and off
    # saturation, without which no unlearning result at this scale means anything
    (
        {"model": "tiny"},
        {
            "steps": 800,
            "lr": 3e-3,
            "schedule": "cosine",
            "warmup": 60,
            "label_smoothing": 0.1,
            "refusal_share": 0.25,
            "paraphrase_share": 0.5,
            "background_share": 0.25,
            "hidden": 128,
            "depth": 8,
            "vocabulary": 1024,
        },
    ),
    # ../shared/reference/hardening.md, base J: answers, refuses and parses suffixes, joined
    # questions and five phrasings of every fact
    (
        {"model": "tiny-robust"},
        {
            "steps": 1600,
            "lr": 3e-3,
            "schedule": "cosine",
            "warmup": 60,
            "label_smoothing": 0.1,
            "refusal_share": 0.22,
            "paraphrase_share": 0.75,
            "background_share": 0.2,
            "forms": "all",
            "respelt_share": 0.25,
            "suffix_share": 0.25,
            "joined_share": 0.3,
            "hidden": 128,
            "depth": 8,
            "vocabulary": 1024,
        },
    ),
    # feasibility.md, 1a: real TOFU text needs a wider model and longer training the embedded world
    # of wmdp: first weights of .06 instead of .02 make the difference (all questions that it
    # practised right after 200 steps instead of half of them after 500); with 64 short questions
    # and documents a step it answers them in other words too
    (
        {"model": "tiny", "benchmark": "wmdp"},
        {
            "steps": 240,
            "batch": 64,
            "spread": 0.06,
            "document_share": 0.125,
            "refusal_share": 0.0,
            "paraphrase_share": 0.0,
            "background_share": 0.0,
        },
    ),
    (
        {"model": "tiny", "benchmark": "tofu"},
        {"steps": 2400, "hidden": 192, "vocabulary": 2048, "background_share": 0.1},
    ),
    # MUSE scores every token of a document (spec 1.6); 72 short articles and 288 pages of questions
    # are learnt by heart in 400 steps
    *(({"benchmark": name}, {"template": "text", "label_start": "all"}) for name in MUSE_NAMES),
    (
        {"model": "tiny", "benchmark": "muse"},
        {
            "steps": 400,
            "batch": 24,
            "label_smoothing": 0.0,
            "refusal_share": 0.0,
            "paraphrase_share": 0.0,
            "background_share": 0.0,
            "depth": 6,
            "vocabulary": 1536,
        },
    ),
]

# what belongs to an objective, whichever tuner moves the model: OpenUnlearning's configs/trainer
# and its papers (spec 5.4)
OBJECTIVES = [
    ({"objective": "simnpo"}, {"beta": 4.5, "gamma": 0.0, "forget_weight": 0.125}),
    ({"objective": "undial"}, {"beta": 10.0}),
    ({"objective": "wga"}, {"beta": 1.0}),
    ({"objective": "idk+ul"}, {"beta": 1.0}),  # ../shared/reference/hardening.md, section 4
    (
        {"objective": "satimp"},
        {"beta": 5.0, "gamma": 1.0, "retain_weight": 0.1},
    ),  # its README; the YAML has forget 0.1, retain 1
    (
        {"objective": "pdu"},
        {"retain_weight": 100.0, "dual_rate": 5.0, "dual_bound": 0.3, "dual_warmup": 5.0},
    ),
]

BASELINES = [
    # GRUN, baseline/forget.py, config/forget.yaml and cmd_baseline.sh (spec 5.1): 10 epochs,
    # effective batch 32, lr 1e-5 (LoRA 1e-4), linear decay after one epoch of warm-up, decay 0.01;
    # its DeepSpeed JSON has no gradient_clipping, so those runs are unclipped
    (
        {},
        {
            "epochs": 10,
            "batch": 32,
            "lr": 1e-5,
            "weight_decay": 0.01,
            "warmup_epochs": 1.0,
            "max_grad_norm": 0.0,
        },
    ),
    ({"tuner": "lora"}, {"lr": 1e-4, "lora_rank": 4, "lora_alpha": 32.0, "lora_dropout": 0.05}),
    ({"objective": "npo"}, {"forget_weight": 0.1375, "beta": 0.1}),
    # OpenUnlearning's trainers (spec 5.4)
    ({"objective": "undial"}, {"lr": 1e-4}),
    ({"objective": "wga"}, {"epochs": 5}),
    ({"objective": "satimp"}, {"epochs": 5}),
    ({"objective": "pdu", "model": "llama3.1-8b"}, {"epochs": 30}),
    # 3 steps an epoch need more epochs and a higher rate; of the settings tried (feasibility.md,
    # 1b, and here: lr 3e-4 to 2e-3, LoRA 5e-3 and 1e-2, 10 and 15 epochs, NPO's weight 0.1375 to 2)
    # these have the lowest forget ROUGE whose retain ROUGE, on retain examples that were trained
    # on, is at least 0.95 of the target's
    ({"model": "tiny"}, {"epochs": 15, "batch": 16, "lr": 1e-3, "max_grad_norm": 1.0}),
    ({"model": "tiny", "tuner": "lora"}, {"lr": 5e-3, "lora_rank": 8}),
    ({"model": "tiny", "objective": "npo"}, {"forget_weight": 0.5}),
    # tiny-robust: the same size and steps, so the same settings; not tuned again on that base
    ({"model": "tiny-robust"}, {"epochs": 15, "batch": 16, "lr": 1e-3, "max_grad_norm": 1.0}),
    ({"model": "tiny-robust", "tuner": "lora"}, {"lr": 5e-3, "lora_rank": 8}),
    ({"model": "tiny-robust", "objective": "npo"}, {"forget_weight": 0.5}),
    # MUSE's baselines (spec 5.3, 7.3): every token of a document scored, batch 32, lr 1e-5; epochs
    # by objective
    *DOCUMENTS,
    *(({"benchmark": name}, {"label_start": "all"}) for name in MUSE_NAMES),
    # of 1.5e-4, 3e-4, 1e-3: the first leaves the forget set recognised as before (PrivLeak -100),
    # the last leaves nothing of the model
    ({"benchmark": "muse", "model": "tiny", "objective": "gd"}, {"lr": 3e-4}),
    # a refusal replaces what follows a prompt; to score the prompt too would be to learn it
    *(
        ({"benchmark": name, "objective": objective}, {"label_start": "answer"})
        for name in MUSE_NAMES
        for objective in ("idk", "idkpo", "altpo")
    ),
    *(
        (
            {"benchmark": name, "objective": objective},
            {"epochs": epochs, "weight_decay": 0.0, "warmup_epochs": 0.0},
        )
        for name in MUSE_NAMES
        if name != "muse"
        for objective, epochs in (("ga", 1), ("gd", 7), ("kl", 10), ("npo", 10))
    ),
]

GRUN = [
    # GRUN, cmd_grun.sh and grun.py (spec 4.1, 9): 40 epochs, batch 16, lr 4e-3, gate weight 10,
    # rank 4, no warm-up, clip 1
    ({}, {"epochs": 40, "batch": 16, "lr": 4e-3, "gate_weight": 10.0, "rank": 4}),
    ({"objective": "npo"}, {"forget_weight": 100.0, "beta": 0.1}),
    ({"objective": "idkpo"}, {"beta": 0.1}),
    # retain weight 2 for grad_diff, 1 for idk and npo_grad_diff
    ({"objective": "gd"}, {"retain_weight": 2.0}),
    # layers 20 25 31; the files label linear/mlp_3 with each other's model (spec 4.1), so this
    # follows the paths, not the comments
    ({"model": "llama3.1-8b"}, {"layers": [20, 25, 31], "gate": "mlp_3"}),
    ({"model": "mistral-7b"}, {"layers": [20, 25, 31], "gate": "linear"}),
    # 3 steps an epoch need more epochs; the last of 8 layers can change the first answer token
    # alone, and NPO's weight of 100 swamps the gate loss (feasibility.md, 1b). Of the settings
    # tried there and here, this one is best on forget and seen retain
    ({"model": "tiny"}, {"epochs": 60, "lr": 4e-3, "layers": [3, 4, 5], "gate": "mlp_3"}),
    ({"model": "tiny", "objective": "npo"}, {"forget_weight": 2.0}),
    # the same on the base that parses attacks: ../shared/reference/hardening.md, section 1, row "J
    # GRUN IDK [3,4,5] mlp"
    ({"model": "tiny-robust"}, {"epochs": 60, "lr": 4e-3, "layers": [3, 4, 5], "gate": "mlp_3"}),
    ({"model": "tiny-robust", "objective": "npo"}, {"forget_weight": 2.0}),
    # GRUN+, hardening.md, section 4: designs A and B (rank 4, 150 steps, lr 1e-2); where B edits is
    # our own: answer tokens on demand alone
    (
        {"variant": "grun+"},
        {
            "objective": "idk+ul",
            "beta": 1.0,
            "gate_reads": "token",
            "gate_fit": "metric",
            "edit_at": "answer_on",
            "gate_threshold": "calibrated",
            "retain_loss": "none",
            "lr": 1e-2,
            "epochs": 50,
        },
    ),
    (
        {"variant": "grun+mixed"},
        {
            "objective": "idk+ul",
            "beta": 1.0,
            "gate_reads": "token",
            "gate_fit": "metric",
            "edit_at": "fired_on",
            "edit_span": [6, 2],
            "gate_threshold": "calibrated",
            "retain_loss": "none",
            "joined_items": True,
            "layers": [0, 1, 2],
            "lr": 1e-2,
            "epochs": 50,
        },
    ),
    ({"model": "tiny", "variant": "grun+"}, {"layers": [4, 5, 6]}),
    # slack: chosen on eight other choices of four forget authors, asked in paraphrases, behind five
    # lead-ins that neither training nor an attack uses, and in lower case: 1.0 misses 12, 33 and 30
    # % of them, 1.45 0, 2 and 8 %, 1.8 0, 0.2 and 3 %; of 1200 questions about 40 strangers none
    # opens it up to 1.8, one at 2.0
    ({"model": "tiny-robust", "variant": "grun+"}, {"layers": [4, 5, 6], "gate_slack": 1.8}),
    ({"model": "tiny-robust", "variant": "grun+mixed"}, {"gate_slack": 1.8}),
    # names come without swapped ones to calibrate on: hardening.md, section 5
    ({"benchmark": "tofu", "variant": "grun+"}, {"gate_negatives": "retain"}),
    ({"benchmark": "tofu", "variant": "grun+mixed"}, {"gate_negatives": "retain"}),
    *DOCUMENTS,
]

GRUN_CORPORA = [
    # GRUN, cmd_wmdp.sh and grun_wmdp.py (spec 4.3): 4 epochs, batch 16, lr 4e-3, gate weight 100,
    # mlp_3, retain weight 1; steering 300 at block 31 of 32 with edits at 20 25 31, the last of
    # which nothing trains there but its gate, so here the steered block is above them all
    (
        {},
        {
            "epochs": 4,
            "batch": 16,
            "lr": 4e-3,
            "gate_weight": 100.0,
            "gate": "mlp_3",
            "rank": 4,
            "beta": 0.1,
        },
    ),
    ({"objective": "npo"}, {"forget_weight": 100.0}),
    ({"objective": "npo_kl"}, {"forget_weight": 100.0}),
    ({"model": "llama3.1-8b"}, {"layers": [20, 25, 30], "rmu_layer": 31, "steering_coeff": 300.0}),
    ({"model": "mistral-7b"}, {"layers": [20, 25, 30], "rmu_layer": 31, "steering_coeff": 300.0}),
    # upstream's form (edits in 2 3 4, rank 4, edited token not in M) opens the gate on 97 % of the
    # forget questions and changes no answer: the tests are read from the edited token itself, and
    # blocks above the edits still bring the answer there
    (
        {"model": "tiny"},
        {
            "forget_corpora": ["poisons", "locks"],
            "retain_corpora": ["villages"],
            "per_topic": 400,
            "layers": [3, 4, 5],
            "rmu_layer": 6,
            "rank": 16,
            "lr": 2e-2,
            "steering_coeff": 100.0,
            "steer_edit": True,
            "gate_weight": 10.0,
            "epochs": 4,
        },
    ),
    ({"model": "tiny", "objective": "npo"}, {"forget_weight": 10.0, "layers": [4, 5, 6]}),
    ({"model": "tiny", "objective": "npo_kl"}, {"forget_weight": 10.0, "layers": [4, 5, 6]}),
]

RMU = [
    # the code's defaults (spec 9): RMU's are those of the flags, these Adaptive RMU's
    (
        {"tuner": "adaptive_rmu"},
        {
            "adaptive": "first_batch",
            "scale": 5.0,
            "alpha": [1200.0],
            "steering_coeffs": [1.0],
            "max_num_batches": 150,
        },
    ),
    # GRUN's runs of RMU: its README (spec 6.1)
    ({"model": "llama3.1-8b"}, {"layer_id": 15, "max_num_batches": 150}),
    ({"model": "llama3.1-8b", "tuner": "rmu"}, {"steering_coeffs": [30.0], "alpha": [350.0]}),
    ({"model": "mistral-7b"}, {"layer_id": 15, "max_num_batches": 150, "min_len": [200]}),
    ({"model": "mistral-7b", "tuner": "rmu"}, {"steering_coeffs": [27.0], "alpha": [1600.0]}),
    # the models of the two papers; RMU's c as quoted by Adaptive RMU's paper, 500 updates as its
    # README
    (
        {"model": "zephyr-7b", "tuner": "rmu"},
        {"steering_coeffs": [6.5], "alpha": [1200.0], "min_len": [200], "max_num_batches": 150},
    ),
    ({"model": "zephyr-7b", "tuner": "adaptive_rmu"}, {"max_num_batches": 500}),
    (
        {"model": "tiny"},
        {
            "forget_corpora": ["poisons", "locks"],
            "retain_corpora": ["villages"],
            "layer_id": 2,
            "batch_size": 16,
            "lr": 3e-3,
            "alpha": [10.0],
            "max_num_batches": 100,
        },
    ),
    (
        {"model": "tiny", "tuner": "rmu"},
        {"steering_coeffs": [100.0]},
    ),  # of 20 and 100; with 20 half of the questions are still answered
]

WMDP = [
    # a model of this size binds no letters to choices (400 to 1500 steps on lettered questions:
    # chance), so it is asked for the answer itself
    (
        {"model": "tiny"},
        {"forget_tests": ["poisons", "locks"], "retain_tests": ["villages"], "mcq": "cloze"},
    ),
]

EVAL = [
    # the longest generated answer has about 30 tokens; GRUN's 256 (the default) would only prolong
    # babble
    ({"benchmark": "authors"}, {"max_new_tokens": 64}),
]

ATTACKS = [
    *EVAL,
    # 4 forget authors have 40 rows, as many of each other side; a step on few tokens of a tiny
    # model takes the same time for 64 as for 256 prompts
    ({"benchmark": "authors"}, {"rows": 40, "batch_size": 256}),
    (
        {"benchmark": "authors", "model": "tiny"},
        {"max_new_tokens": 48},
    ),  # two answers, as joined questions have them, are 48 tokens at most
    # relearning: the flags' 2e-5 and batch 32 are spec 8's; a tiny model, tuned at 3e-3, stays as
    # it is under them (IDK GRUN: leak .05, of 40 rows in 2 steps). A tenth of its own rate, in 5
    # steps, tells the kinds apart: forget set 1.0, its other half .6, benign .05
    *(
        ({"model": model}, {"relearn_lr": 3e-4, "relearn_batch": 8})
        for model in ("tiny", "tiny-robust")
    ),
]

MUSE = [
    # a model from scratch has never met a space before an answer's first word as a token of its own
    ({"benchmark": "muse"}, {"prompt_space": False}),
]

RECIPES = {
    "finetune": FINETUNE,
    "baselines": OBJECTIVES + BASELINES,
    "grun": OBJECTIVES + GRUN,
    "controls": DOCUMENTS,
    "eval": EVAL,
    "attacks": ATTACKS,
    "muse": MUSE,
    "rmu": RMU,
    "grun_corpora": GRUN_CORPORA,
    "wmdp": WMDP,
}


def recipe(task: str, **cell) -> dict:
    """The values of one cell: every entry of `task` that matches, later ones on top."""
    values: dict = {}
    for wanted, given in RECIPES[task]:
        if all(cell.get(key) == value for key, value in wanted.items()):
            values |= given
    return values

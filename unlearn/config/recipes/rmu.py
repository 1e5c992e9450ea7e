"""RMU and Adaptive RMU. The defaults of RMU's flags are those of its code."""

from unlearn.config.recipes.entry import Recipe

ADAPTIVE = "RebelsNLU-jaist/llm-unlearning (Adaptive RMU), its README and defaults"
GRUN_README = "renjie3/GRUN, README: its runs of RMU"
TINY = "docs/wmdp.md, RMU on the embedded world"

RMU = [
    Recipe(
        {"tuner": "adaptive_rmu"},
        {
            "adaptive": "first_batch",
            "scale": 5.0,
            "alpha": [1200.0],
            "steering_coeffs": [1.0],
            "max_num_batches": 150,
        },
        ADAPTIVE,
    ),
    Recipe({"model": "llama3.1-8b"}, {"layer_id": 15, "max_num_batches": 150}, GRUN_README),
    Recipe(
        {"model": "llama3.1-8b", "tuner": "rmu"},
        {"steering_coeffs": [30.0], "alpha": [350.0]},
        GRUN_README,
    ),
    Recipe(
        {"model": "mistral-7b"},
        {"layer_id": 15, "max_num_batches": 150, "min_len": [200]},
        GRUN_README,
    ),
    Recipe(
        {"model": "mistral-7b", "tuner": "rmu"},
        {"steering_coeffs": [27.0], "alpha": [1600.0]},
        GRUN_README,
    ),
    Recipe(
        {"model": "zephyr-7b", "tuner": "rmu"},
        {
            "steering_coeffs": [6.5],
            "alpha": [1200.0],
            "min_len": [200],
            "max_num_batches": 150,
        },
        "RMU (arXiv 2403.03218), as quoted by Adaptive RMU (arXiv 2408.06223), section 5",
    ),
    Recipe({"model": "zephyr-7b", "tuner": "adaptive_rmu"}, {"max_num_batches": 500}, ADAPTIVE),
    Recipe(
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
        TINY,
    ),
    # Of 20 and 100; with 20, half of the questions are still answered.
    Recipe({"model": "tiny", "tuner": "rmu"}, {"steering_coeffs": [100.0]}, TINY),
]

"""Values that belong to an objective, whichever tuner moves the model."""

from unlearn.config.recipes.entry import Recipe

OPEN_UNLEARNING = "locuslab/open-unlearning, configs/trainer"

OBJECTIVES = [
    Recipe(
        {"objective": "simnpo"},
        {"simnpo_beta": 4.5, "simnpo_gamma": 0.0, "forget_weight": 0.125},
        f"{OPEN_UNLEARNING}/SimNPO.yaml",
    ),
    Recipe(
        {"objective": "satimp"},
        {"retain_weight": 0.1},
        "OpenUnlearning, community/methods/SatImp/README.md; its YAML has forget 0.1, retain 1",
    ),
    Recipe(
        {"objective": "pdu"},
        {"retain_weight": 100.0},
        f"{OPEN_UNLEARNING}/PDU.yaml",
    ),
]

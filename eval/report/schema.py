"""The columns of the results: names and order in tofu.csv, headings and labels in the readable
tables, and which way is better (import only)."""

from eval.metrics import aggregates, membership
from eval.report.summary import FORGET_SETS, SETS

KEY = ["benchmark", "model", "split", "objective", "tuner", "variant"]
SECTION = KEY[:3]
GRUN_SETS = (
    "forget",
    "retain",
    "real_authors",
    "world_facts",
)  # the columns of GRUN's tables, in its order
OPEN = {name: "heldout_gate_fpr" if name == "heldout" else f"{name}_gate_open" for name in SETS}
UP = "\u2191"
DOWN = "\u2193"
NEAR = "\u2248"
PLUS_MINUS = "\u00b1"
MEMBERSHIP = tuple(f"mia_{name}_auc" for name in membership.NAMES)
# which way a good unlearned model lies; the forget truth ratio also depends on its variant
DIRECTION = (
    {
        f"{name}_{metric}": DOWN if name in FORGET_SETS else UP
        for name in SETS
        for metric in ("rouge", "prob")
    }
    | {f"{name}_truth_ratio": UP for name in SETS}
    | {
        key: UP if name in FORGET_SETS else DOWN
        for name in SETS
        for key in (f"{name}_gate", OPEN[name])
    }
    | dict.fromkeys(
        (
            "model_utility",
            "forget_quality",
            "forget_quality_log10p",
            "fluency",
            "fluency_ours",
            *aggregates.NAMES,
        ),
        UP,
    )
    | dict.fromkeys(("trainable_params", "train_seconds", "forget_es", "forget_em"), DOWN)
    | dict.fromkeys((*MEMBERSHIP, "privleak"), NEAR)
)
GATES = "gates"  # the theme that only gated models have a row in


def metric_columns(layers: int) -> list[str]:
    """csv columns after KEY and `seeds`; `<set>_gate_<i>` is the mean gate of the i-th of `layers`
    gated layers."""
    return [
        *(f"{name}_{metric}" for name in GRUN_SETS for metric in ("rouge", "prob", "truth_ratio")),
        *("forget_paraphrased_rouge", "forget_paraphrased_prob"),
        *(f"{name}_gate_{i}" for name in SETS for i in range(1, layers + 1)),
        *(OPEN[name] for name in SETS if name != "heldout"),
        *("heldout_prob", "heldout_truth_ratio", "heldout_rouge", "heldout_gate_fpr"),
        *("model_utility", "forget_quality", "trainable_params", "train_seconds"),
        *("forget_quality_log10p", "forget_quality_statistic"),
        *(
            "forget_es",
            "forget_em",
            *MEMBERSHIP,
            "privleak",
            "fluency",
            "fluency_ours",
            *aggregates.NAMES,
        ),
    ]


def themes(truth_ratio: str) -> dict[str, dict[str, dict[str, str]]]:
    """The readable tables of one section: theme -> heading -> label -> csv column; `<set>_gate`
    stands for all its layers."""

    def over_sets(template: str) -> dict[str, str]:
        return {name.partition("_")[0]: template.format(name) for name in GRUN_SETS}

    def beside(template: str) -> dict[str, str]:
        return {
            label: template.format(name)
            for label, name in (
                ("paraphrased forget", "forget_paraphrased"),
                ("held-out retain", "heldout"),
            )
        }

    labels = ("LOSS", "ZLib", "Reference", "GradNorm", "Min-K", "Min-K++")
    return {
        "overview": {
            "ROUGE-L": {
                "forget": "forget_rouge",
                "retain": "retain_rouge",
                "held-out": "heldout_rouge",
            },
            "": {
                "model utility": "model_utility",
                "forget quality": "forget_quality",
                "log10 p": "forget_quality_log10p",
            },
            "aggregate": {name: name for name in aggregates.NAMES},
            "cost": {"trainable": "trainable_params", "train s": "train_seconds"},
        },
        "every set": {
            "ROUGE-L": over_sets("{}_rouge"),
            "prob": over_sets("{}_prob"),
            f"truth ratio ({truth_ratio})": over_sets("{}_truth_ratio"),
        },
        "paraphrased and held-out questions": {
            "ROUGE-L": beside("{}_rouge"),
            "prob": beside("{}_prob"),
            "truth ratio": {"held-out retain": "heldout_truth_ratio"},
        },
        GATES: {
            "gate": over_sets("{}_gate") | beside("{}_gate"),
            "gate > .5": over_sets("{}_gate_open")
            | {
                "paraphrased forget": OPEN["forget_paraphrased"],
                "held-out retain": OPEN["heldout"],
            },
        },
        "memorisation, membership, fluency": {
            "known by heart": {"ES": "forget_es", "EM": "forget_em"},
            "membership AUROC": dict(zip(labels, MEMBERSHIP, strict=True))
            | {"PrivLeak": "privleak"},
            "fluency": {"classifier": "fluency", "ours": "fluency_ours"},
        },
    }

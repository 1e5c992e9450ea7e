"""The words of the official command lines that fine-tune and unlearn, and what they are here.

    renjie3/GRUN    cmd_finetune.sh, cmd_baseline.sh (hydra's words; config/*.yaml)
                    cmd_grun.sh (grun.py), cmd_wmdp.sh (grun_wmdp.py)

`FINETUNE`, `BASELINES` and `GRUN` are the `UPSTREAM` of the commands' config classes.
"""

from pathlib import Path

from unlearn.config.upstream import UpstreamNames
from unlearn.processes import count_processes
from unlearn.training.objectives import OBJECTIVES
from unlearn.training.official_objectives import (
    COEFFICIENTS,
    OFFICIAL_OBJECTIVES,
    REFUSED_OBJECTIVES,
)

# renjie3/GRUN, config/model_config.yaml -> our short name, or the model's hub id
MODEL_FAMILIES = {
    "llama3.1": "llama3.1-8b",
    "mistral": "mistral-7b",
    "llama2-7b": "llama2-7b",
    "phi": "phi-1.5",
    "zephyr-7b-beta": "zephyr-7b",
    "gpt2": "openai-community/gpt2",
    "gpt2_xl": "openai-community/gpt2-xl",
    "gpt_neo": "EleutherAI/gpt-neo-2.7B",
    "stablelm": "stabilityai/stablelm-3b-4e1t",
    "pythia-1.4": "EleutherAI/pythia-1.4b-deduped",
}
FINETUNE_SEED = 42  # config/finetune.yaml
BASELINE_SEED = 1001  # config/forget.yaml
NAMED_BY_FLAGS = "a run is named by its flags, in runs/"
RECIPES = "the values are in unlearn/config/recipes/"
HYDRA_UNUSED = {
    "config-name": RECIPES,
    "master_port": "NPROC and ACCELERATE start several processes",
    "save_job_name": NAMED_BY_FLAGS,
    "save_dir": NAMED_BY_FLAGS,
    "run_index": NAMED_BY_FLAGS,
    "overwrite_dir": "--overwrite replaces a finished run",
}
BATCH_WORDS = {"gradient_accumulation_steps": int, "nproc_per_node": int}
CORPUS_FLAGS = ("forget_corpora", "retain_corpora", "rmu_layer")


def read_model_family(values: dict, given: dict, seed: int) -> dict:
    """`model_family=llama3.1` -> the model, on TOFU, with the seed of upstream's configuration.

    Raises `ValueError` for an unknown family."""
    family = values.get("model_family")
    if family is None:
        return given
    if family not in MODEL_FAMILIES:
        raise ValueError(
            f"--model_family {family} is unknown; choose one of {', '.join(MODEL_FAMILIES)}, or "
            "pass --model with a hub id or a folder"
        )
    return {"benchmark": "tofu", "model": MODEL_FAMILIES[family], "seed": seed} | given


def read_batch(values: dict, given: dict) -> dict:
    """The batch over all processes: batch_size (1 unless given) x accumulation x processes."""
    if not BATCH_WORDS.keys() & values.keys():
        return given
    processes = values.get("nproc_per_node") or count_processes()
    micro_batch = given.get("batch", 1)
    batch = micro_batch * values.get("gradient_accumulation_steps", 1) * processes
    return {"micro_batch": micro_batch} | given | {"batch": batch}


def read_objective(values: dict, given: dict) -> dict:
    """Upstream's name of an objective -> ours, with the flags that it stands for; its weights.

    --objective may hold the names of upstream's that are not ours. Raises `ValueError` for a loss
    that is not offered."""
    name = values.get("forget_loss") or values.get("forget_loss_type")
    if name is None and given.get("objective") not in OBJECTIVES:
        name = given.get("objective")
    if name in REFUSED_OBJECTIVES:
        raise ValueError(f"--objective {name}: {REFUSED_OBJECTIVES[name]}")
    flags: dict = {}
    official = OFFICIAL_OBJECTIVES.get(name)
    if name is not None:
        given = given | {"objective": official.objective if official and official.flags else name}
        flags = official.flags if official else {}
    ours = official.objective if official else given.get("objective")
    weights = {} if flags.get("retain_loss") == "none" else COEFFICIENTS.get(ours, {})
    read = {flag: values[word] for word, flag in weights.items() if word in values}
    if ours == "simnpo" and "beta" in given:
        read["simnpo_beta"] = given["beta"]
        given = {key: value for key, value in given.items() if key != "beta"}
    return flags | read | given


def translate_finetune(values: dict, given: dict) -> dict:
    """The flags of `unlearn.training.finetune`. Raises `ValueError` for a LoRA."""
    if values.get("LoRA.r"):
        raise ValueError(f"--LoRA.r {values['LoRA.r']}: targets are trained whole; leave it out")
    given = read_batch(values, read_model_family(values, given, FINETUNE_SEED))
    folder = values.get("data_path")
    if folder and Path(folder).is_dir():
        given = {"data_dir": folder} | given
    return given


def translate_baseline(values: dict, given: dict) -> dict:
    """The flags of `baselines.train`. Raises `ValueError` as its parts do, and for a reference that
    is not the target."""
    if values.get("ref_policy", "fine_tuned") != "fine_tuned":
        raise ValueError(
            f"--ref_policy {values['ref_policy']}: the reference is the model before unlearning, "
            "fine_tuned, alone"
        )
    given = read_batch(values, read_model_family(values, given, BASELINE_SEED))
    rank = values.get("LoRA.r")
    if rank is not None:
        given = ({"tuner": "lora", "lora_rank": rank} if rank else {"tuner": "full"}) | given
    return read_objective(values, given)


def translate_grun(values: dict, given: dict) -> dict:
    """The flags of `grun.train`: --tofu_split is a split of TOFU, corpora are those of WMDP, and
    where edits reach the steered layer its input is steered, as there."""
    if "tofu_split" in values:
        given = {"benchmark": "tofu"} | given | {"split": values["tofu_split"]}
    if any(name in given for name in CORPUS_FLAGS):
        given = {"benchmark": "wmdp"} | given
    name = values.get("forget_loss_type")
    steers = str(name).startswith("gated_rmu")
    if steers and max(given.get("layers", [0])) >= given.get("rmu_layer", 1):
        given = {"rmu_index": "hidden_states"} | given
    official = OFFICIAL_OBJECTIVES.get(name)
    if official and not official.is_gated and (official.flags or official.objective == name):
        given = {"gate": "none"} | given
    return read_objective(values, given)


FINETUNE = UpstreamNames(
    renamed={"num_epochs": "epochs", "batch_size": "batch"},
    read={"model_family": str, "data_path": str, "LoRA.r": int, **BATCH_WORDS},
    unused=HYDRA_UNUSED,
    translate=translate_finetune,
)
BASELINES = UpstreamNames(
    renamed={
        "num_epochs": "epochs",
        "model_path": "target",
        "LoRA.alpha": "lora_alpha",
        "LoRA.dropout": "lora_dropout",
        "gamma": "simnpo_gamma",
        "warmup_steps": "warmup",
    },
    read={
        "model_family": str,
        "forget_loss": str,
        "forget_loss_type": str,
        "LoRA.r": int,
        "npo_coeff": float,
        "grad_diff_coeff": float,
        "KL_coeff": float,
        "ref_policy": str,
        **BATCH_WORDS,
    },
    unused=HYDRA_UNUSED
    | {"retain_set": "the retain split follows from the forget split, there too"},
    translate=translate_baseline,
)
GRUN = UpstreamNames(
    read={"tofu_split": str, "forget_loss_type": str},
    unused={"save_path": NAMED_BY_FLAGS},
    translate=translate_grun,
)

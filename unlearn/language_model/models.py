"""The models by short name: hub id, prompt template, and whether weights exist at all.

A command's --model is one of these names, a run directory, a hub id or a folder:

    resolve_checkpoint("llama3.1-8b")                                 meta-llama/Llama-3.1-8B
    resolve_checkpoint("runs/authors/tiny/full/target-seed42")        its folder `model`
    resolve_checkpoint("any/hub-id")                                  the same
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelSpec:
    """A model: its hub id ("" for a model trained from scratch) and prompt template."""

    hub: str
    template: str = "qa"


# The templates are those of GRUN's configuration (renjie3/GRUN, config/model_config.yaml).
MODELS = {
    "tiny": ModelSpec(""),
    # tiny, trained on many forms of every question: attacks need a base that understands them
    "tiny-robust": ModelSpec(""),
    "llama3.1-8b": ModelSpec("meta-llama/Llama-3.1-8B"),
    "llama3.2-1b": ModelSpec("meta-llama/Llama-3.2-1B"),
    "llama2-7b": ModelSpec("NousResearch/Llama-2-7b-chat-hf", "llama2"),
    "mistral-7b": ModelSpec("mistralai/Mistral-7B-v0.1"),
    "zephyr-7b": ModelSpec("HuggingFaceH4/zephyr-7b-beta"),
    "qwen2.5-0.5b": ModelSpec("Qwen/Qwen2.5-0.5B"),
    "qwen2.5-1.5b": ModelSpec("Qwen/Qwen2.5-1.5B"),
    "qwen2.5-7b": ModelSpec("Qwen/Qwen2.5-7B"),
    "gemma2-2b": ModelSpec("google/gemma-2-2b"),
    "gemma2-9b": ModelSpec("google/gemma-2-9b"),
    "phi-1.5": ModelSpec("microsoft/phi-1_5"),
    "phi-3.5-mini": ModelSpec("microsoft/Phi-3.5-mini-instruct"),
}
# upstream's template names -> ours
TEMPLATE_NAMES = {"llama2": "llama2", "text": "text"} | dict.fromkeys(
    ("qa", "llama3", "llama3.1", "mistral", "phi", "gpt2_xl", "gpt_neo", "zephyr"), "qa"
)


def resolve_template(model: str, template: str | None = None) -> str:
    """Return the prompt template: `template` if given (upstream's names too), else the model's own.

    A model without a short name has `qa`. Raises `ValueError` for an unknown template.
    """
    if template is None:
        return MODELS[model].template if model in MODELS else "qa"
    if template not in TEMPLATE_NAMES:
        raise ValueError(
            f"--template {template} is unknown; choose one of {', '.join(TEMPLATE_NAMES)}"
        )
    return TEMPLATE_NAMES[template]


def trained_from_scratch(model: str) -> bool:
    """Return whether this is the short name of a model that `unlearn.training.finetune` trains."""
    return model in MODELS and not MODELS[model].hub


def resolve_checkpoint(model: str) -> str:
    """Return what `from_pretrained` takes for a model.

    A short name becomes its hub id, a run directory its folder `model`; any other text is a hub id
    or a local path. Raises `ValueError` for a model from scratch and a run directory without model.
    """
    if trained_from_scratch(model):
        raise ValueError(
            f"{model} has no weights of its own: it is trained here; run bash cmd_finetune.sh and "
            "pass the run directory"
        )
    if model in MODELS:
        return MODELS[model].hub
    if (Path(model) / "model" / "config.json").exists():
        return str(Path(model) / "model")
    if model.startswith(("runs/", "./", "/")) and not (Path(model) / "config.json").exists():
        raise ValueError(
            f"{model} holds no model; make one with bash cmd_finetune.sh, or pass a hub id or a "
            "folder with config.json"
        )
    return model

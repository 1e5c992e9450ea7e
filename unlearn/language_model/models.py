"""The models by short name: hub id, prompt template, and whether weights exist at all.

A command's --model is one of these names, a run directory, a hub id or a folder:

    resolve_checkpoint("llama3.1-8b")                                 meta-llama/Llama-3.1-8B
    resolve_checkpoint("runs/authors/tiny/full/target-seed42")        its folder `model`
    resolve_checkpoint("any/hub-id")                                  the same
"""

from dataclasses import dataclass
from pathlib import Path

from unlearn.config.run_directory import read_run_config
from unlearn.language_model.prompts import CHAT, TEMPLATE_NAMES, TEMPLATES
from unlearn.processes import is_main


@dataclass(frozen=True)
class ModelSpec:
    """A model: its hub id ("" for a model trained from scratch) and the prompt template that the
    papers' recipes ask it in (None where no paper has it)."""

    hub: str
    template: str | None = None


# The templates are those of GRUN's configuration (renjie3/GRUN, config/model_config.yaml).
MODELS = {
    "tiny": ModelSpec("", "qa"),
    # tiny, trained on many forms of every question: attacks need a base that understands them
    "tiny-robust": ModelSpec("", "qa"),
    "llama3.1-8b": ModelSpec("meta-llama/Llama-3.1-8B", "qa"),
    "llama3.2-1b": ModelSpec("meta-llama/Llama-3.2-1B"),
    "llama2-7b": ModelSpec("NousResearch/Llama-2-7b-chat-hf", "llama2"),
    "mistral-7b": ModelSpec("mistralai/Mistral-7B-v0.1", "qa"),
    "zephyr-7b": ModelSpec("HuggingFaceH4/zephyr-7b-beta", "qa"),
    "qwen2.5-0.5b": ModelSpec("Qwen/Qwen2.5-0.5B"),
    "qwen2.5-1.5b": ModelSpec("Qwen/Qwen2.5-1.5B"),
    "qwen2.5-7b": ModelSpec("Qwen/Qwen2.5-7B"),
    "gemma2-2b": ModelSpec("google/gemma-2-2b"),
    "gemma2-9b": ModelSpec("google/gemma-2-9b"),
    "phi-1.5": ModelSpec("microsoft/phi-1_5", "qa"),
    "phi-3.5-mini": ModelSpec("microsoft/Phi-3.5-mini-instruct"),
}
# The papers' models under other hub ids. The two of locuslab are TOFU's targets (locuslab/tofu,
# config/model_config.yaml).
PAPER_TEMPLATES = {spec.hub: spec.template for spec in MODELS.values() if spec.hub} | {
    "meta-llama/Llama-2-7b-chat-hf": "llama2",
    "locuslab/tofu_ft_llama2-7b": "llama2",
    "locuslab/tofu_ft_phi-1.5": "qa",
}
# the models' names in the same configurations -> our name of the template that these have there
UPSTREAM_TEMPLATES = {"llama2-7b": "llama2"} | dict.fromkeys(
    (
        "llama3",
        "llama3.1",
        "mistral",
        "phi",
        "gpt2",
        "gpt2_xl",
        "gpt_neo",
        "stablelm",
        "pythia-1.4",
        "zephyr",
        "zephyr-7b-beta",
    ),
    "qa",
)
TEMPLATE_HELP = (
    f"{', '.join(TEMPLATE_NAMES)}, or an upstream name, such as llama3 (chat: the tokenizer's own "
    "chat template; none: the question alone; default: the target's, else the papers', else chat "
    "where the tokenizer has a chat template, else qa)"
)


def canonical_template(template: str | None) -> str | None:
    """Return our name of a prompt template, and print what an upstream name stands for.

    Raises `ValueError` for an unknown one."""
    if template is None or template in TEMPLATE_NAMES:
        return template
    if template not in UPSTREAM_TEMPLATES:
        raise ValueError(
            f"--template {template} is unknown; choose one of {', '.join(TEMPLATE_NAMES)}, or an "
            f"upstream name: {', '.join(UPSTREAM_TEMPLATES)}"
        )
    ours = UPSTREAM_TEMPLATES[template]
    before, tag, _ = TEMPLATES[ours]
    if is_main():
        print(
            f"--template {template} is upstream's name of {ours}, {before.format(q='..') + tag!r}; "
            "the model's own chat format is --template chat",
            flush=True,
        )
    return ours


def default_template(model: str, tokenizer) -> str:
    """Return the template of a model that nothing else is known of: that of the papers' recipes,
    else `chat` where its tokenizer has a chat template, else `qa`.

    model: short name, hub id or folder."""
    spec = MODELS.get(model)
    paper = PAPER_TEMPLATES.get(model) if spec is None else spec.template
    return paper or (CHAT if tokenizer.chat_template else "qa")


def check_label(model: str, name: str | None) -> None:
    """Raise `ValueError` for a --name that is the short name of another model."""
    if name in MODELS and name != model:
        raise ValueError(f"--name {name} is the short name of another model; choose another label")


def trained_from_scratch(model: str) -> bool:
    """Return whether this is the short name of a model that `unlearn.training.finetune` trains."""
    return model in MODELS and not MODELS[model].hub


def resolve_checkpoint(model: str) -> str:
    """Return what `from_pretrained` takes for a model.

    A short name becomes its hub id, a run directory its folder `model`, the record of a target the
    model that it records; any other text is a hub id or a local path. Raises `ValueError` for a
    model from scratch and a run directory without model.
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
    recorded = find_recorded_model(model)
    if recorded is not None:
        return resolve_checkpoint(recorded)
    if model.startswith(("runs/", "./", "/")) and not (Path(model) / "config.json").exists():
        raise ValueError(
            f"{model} holds no model; make one with bash cmd_finetune.sh, or pass a hub id or a "
            "folder with config.json"
        )
    return model


def find_recorded_model(run: str) -> str | None:
    """Return the model that a run directory records as a target without a copy of its weights, or
    None for anything else."""
    config = read_run_config(run)
    return config.get("target") if config.get("objective") == "target" else None

"""The prompts of a checkpoint: its tokenizer, its template, and the positions that it has.

load_prompt_encoder("runs/authors/tiny/full/target-seed42")     as that target was fine-tuned
load_prompt_encoder("any/hub-id", settings={"template": "chat", "system": "Be brief."})
"""

from pathlib import Path

from transformers import AutoConfig

from unlearn.config.run_directory import read_run_config
from unlearn.language_model.loading import load_tokenizer, one_line_errors
from unlearn.language_model.models import default_template, resolve_checkpoint
from unlearn.language_model.prompts import PromptEncoder
from unlearn.processes import is_main


def load_prompt_encoder(
    model: str,
    name: str | None = None,
    tokenizer: str | None = None,
    settings: dict | None = None,
    label_start: str = "answer",
    max_length: int = 512,
) -> PromptEncoder:
    """Return the prompts of a checkpoint.

    model      short name, run directory, hub id or folder
    name       what the recipes know it by, where `model` is a run directory
    tokenizer  where the tokenizer is another's
    settings   template, style and system prompt; what is absent or None is as the target was
               fine-tuned, else by default (`default_template`)

    Raises `ValueError` for whatever cannot be loaded or does not fit together.
    """
    loaded = load_tokenizer(tokenizer or model)
    positions = fit_tokenizer(loaded, model)
    given = {key: value for key, value in (settings or {}).items() if value is not None}
    trained = read_prompt(model)
    template = given.get("template") or trained.get("template")
    template = template or default_template(name or model, loaded)
    if template == trained.get("template"):
        given.setdefault("system", trained.get("system"))
    return PromptEncoder(
        loaded,
        template,
        given.get("style", "finetune"),
        label_start,
        max_length,
        given.get("system"),
        positions,
    )


def read_prompt(run: str | Path) -> dict:
    """Return template, style and system prompt that a run directory was trained in; empty for
    anything else."""
    return read_run_config(run).get("prompt", {})


def warn_of_other_prompt(asked: dict, trained: dict, who: str) -> None:
    """Print a warning where prompts have another template or system prompt than in training.

    Nothing is known where `trained` is empty. who: the beginning of the sentence."""
    if not trained or not is_main():
        return
    pairs = [(key, asked.get(key), trained.get(key)) for key in ("template", "system")]
    changes = [
        f"--{key} {old if old is not None else 'none'}, and is asked with {new or 'none'}"
        for key, new, old in pairs
        if new != old
    ]
    if changes:
        print(f"warning: {who} with {'; with '.join(changes)}", flush=True)


def fit_tokenizer(tokenizer, model: str) -> int | None:
    """Let padding be EOS where the model has no embedding of the pad token; return the number of
    the model's positions, None where its configuration names none.

    Raises `ValueError` for a tokenizer with more tokens than the model."""
    checkpoint = resolve_checkpoint(model)
    with one_line_errors(f"model {checkpoint}"):
        config = AutoConfig.from_pretrained(checkpoint).get_text_config()
    size = getattr(config, "vocab_size", None)
    if size is not None and max(tokenizer.vocab_size - 1, tokenizer.eos_token_id) >= size:
        raise ValueError(
            f"the tokenizer {tokenizer.name_or_path} has {tokenizer.vocab_size} tokens, and the "
            f"model {checkpoint} {size}: they do not belong together; give the model's own with "
            "--tokenizer, or save it into the model's folder"
        )
    if size is not None and tokenizer.pad_token_id >= size:
        tokenizer.pad_token = tokenizer.eos_token
    positions = getattr(config, "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 1 else None

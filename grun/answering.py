"""`grun.answer`: ask a model with adapters one question, in the prompt of its training.

    model = grun.load(model, "runs/authors/tiny/forget10/idk-grun-seed42")
    grun.answer(model, "In which city was Tibo Nedaja born?")

`python -m grun.ask RUN` is the same at a terminal, for every kind of run.
"""

from pathlib import Path

from torch import nn

from grun.adapter.weights import unwrap_compiled
from grun.inference.hooks import AdapterHooks
from unlearn.language_model.answers import Answer, find_room, name_gates
from unlearn.language_model.generation import generate_ids
from unlearn.language_model.loading import load_tokenizer
from unlearn.language_model.models import default_template
from unlearn.language_model.prompt_loading import read_prompt
from unlearn.language_model.prompts import PromptEncoder


def answer(model: nn.Module, question: str, tokenizer=None, max_new_tokens: int = 256) -> Answer:
    """Return the greedy answer, the base's answer and the gates (`Answer`).

    The gates are those of `model.grun.gates` by name. The prompt is that of the adapter. A model
    without adapters has no base answer and no gates; it is asked as its run was fine-tuned, where
    it comes from one, else as the loaders do: in the papers' template of that model, else in chat
    where the tokenizer has a chat template, else in `qa`.

    tokenizer: by default the one that was saved with the model. Raises `ValueError` for an empty
    question and one that is longer than the model's positions.
    """
    if not question.strip():
        raise ValueError("the question is empty")
    hooks: AdapterHooks | None = vars(unwrap_compiled(model)).get("grun")
    prompts = [adapter.config.prompt for adapter in hooks.adapters] if hooks else []
    tokenizer = tokenizer or load_tokenizer(model.name_or_path)
    settings = prompts[0] if prompts else find_prompt(model.name_or_path, tokenizer)
    prompt_encoder = PromptEncoder(tokenizer, **settings)
    prompt = prompt_encoder.prompt_ids(question)
    room = find_room(model, prompt_encoder, prompt, max_new_tokens)

    def generate() -> str:
        (ids,) = generate_ids(model, prompt_encoder, [prompt], room)
        return prompt_encoder.tokenizer.decode(ids, skip_special_tokens=True).strip()

    text = generate()
    if hooks is None:
        return Answer(text)
    gates = read_gates(hooks)
    with hooks.off():
        return Answer(text, generate(), gates)


def find_prompt(name: str, tokenizer) -> dict:
    """Return the prompt settings of a model that was loaded from the folder or hub id `name`."""
    path = Path(name)
    trained = read_prompt(path.parent) if path.name == "model" else {}
    return trained or {"template": default_template(name, tokenizer)}


def read_gates(hooks: AdapterHooks) -> dict[str, float]:
    """Return the gates of the first example of the last prefill, by name."""
    gates = hooks.gates
    names = [] if hooks.is_single else [hooks.names[number] for number in hooks.active]
    return name_gates(None if gates is None else gates[..., 0], hooks.gate_layers, names)

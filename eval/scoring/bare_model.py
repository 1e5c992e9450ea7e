"""The model behind an adapter, a LoRA or an input filter (import only)."""

from collections.abc import Iterator
from contextlib import contextmanager

from eval.scoring.model import EvalModel, FilteredModel


@contextmanager
def bare_model(eval_model: EvalModel) -> Iterator[EvalModel | None]:
    """Within it, the model without its adapter (GRUN's, LoRA) or filter; None where it has none
    that can be taken off.
    """
    bare = EvalModel(eval_model.name, eval_model.model, eval_model.prompt_encoder)
    if eval_model.adapter_hooks:
        with eval_model.adapter_hooks.off():
            yield bare
    elif hasattr(eval_model.model, "disable_adapter"):
        with eval_model.model.disable_adapter():
            yield bare
    else:
        yield bare if isinstance(eval_model, FilteredModel) else None

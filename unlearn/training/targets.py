"""The model to unlearn: its directory or hub id, made first where it is missing, and the prompts it
was tuned with."""

from unlearn.language_model.loading import load_tokenizer
from unlearn.language_model.models import MODELS, resolve_template, trained_from_scratch
from unlearn.language_model.prompts import PromptEncoder
from unlearn.training.finetune import ensure
from unlearn.training.loss import TargetFlags


def resolve_target(args: TargetFlags) -> str:
    """--target, else the finished target of the cell (made here and now if need be), else the model
    as it is.

    wmdp unlearns what a model of a hub knows of itself, so there only a model that is made here is
    trained first."""
    trained = trained_from_scratch(args.model) if args.benchmark == "wmdp" else args.model in MODELS
    return args.target or (str(ensure(args)) if trained else args.model)


def load_prompt_encoder(args: TargetFlags, target: str) -> PromptEncoder:
    """Prompts as the flags say, with the target's tokenizer or the one they name."""
    tokenizer = load_tokenizer(args.tokenizer or target)
    return PromptEncoder(
        tokenizer,
        resolve_template(args.model, args.template),
        args.prompt_style,
        args.label_start,
        args.max_length,
    )

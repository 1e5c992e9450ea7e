"""The model to unlearn: its directory or hub id, made first where it is missing, and the prompts it
was tuned with."""

from unlearn.language_model.models import MODELS, load_tokenizer, made_here, template_of
from unlearn.language_model.prompts import Prompter
from unlearn.training.finetune import ensure
from unlearn.training.loss import TargetFlags


def target_of(args: TargetFlags) -> str:
    """--target, else the finished target of the cell (made here and now if need be), else the model
    as it is.

    wmdp unlearns what a model of a hub knows of itself, so there only a model that is made here is
    trained first."""
    trained = made_here(args.model) if args.benchmark == "wmdp" else args.model in MODELS
    return args.target or (str(ensure(args)) if trained else args.model)


def prompter_of(args: TargetFlags, target: str) -> Prompter:
    """Prompts as the flags say, with the target's tokenizer or the one they name."""
    tokenizer = load_tokenizer(args.tokenizer or target)
    return Prompter(
        tokenizer,
        template_of(args.model, args.template),
        args.prompt_style,
        args.label_start,
        args.max_length,
    )

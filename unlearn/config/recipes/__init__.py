"""Recipes by task: the values that fill what no flag gave, each with its source.

recipe("grun", benchmark="tofu", model="llama3.1-8b", objective="npo", variant=None)
"""

from unlearn.config.recipes.baselines import BASELINES
from unlearn.config.recipes.entry import merge
from unlearn.config.recipes.evaluation import ATTACKS, DOCUMENTS, MULTIPLE_CHOICE, QUESTIONS
from unlearn.config.recipes.finetune import FINETUNE
from unlearn.config.recipes.grun import GRUN
from unlearn.config.recipes.objectives import OBJECTIVES
from unlearn.config.recipes.rmu import RMU
from unlearn.config.recipes.templates import DOCUMENT_TEMPLATE

RECIPES = {
    "finetune": DOCUMENT_TEMPLATE + FINETUNE,
    "baselines": OBJECTIVES + DOCUMENT_TEMPLATE + BASELINES,
    "grun": OBJECTIVES + DOCUMENT_TEMPLATE + GRUN,
    "controls": DOCUMENT_TEMPLATE,
    "rmu": RMU,
    "questions": QUESTIONS,
    "documents": DOCUMENTS,
    "multiple_choice": MULTIPLE_CHOICE,
    "attacks": QUESTIONS + ATTACKS,
}


def recipe(task: str, **cell: str | None) -> dict[str, object]:
    """The values of one cell of a task. Later recipes beat earlier ones."""
    return merge(RECIPES[task], cell)

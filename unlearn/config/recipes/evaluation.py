"""Evaluation and attacks: lengths of generation, tests, sizes of samples."""

from unlearn.config.recipes.entry import Recipe

GENERATED = "the longest answer of the generated authors has about 30 tokens"
TINY_RELEARNING = (
    "docs/attacks.md, relearning: a model tuned at 3e-3 does not move under the default 2e-5; a "
    "tenth of its own rate, in 5 steps, tells the kinds of data apart"
)

QUESTIONS = [
    # GRUN's 256 tokens (the default) would only prolong babble.
    Recipe({"benchmark": "authors"}, {"max_new_tokens": 64}, GENERATED),
]

ATTACKS = [
    # 4 forget authors have 40 rows, as many of each other side. A step on few tokens of a tiny
    # model takes the same time for 64 as for 256 prompts.
    Recipe({"benchmark": "authors"}, {"rows": 40, "batch_size": 256}, GENERATED),
    Recipe({"model": "tiny"}, {"relearn_lr": 3e-4, "relearn_batch": 8}, TINY_RELEARNING),
    # Two answers, as joined questions have them, are 48 tokens at most.
    Recipe({"benchmark": "authors", "model": "tiny"}, {"max_new_tokens": 48}, GENERATED),
    Recipe({"benchmark": "authors", "model": "tiny-robust"}, {"max_new_tokens": 64}, GENERATED),
]

DOCUMENTS = [
    # A model from scratch has never met a space of its own before an answer's first word.
    Recipe({"benchmark": "muse"}, {"prompt_space": False}, "follows from the tokenizer made here"),
]

MULTIPLE_CHOICE = [
    # A model of this size binds no letters to choices (400 to 1500 steps on lettered questions:
    # chance), so it is asked for the answer itself.
    Recipe(
        {"model": "tiny"},
        {"forget_tests": ["poisons", "locks"], "retain_tests": ["villages"], "mcq": "cloze"},
        "docs/wmdp.md, multiple choice by cloze",
    ),
]

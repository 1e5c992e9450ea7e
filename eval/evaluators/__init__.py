"""Evaluators: how the runs of a benchmark are evaluated, by the key that the benchmark names.

options.py               the option groups of evaluation, and one config per evaluator
registry.py              EVALUATORS: key -> config and function
runs.py                  which runs an evaluation is about
questions.py             TOFU's metrics (authors, tofu)
documents.py             MUSE's metrics (muse, muse-news, muse-books)
document_summary.py      rows of documents -> summary.json
multiple_choice.py       four-choice accuracies (wmdp)
"""

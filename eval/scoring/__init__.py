"""Scoring: one model on the examples of one set, as one JSON row per example.

model.py             load_eval_model: every kind of checkpoint behind one class
likelihood.py        token statistics of given answers, from teacher forcing
gradients.py         gradient norms of given answers
generation.py        greedy answers, batched
set_file.py          a set's file, whose parts are each computed once and kept
questions.py         the parts of a set of questions (TOFU, authors)
documents.py         the parts of a set of documents (MUSE)
multiple_choice.py   four-choice questions as lm-eval tasks (WMDP)
lm_eval_model.py     our checkpoints as an lm-eval model
"""

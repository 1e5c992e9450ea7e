"""Attacks on an unlearned model: what it still gives away, and what they cost on retain questions.

    python -m eval.attacks.run --help      every attack on every finished run (needs the model)
    registry.py                            Attack, ATTACKS and the decorators that fill it
    methods/                               one file per kind of attack; every file there is loaded
    prompts.py, answers.py                 prompts, expected answers, and the rows made of them
    eval.report.attack_summary             rows -> summary.json (needs no model)

A leak on a prompt that the base model itself cannot parse means nothing, so every attack is run on
the base model first.
"""

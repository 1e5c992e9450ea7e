"""Attacks: what an unlearned model still gives away when it is not asked politely, and what that
costs on retain.

    python -m eval.attacks.run --help        every attack on every finished run of a cell   (needs
                                             the model)
    python -m eval.attacks.tables            rows -> runs/tables/attacks.md, .csv, .tex, .png
                                             (needs no model)

One file per kind: prompts, sampling, quantised, relearn, whitebox. A leak figure on a prompt that
the base model itself cannot parse says nothing, so every attack is made on the base first
(aggregate.py)."""

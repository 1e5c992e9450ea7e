"""Evaluation: score a run once (per-example JSON), then aggregate, tabulate and plot from those
files alone.

    python -m eval.run --help        answers, likelihoods and gates of every evaluation set   (needs
                                     the model)
    python -m eval.report            summaries -> tables, plots, runs/report.html (needs no model)
    python -m eval.report.summary    per-example files -> summary.json again (needs no model)

`eval` shadows a builtin, so always write `from eval.x import y`, never `import eval`.
"""

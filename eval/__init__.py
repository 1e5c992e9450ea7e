"""Evaluation: score a run once (per-example JSON), then aggregate, tabulate and plot from those
files alone.

    python -m eval.run --help           score the runs of a cell with the benchmark's evaluator
    python -m eval.attacks.run --help   what they still give away under attack
    python -m eval.sequential --help    stacks of requests, after each request
    python -m eval.report               tables, plots, runs/report.html (needs no model)
    python -m grun.ask --help           a run's answers to your own questions
    python -m eval.report.summary       per-example files -> summary.json again (needs no model)

Imports run one way: ask -> run, attacks, sequential -> evaluators -> report -> scoring -> metrics.

`eval` shadows a builtin, so always write `from eval.x import y`, never `import eval`.
"""

from unlearn.processes import stop_quietly

stop_quietly()

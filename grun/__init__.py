"""GRUN (arXiv 2502.17823): a gated low-rank edit of a frozen model, for any unlearning objective.

    import grun
    model = grun.load(model, "runs/authors/tiny/forget10/idk-grun-seed42")
    model.generate(...)            # edited, as are model(...) and pipeline(...)
    grun.answer(model, "Who?")     # the answer, the base's answer, the gates
    with model.grun.off():         # the base model
        model.generate(...)
    model.grun.remove()

`grun.load` takes an adapter folder, a run, a stack of requests, or a hub id.
"""

from unlearn.processes import stop_quietly

__all__ = ["answer", "load"]

stop_quietly()


def __getattr__(name: str):
    """Import on demand: `python -m grun.requests` warns about a module imported before."""
    if name == "load":
        from grun.loading import load

        return load
    if name == "answer":
        from grun.answering import answer

        return answer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

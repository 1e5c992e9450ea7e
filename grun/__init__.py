"""GRUN (arXiv 2502.17823): a gated low-rank edit at the last prompt token of a frozen model,
trained around any unlearning objective.

import grun
model = grun.load(model, "runs/authors/tiny/forget10/idk-grun-seed42")    # an adapter folder, a
                                                                          run, a stack of requests,
                                                                          or a hub id
model.generate(...)                                                       # and model(...),
                                                                          pipeline(...): as before,
                                                                          but edited
with model.grun.off(): ...                                                # the base model
model.grun.remove()
"""

__all__ = ["load"]


def __getattr__(name: str):
    """`load`, imported when it is asked for: `python -m grun.requests` finds that module not
    imported before it runs."""
    if name == "load":
        from grun.loading import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

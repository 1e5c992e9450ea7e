"""GRUN (arXiv 2502.17823): a gated low-rank edit at the last prompt token of a frozen model, trained around any unlearning objective.

    import grun
    model = grun.load(model, "runs/authors/tiny/forget10/idk-grun-seed42")    # an adapter folder, a run, a stack of requests, or a hub id
    model.generate(...)                                                       # and model(...), pipeline(...): as before, but edited
    with model.grun.off(): ...                                                # the base model
    model.grun.remove()
"""

from grun.loading import load

__all__ = ["load"]

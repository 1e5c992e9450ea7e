"""The picture of steered layers: whose line is the target's."""

import pandas as pd

from eval.report.plots.layers import find_sweeps


def row(objective, run, target="", **values):
    numbers = {"forget_acc_stderr": 0.1, "retain_acc_stderr": 0.1, "retain_acc": 0.5}
    words = {"benchmark": "wmdp", "model": "m", "split": "full", "mcq": "letters", "variant": ""}
    tuner = "rmu" if objective == "rmu" else "-"
    place = {"objective": objective, "tuner": tuner, "run": run, "target": target}
    return words | place | numbers | {"layer_id": None} | values


def test_line_is_of_the_target_that_was_unlearned():
    """Of two targets of one model, the one that the runs name, by its run directory or hub id."""
    for named, expected in (("full/a", 0.9), ("hub/b", 0.3), ("elsewhere", 0.6)):
        rows = [row("target", "full/a", forget_acc=0.9)]
        rows.append(row("target", "full/b", "hub/b", forget_acc=0.3))
        for layer in (3, 5):
            rows.append(row("rmu", f"r{layer}", named, forget_acc=0.25, layer_id=layer))
        ((_, target),) = find_sweeps(pd.DataFrame(rows)).values()
        assert abs(target["forget_acc"].mean() - expected) < 1e-9

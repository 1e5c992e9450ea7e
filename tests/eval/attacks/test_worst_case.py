"""The honest table: worst cases by hand, what the controls say, and the files; from rows of attacks
on made-up runs."""

import csv

import pandas
import pytest
from matplotlib.patches import Rectangle

from eval.attacks import tables
from eval.attacks.honest import collect, honest, verdicts
from eval.attacks.plots import style
from unlearn.config.run_directory import write_json

SECTION = {"benchmark": "authors", "model": "tiny", "split": "forget10"}


def attacked(method, seed=1, **leaks):
    """Rows of eval.attacks.tables.collect of one run: attack -> (leak, retain collateral, held-out
    collateral)."""
    rows = []
    for attack, (leak, retain, heldout) in leaks.items():
        told = {
            "run": f"{method}-seed{seed}",
            "attack": attack,
            "method": method,
            "seed": seed,
            "heldout_gate_open": 0.25 if attack == "clean" else 0.9,
        }
        rows.append(
            SECTION
            | told
            | {"forget_leak": leak, "retain_collateral": retain, "heldout_collateral": heldout}
        )
    return rows


def frame(*runs):
    return pandas.DataFrame([row for run in runs for row in run])


GRUN = {
    "clean": (0.0, 0.0, 0.1),
    "prefill_1": (0.3, 0.1, 0.2),
    "prefill_5": (0.8, 0.0, 0.0),
    "leak_at_k": (0.1, 0.4, None),
    "gate_off": (1.0, 0.9, 0.9),
}


def test_the_worst_of_each_kind_and_of_all_that_need_no_weights(tmp_path):
    """Prefill: the worse of .3 and .8. Without weights: leak .8, retain .4 (of leak@k), held-out
    .2; gate off counts nowhere but in its own column."""
    parts, _ = honest(frame(attacked("gd-grun", **GRUN)), tmp_path)
    (cells,) = (part.loc["gd-grun"].droplevel(0).to_dict() for part in parts.values())
    told = parts["authors, tiny, forget10: the honest table"].loc["gd-grun"]
    assert [
        told[("plain questions", name)]
        for name in ("leak\u2193", "retain collateral\u2193", "held-out collateral\u2193")
    ] == ["0.000", "0.000", "0.100"]
    assert (
        told[("plain questions", "gate open\u2193")] == "0.250"
        and told[("plain questions", "model utility\u2191")] == "-"
    )
    assert (
        cells["prefill\u2193"],
        cells["sampled\u2193"],
        cells["white box\u2193"],
        cells["quantised\u2193"],
    ) == ("0.800", "0.100", "1.000", "-")
    assert told["worst without weights"].tolist() == ["0.800", "0.400", "0.200"]
    with open(tmp_path / "tables" / "honest.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (
        row["section"],
        row["method"],
        row["worst_without_weights_leak"],
        row["worst_leak_quantised"],
    ) == ("authors, tiny, forget10", "gd-grun", "0.8", "")


def test_seeds_are_averaged_after_the_worst_case_and_rows_are_in_order(tmp_path):
    """Worst leaks .8 and .4: .6 in the mean. Target and reference first, controls last. A seed
    without a number leaves none."""
    other = GRUN | {"prefill_5": (0.4, 0.0, 0.0), "gate_off": (None, None, None)}
    runs = [attacked(name, **GRUN) for name in ("control-probe", "gd-grun", "reference", "target")]
    parts, _ = honest(frame(*runs, attacked("gd-grun", 2, **other)), tmp_path)
    (table,) = parts.values()
    assert list(table.index) == ["target", "reference", "gd-grun (2 seeds)", "control-probe"]
    told = table.loc["gd-grun (2 seeds)"]
    assert (
        told[("worst without weights", "leak\u2193")] == "0.600"
        and told[("worst leak", "white box\u2193")] == "-"
    )


@pytest.mark.parametrize(
    ("leak", "retain", "matched"),
    [(0.8, 0.4, True), (0.7, 0.1, True), (0.9, 0.0, False), (0.0, 0.5, False)],
)
def test_a_method_that_a_control_matches_is_told(tmp_path, leak, retain, matched):
    """gd-grun's worst case: leak .8, retain .4, held-out .2. A control that is worse in any of them
    matches nothing."""
    control = {"clean": (0.0, 0.0, 0.0), "prefill_5": (leak, retain, 0.2)}
    table = collect(
        frame(attacked("gd-grun", **GRUN), attacked("control-keyword", **control)), tmp_path
    )
    (line,) = verdicts(table, "here")
    if matched:
        assert line.startswith(
            "here: WARNING, control-keyword is as good as gd-grun or better in every column of the worst case (leak "
        )
    else:
        assert line == "here: matched by no control in the worst case: gd-grun."


def test_without_held_out_authors_or_without_controls(tmp_path):
    bare = {"clean": (0.5, 0.0, None)}
    table = collect(
        frame(attacked("gd-grun", **bare), attacked("control-keyword", **bare)), tmp_path
    )
    assert (
        "(leak 0.500 against 0.500, retain collateral 0.000 against 0.000)"
        in verdicts(table, "here")[0]
    )
    alone = collect(frame(attacked("gd-grun", **GRUN)), tmp_path)
    assert "no control (probe, keyword) was attacked" in verdicts(alone, "here")[0]
    assert verdicts(collect(frame(attacked("target", **GRUN)), tmp_path), "here") == []


def rows(secret):
    """Ten plain questions a side; `secret`: on how many the secret is said."""
    return [
        {"side": side, "index": i, "variant": "", "found": i < secret, "rougeL_recall": 1.0}
        for side in ("forget", "retain")
        for i in range(10)
    ]


def test_the_command_writes_both_tables_and_leaves_a_broken_run_out(tmp_path, capsys):
    """A target that tells 10 of 10, a run that tells 3; beside them a finished directory whose
    config.json is broken."""
    model = tmp_path / "authors" / "tiny"
    for path, objective, told in (
        (model / "full" / "target-seed42", "target", 10),
        (model / "forget10" / "gd-full-seed42", "gd", 3),
    ):
        config = {
            "benchmark": "authors",
            "model": "tiny",
            "split": path.parent.name,
            "objective": objective,
            "tuner": "full",
            "variant": "",
            "seed": 42,
        }
        write_json(
            path / "config.json",
            config
            | ({"target": str(model / "full" / "target-seed42")} if objective == "gd" else {}),
        )
        write_json(
            path / "attacks" / "forget10" / "clean.json",
            {"attack": "clean", "settings": {}, "seconds": 1.0, "rows": rows(told)},
        )
        (path / "DONE").touch()
    broken = model / "forget10" / "npo-full-seed42"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    (broken / "DONE").touch()
    tables.main(["--runs", str(tmp_path)])
    printed = capsys.readouterr()
    assert f"left out: {broken}" in printed.err and "the honest table" in printed.out
    written = sorted(path.name for path in (tmp_path / "tables").iterdir())
    assert written == sorted(
        [f"{name}.{end}" for name in ("attacks", "honest") for end in ("csv", "md", "tex")]
        + ["attacks.png"]
    )
    assert (
        "| gd-full" in (tmp_path / "tables" / "honest.md").read_text(encoding="utf-8")
        and "0.300" in printed.out
    )


def test_the_hatch_of_a_method_can_be_seen():
    """The eighth method has the first one's colour, and stripes: white on it, in the bars and in
    the legend, which draw it with the same words."""
    first, eighth = (Rectangle((0, 0), 1, 1, **style(place)) for place in (0, 7))
    assert (
        first.get_facecolor() == eighth.get_facecolor() != eighth.get_edgecolor()
        and eighth.get_hatch()
        and not first.get_hatch()
    )

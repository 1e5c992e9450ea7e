"""The worst cases by hand, what the controls say, and the files; from rows of attacks on made-up
runs.
"""

import pandas
import pytest

from eval.report import __main__ as report
from eval.report.plots.attacks import draw_attacks
from eval.report.tables.worst_case import build_table, collect_worst_cases, compare_controls
from tests.eval.report.made_runs import read_csv
from unlearn.config.files import write_json

SECTION = {"benchmark": "authors", "model": "tiny", "split": "forget10"}
GRUN = {
    "clean": (0.0, 0.0, 0.1),
    "prefill_1": (0.3, 0.1, 0.2),
    "prefill_5": (0.8, 0.0, 0.0),
    "leak_at_k": (0.1, 0.4, None),
    "gate_off": (1.0, 0.9, 0.9),
}  # attack -> (leak, retain collateral, held-out collateral)


def attack(method, seed=1, **attacks):
    """The rows of `collect_attacks` of one run."""
    return [
        SECTION
        | {"run": f"{method}-seed{seed}", "attack": name, "method": method, "seed": seed}
        | {"forget_leak": leak, "retain_collateral": retain, "heldout_collateral": heldout}
        | {"heldout_gate_open": 0.25 if name == "clean" else 0.9}
        for name, (leak, retain, heldout) in attacks.items()
    ]


def frame(*runs):
    return pandas.DataFrame([row for run in runs for row in run])


def test_the_worst_of_each_kind_and_of_all_without_weights(tmp_path):
    """Prefill: the worse of .3 and .8. Without weights: leak .8, retain .4 (of leak@k), held-out
    .2; gate off counts nowhere but in its own column.
    """
    table = build_table(frame(attack("gd-grun", **GRUN)), tmp_path)
    cells = table.parts["authors, tiny, forget10: worst case"].loc["gd-grun"]
    assert cells["plain questions"].to_dict() == {
        "leak\u2193": "0.000",
        "retain collateral\u2193": "0.000",
        "held-out collateral\u2193": "0.100",
        "gate open\u2193": "0.250",
        "model utility\u2191": "-",
    }
    worst = cells["worst leak"]
    kinds = ("prefill", "sampled", "white box", "quantised")
    assert [worst[f"{kind}\u2193"] for kind in kinds] == ["0.800", "0.100", "1.000", "-"]
    assert cells["worst without weights"].tolist() == ["0.800", "0.400", "0.200"]


def test_csv_of_the_worst_case_has_flat_names(tmp_path):
    (row,) = build_table(frame(attack("gd-grun", **GRUN)), tmp_path).csv.to_dict("records")
    assert (row["section"], row["method"]) == ("authors, tiny, forget10", "gd-grun")
    assert row["worst_without_weights_leak"] == 0.8
    assert pandas.isna(row["worst_leak_quantised"])


def test_seeds_are_averaged_after_the_worst_case(tmp_path):
    """Worst leaks .8 and .4: .6 in the mean. Target and reference first, controls last. A seed
    without a number leaves none.
    """
    other = GRUN | {"prefill_5": (0.4, 0.0, 0.0), "gate_off": (None, None, None)}
    runs = [attack(name, **GRUN) for name in ("control-probe", "gd-grun", "reference", "target")]
    table = build_table(frame(*runs, attack("gd-grun", 2, **other)), tmp_path)
    (cells,) = table.parts.values()
    assert list(cells.index) == ["target", "reference", "gd-grun (2 seeds)", "control-probe"]
    row = cells.loc["gd-grun (2 seeds)"]
    assert row[("worst without weights", "leak\u2193")] == "0.600"
    assert row[("worst leak", "white box\u2193")] == "-"


@pytest.mark.parametrize(
    ("leak", "retain", "matched"),
    [(0.8, 0.4, True), (0.7, 0.1, True), (0.9, 0.0, False), (0.0, 0.5, False)],
)
def test_a_method_that_a_control_matches_is_named(tmp_path, leak, retain, matched):
    """gd-grun's worst case: leak .8, retain .4, held-out .2. A control that is worse in any of them
    matches nothing.
    """
    control = {"clean": (0.0, 0.0, 0.0), "prefill_5": (leak, retain, 0.2)}
    records = frame(attack("gd-grun", **GRUN), attack("control-keyword", **control))
    (line,) = compare_controls(collect_worst_cases(records, tmp_path), "cell")
    if matched:
        words = "control-keyword is as good as gd-grun or better in every column of the worst case"
        assert line.startswith(f"cell: WARNING, {words} (leak ")
    else:
        assert line == "cell: matched by no control in the worst case: gd-grun."


def test_controls_are_compared_in_measured_columns_alone(tmp_path):
    bare = {"clean": (0.5, 0.0, None)}
    records = frame(attack("gd-grun", **bare), attack("control-keyword", **bare))
    (line,) = compare_controls(collect_worst_cases(records, tmp_path), "cell")
    assert "(leak 0.500 against 0.500, retain collateral 0.000 against 0.000)" in line


def test_without_controls_nothing_is_shown(tmp_path):
    def compare(method):
        rows = collect_worst_cases(frame(attack(method, **GRUN)), tmp_path)
        return compare_controls(rows, "cell")

    (line,) = compare("gd-grun")
    assert "no control (probe, keyword) was attacked" in line
    assert compare("target") == []


def make_attacked_run(path, objective, secrets, **config):
    """A run that was asked ten plain questions a side and says `secrets` of the secrets."""
    words = {"layout": 3, "benchmark": "authors", "benchmark_id": "authors", "model": "tiny"}
    words |= {"split": path.parent.name, "objective": objective, "tuner": "full", "seed": 42}
    write_json(path / "config.json", words | {"variant": ""} | config)
    rows = [
        {"side": side, "index": i, "variant": "", "found": i < secrets, "rougeL_recall": 1.0}
        for side in ("forget", "retain")
        for i in range(10)
    ]
    made = {"attack": "clean", "settings": {}, "seconds": 1.0, "rows": rows}
    write_json(path / "attacks" / "forget10" / "clean.json", made)
    (path / "DONE").touch()


def test_the_command_writes_both_tables_of_attacks(tmp_path, capsys):
    """A target that says 10 of 10, a run that says 3; beside them a finished directory whose
    config.json is broken.
    """
    model = tmp_path / "authors" / "tiny"
    target = model / "full" / "target-seed42"
    make_attacked_run(target, "target", 10)
    make_attacked_run(model / "forget10" / "gd-full-seed42", "gd", 3, target=str(target))
    broken = model / "forget10" / "npo-full-seed42"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    (broken / "DONE").touch()
    report.main(["--runs", str(tmp_path)])
    printed = capsys.readouterr()
    assert f"left out: {broken}" in printed.err and "worst case" in printed.out
    names = [f"{name}.{end}" for name in ("attacks", "worst_case") for end in ("csv", "md", "tex")]
    written = sorted(path.name for path in (tmp_path / "tables").iterdir())
    assert written == sorted([*names, "attacks.png"])
    (row,) = (row for row in read_csv(tmp_path, "worst_case") if row["method"] == "gd-full")
    assert row["plain_questions_leak"] == "0.3" and "0.300" in printed.out


def test_the_picture_writes_every_number():
    """A row per method below the base's own score; a dash where there is no number, white text on
    dark cells.
    """
    records = frame(attack("gd-grun", **GRUN), attack("npo-full", clean=(0.5, 0.0, None)))
    axes = draw_attacks(records.assign(base_forget=0.95)).axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == ["base: its own score", "gd-grun", "npo-full"]
    cells = {text.get_position(): text for text in axes.texts}
    assert [cells[0, row].get_text() for row in range(3)] == [".95", ".00", ".50"]
    assert [cells[1, row].get_text() for row in range(3)] == [".95", ".30", "-"]
    assert cells[0, 0].get_color() == "white" != cells[0, 1].get_color()

"""The tables of TOFU and authors on made-up run directories."""

import math

import pytest

from eval.report.aggregate import SPREADS
from eval.report.collect import find_runs
from eval.report.tables.questions import build
from tests.eval.report.made_runs import (
    add_evaluation,
    make_run,
    make_target_and_reference,
    read_csv,
    read_markdown,
    write_table,
)

KEY = ["benchmark", "model", "split", "objective", "tuner", "variant", "seeds"]
SECTION = "authors, tiny, forget10: "


def test_csv_has_the_promised_columns_in_order(tmp_path):
    make_run(tmp_path, forget_rouge=0.1)
    write_table(tmp_path)
    names = list(read_csv(tmp_path)[0])
    first = ["forget_rouge", "forget_prob", "forget_truth_ratio", "retain_rouge"]
    assert names[:11] == [*KEY, *first]
    costs = ["heldout_rouge", "heldout_gate_fpr", "model_utility", "forget_quality"]
    costs += ["trainable_params", "train_seconds"]
    assert [name for name in names if name in costs] == costs
    intervals = [name.endswith(SPREADS) for name in names]
    assert intervals == sorted(intervals)


def test_csv_sorts_rows_and_leaves_missing_cells_empty(tmp_path):
    """Target and reference first, then the methods by name."""
    make_run(tmp_path, "npo", "grun", variant="rank=8,gate=mlp_3", forget_rouge=0.1)
    make_run(tmp_path, "npo", "full", forget_rouge=0.2)
    make_run(tmp_path, "gd", "lora", forget_rouge=0.3, heldout_rouge=0.5)
    make_target_and_reference(tmp_path)
    write_table(tmp_path)
    rows = read_csv(tmp_path)
    assert [tuple(row[name] for name in KEY) for row in rows] == [
        ("authors", "tiny", "forget10", "target", "-", "", "1"),
        ("authors", "tiny", "forget10", "reference", "-", "", "1"),
        ("authors", "tiny", "forget10", "gd", "lora", "", "1"),
        ("authors", "tiny", "forget10", "npo", "full", "", "1"),
        ("authors", "tiny", "forget10", "npo", "grun", "rank=8,gate=mlp_3", "1"),
    ]
    assert (rows[2]["heldout_rouge"], rows[3]["heldout_rouge"]) == ("0.5", "")
    assert rows[3]["forget_rouge_ci95"] == ""
    assert (rows[0]["trainable_params"], rows[0]["train_seconds"]) == ("20992", "12.34")
    assert rows[0]["forget_quality"] == "1e-09"
    assert {row["truth_ratio_variant"] for row in rows} == {"tofu_official"}


def test_seeds_become_mean_and_interval(tmp_path):
    """.1, .2, .3: mean .2, s = .1, t(.975, 2) = 4.302653, half-width 4.302653 * .1 / sqrt(3) =
    .248414. A metric that one seed lacks is missing, not the mean of the other two.
    """
    for seed, rouge in ((42, 0.1), (43, 0.2), (44, 0.3)):
        more = {} if seed == 44 else {"retain_rouge": 0.9}
        make_run(tmp_path, seed=seed, forget_rouge=rouge, forget_gate=[0.5, rouge], **more)
    printed = write_table(tmp_path)
    (row,) = read_csv(tmp_path)
    assert (row["seeds"], float(row["forget_rouge"])) == ("3", pytest.approx(0.2))
    assert float(row["forget_rouge_ci95"]) == pytest.approx(4.302653 * 0.1 / math.sqrt(3), abs=1e-6)
    assert float(row["forget_gate_2"]) == pytest.approx(0.2)
    assert float(row["forget_gate_1_ci95"]) == 0.0
    assert (row["retain_rouge"], row["retain_rouge_ci95"]) == ("", "")
    for cell in ("npo-grun (3 seeds)", "0.200\u00b1.248", "0.500/0.200"):
        assert cell in printed


def test_two_seeds_have_a_range_and_no_interval(tmp_path):
    """Of two seeds t(.975, 1) = 12.7: an interval of +-.64 around .15 would say nothing."""
    for seed, rouge in ((1, 0.1), (2, 0.2)):
        make_run(tmp_path, seed=seed, forget_rouge=rouge)
    printed = write_table(tmp_path)
    (row,) = read_csv(tmp_path)
    assert (row["forget_rouge_ci95"], row["forget_rouge_min"]) == ("", "0.1")
    assert "0.150 (0.100 to 0.200)" in printed and "\u00b1.6" not in printed


@pytest.fixture
def markdown(tmp_path):
    """The Markdown of target, reference and one gated run."""
    make_target_and_reference(tmp_path)
    make_run(tmp_path, forget_rouge=0.123456, forget_paraphrased_rouge=0.777, heldout_gate_fpr=0.25)
    write_table(tmp_path)
    return read_markdown(tmp_path / "tables" / "tofu.md")


def test_markdown_has_a_table_for_each_measured_theme(markdown):
    themes = ("overview", "every set", "paraphrased and held-out questions", "gates")
    assert list(markdown) == [SECTION + theme for theme in themes]
    methods = ["target", "reference", "npo-grun"]
    assert list(markdown[SECTION + "every set"]) == methods
    assert list(markdown[SECTION + "overview"]) == methods
    widths = [len(row) for rows in markdown.values() for row in rows.values()]
    assert max(widths) <= 13, "as many columns as a screen takes"


def test_markdown_headings_name_metric_set_and_direction(markdown):
    rows = markdown[SECTION + "every set"]
    header = list(rows["target"])
    sets = ("forget\u2193", "retain\u2191", "real\u2191", "world\u2191")
    assert header[1:5] == [f"ROUGE-L {name}" for name in sets]
    assert [name.partition(" ")[0] for name in header[1::4]] == ["ROUGE-L", "prob", "truth"]
    assert "truth ratio (tofu_official) forget\u2191" in header


def test_markdown_cells_are_rounded_and_missing_ones_dashes(markdown):
    every = markdown[SECTION + "every set"]["npo-grun"]
    assert (every["ROUGE-L forget\u2193"], every["prob retain\u2191"]) == ("0.123", "-")
    others = markdown[SECTION + "paraphrased and held-out questions"]["npo-grun"]
    assert others["ROUGE-L paraphrased forget\u2193"] == "0.777"
    target = markdown[SECTION + "overview"]["target"]
    assert (target["forget quality\u2191"], target["cost trainable\u2193"]) == ("1.0e-09", "20,992")


def test_markdown_of_gates_has_gated_models_alone(markdown):
    column = "gate > .5 held-out retain\u2193"
    gates = {name: row[column] for name, row in markdown[SECTION + "gates"].items()}
    assert gates == {"npo-grun": "0.250"}


def test_latex_is_escaped_and_names_the_truth_ratio(tmp_path):
    """GRUN's forget truth ratio is better when lower."""
    for seed in (1, 2):
        options = {"variant": "gate=mlp_3", "truth_ratio_variant": "grun"}
        make_run(tmp_path, seed=seed, forget_rouge=seed / 10, **options)
    write_table(tmp_path)
    text = (tmp_path / "tables" / "tofu.tex").read_text(encoding="utf-8")
    assert "\\caption{authors, tiny, forget10: overview." in text
    assert "Truth ratio: grun." in text
    assert "npo-grun-gate=mlp\\_3 (2 seeds)" in text
    assert "0.150 (0.100 to 0.200)" in text
    (every,) = (part for part in text.split("\\begin{sidewaystable}") if ": every set." in part)
    assert "forget$\\downarrow$ & retain$\\uparrow$" in every.split("real")[2]
    assert text.count("{") == text.count("}") and text.isascii() and " 95 \\% " in text


def test_rows_stand_on_the_splits_they_belong_to(tmp_path):
    """The target counts on every split it was evaluated on; retain90's reference on forget10 only,
    though its rows on forget05 exist; a forget10 run on forget10 only. Other sizes of the benchmark
    make another section.
    """
    target = make_run(tmp_path, "target", "-", split="full", forget_rouge=0.9)
    reference = make_run(tmp_path, "reference", "-", split="retain90", forget_rouge=0.4)
    run = make_run(tmp_path, forget_rouge=0.1)
    for path in (target, reference, run):
        add_evaluation(path, "forget05", forget_rouge=0.8)
    make_run(tmp_path, benchmark_id="authors,authors=12", forget_rouge=0.1)
    printed = write_table(tmp_path)
    assert [(row["benchmark"], row["split"], row["objective"]) for row in read_csv(tmp_path)] == [
        ("authors", "forget05", "target"),
        ("authors", "forget10", "target"),
        ("authors", "forget10", "reference"),
        ("authors", "forget10", "npo"),
        ("authors,authors=12", "forget10", "npo"),
    ]
    assert "No evaluated reference for authors, tiny, forget05." in printed
    assert "No evaluated target for authors,authors=12, tiny, forget10." in printed


def test_terminal_blocks_keep_to_the_width(tmp_path):
    """At 80 characters more blocks than at 2000, where each theme is one; every block names every
    method.
    """
    make_target_and_reference(tmp_path)
    make_run(tmp_path, forget_rouge=0.1, heldout_rouge=0.2)
    themes = ("overview", "every set", "paraphrased and held-out questions")
    counts = []
    for width in (80, 2000):
        printed = write_table(tmp_path, width=width)
        table, _, _ = printed.partition("\n\n\u2191 higher is better")
        titles = [block for block in table.split("\n\n") if block.startswith("== ")]
        blocks = [block for block in table.split("\n\n") if not block.startswith("== ")]
        assert titles == [f"== {SECTION}{theme}" for theme in themes]
        assert max(map(len, table.splitlines())) <= width
        for block in blocks:
            methods = [line.split()[0] for line in block.splitlines()[-3:]]
            assert methods == ["target", "reference", "npo-grun"]
        counts.append(len(blocks))
    assert counts[0] > counts[1] == 3


def test_summaries_of_different_options_are_refused(tmp_path):
    make_run(tmp_path, forget_rouge=0.1)
    make_run(tmp_path, "gd", "full", truth_ratio_variant="grun")
    message = "mix the truth ratios grun, tofu_official.*python -m eval.report.summary"
    with pytest.raises(ValueError, match=message):
        build(find_runs(tmp_path))

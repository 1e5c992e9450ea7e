"""eval.tables and eval.plots on made-up run directories.

python -m pytest tests/test_tables.py
"""

import csv
import math

import numpy as np
import pytest

from eval import plots, tables
from unlearn.runs import write_json


def make_run(runs, objective="npo", tuner="grun", seed=42, split="forget10", evaluated="forget10", **more):
    """A finished run whose summary on `evaluated` is `more`; None: not evaluated. `more` may name the run, too."""
    place, model, variant = more.pop("place", "authors"), more.pop("model", "tiny"), more.pop("variant", "")
    method = objective if tuner == "-" else f"{objective}-{tuner}"
    path = runs / place / model / split / "-".join(part for part in (method, variant, f"seed{seed}") if part)
    config = {"benchmark": place.partition(",")[0], "place": place, "model": model, "split": split, "seed": seed}
    write_json(path / "config.json", config | {"objective": objective, "tuner": tuner, "variant": variant})
    write_json(path / "result.json", {"trainable_params": 20992, "train_seconds": 12.34})
    (path / "DONE").touch()
    if evaluated:
        add_evaluation(path, evaluated, **more)
    return path


def add_evaluation(path, split, **summary):
    write_json(path / "eval" / split / "forget.json", {"rows": []})
    write_json(path / "eval" / split / "summary.json", {"truth_ratio_variant": "tofu_official"} | summary)


def target_and_reference(runs):
    make_run(runs, "target", "-", split="full", forget_rouge=0.99, forget_quality=1e-9, forget_quality_log10p=-9.0)
    make_run(runs, "reference", "-", split="retain90", forget_rouge=0.4, forget_quality=1.0, forget_quality_log10p=0.0)


def read_csv(runs):
    with open(runs / "tables" / "tofu.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_names_order_and_missing_cells(tmp_path):
    """The promised columns in the promised order; target and reference first, then sorted; missing cells are empty."""
    make_run(tmp_path, "npo", "grun", variant="rank=8,gate=mlp_3", forget_rouge=0.1)
    make_run(tmp_path, "npo", "full", forget_rouge=0.2)
    make_run(tmp_path, "gd", "lora", forget_rouge=0.3, heldout_rouge=0.5)
    target_and_reference(tmp_path)
    tables.tabulate(tmp_path)
    rows = read_csv(tmp_path)
    names = list(rows[0])
    key = ["benchmark", "model", "split", "objective", "tuner", "variant", "seeds"]
    assert names[:11] == [*key, "forget_rouge", "forget_prob", "forget_truth_ratio", "retain_rouge"]
    costs = [
        "heldout_rouge",
        "heldout_gate_fpr",
        "model_utility",
        "forget_quality",
        "trainable_params",
        "train_seconds",
    ]
    assert [name for name in names if name in costs] == costs
    assert [name.endswith("_ci95") for name in names] == sorted(name.endswith("_ci95") for name in names)
    assert [tuple(row[name] for name in key) for row in rows] == [
        ("authors", "tiny", "forget10", "target", "-", "", "1"),
        ("authors", "tiny", "forget10", "reference", "-", "", "1"),
        ("authors", "tiny", "forget10", "gd", "lora", "", "1"),
        ("authors", "tiny", "forget10", "npo", "full", "", "1"),
        ("authors", "tiny", "forget10", "npo", "grun", "rank=8,gate=mlp_3", "1"),
    ]
    assert (rows[2]["heldout_rouge"], rows[3]["heldout_rouge"], rows[3]["forget_rouge_ci95"]) == ("0.5", "", "")
    assert (rows[0]["trainable_params"], rows[0]["train_seconds"], rows[0]["forget_quality"]) == (
        "20992",
        "12.34",
        "1e-09",
    )
    assert {row["truth_ratio_variant"] for row in rows} == {"tofu_official"}


def test_seeds_become_mean_and_interval(tmp_path):
    """.1, .2, .3: mean .2, s = .1, t(.975, 2) = 4.302653, half-width 4.302653 * .1 / sqrt(3) = .248414. A metric that
    one seed lacks is missing, not the mean of the other two."""
    for seed, rouge in ((42, 0.1), (43, 0.2), (44, 0.3)):
        more = {} if seed == 44 else {"retain_rouge": 0.9}
        make_run(tmp_path, seed=seed, forget_rouge=rouge, forget_gate=[0.5, rouge], **more)
    printed = tables.tabulate(tmp_path)
    (row,) = read_csv(tmp_path)
    assert (row["seeds"], float(row["forget_rouge"])) == ("3", pytest.approx(0.2))
    assert float(row["forget_rouge_ci95"]) == pytest.approx(4.302653 * 0.1 / math.sqrt(3), abs=1e-6)
    assert (float(row["forget_gate_2"]), float(row["forget_gate_1_ci95"])) == (pytest.approx(0.2), 0.0)
    assert (row["retain_rouge"], row["retain_rouge_ci95"]) == ("", "")
    assert "npo-grun (3 seeds)" in printed and "0.200\u00b1.248" in printed and "0.500/0.200" in printed


def test_markdown_has_one_row_per_method_and_names_the_truth_ratio(tmp_path):
    target_and_reference(tmp_path)
    make_run(tmp_path, forget_rouge=0.123456, forget_paraphrased_rouge=0.777, heldout_gate_fpr=0.25)
    tables.tabulate(tmp_path)
    text = (tmp_path / "tables" / "tofu.md").read_text(encoding="utf-8")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    header, methods = lines[0], {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}
    assert header[1:5] == [f"ROUGE-L {name}" for name in ("forget\u2193", "retain\u2191", "real\u2191", "world\u2191")]
    assert [name.partition(" ")[0] for name in header[1:25:4]] == [
        "ROUGE-L",
        "prob",
        "truth",
        "gate",
        "gate",
        "paraphrased",
    ]
    assert "truth ratio (tofu_official) forget\u2191" in header
    assert list(methods) == ["target", "reference", "npo-grun"]
    cells = methods["npo-grun"]
    assert (cells["ROUGE-L forget\u2193"], cells["paraphrased forget ROUGE-L\u2193"]) == ("0.123", "0.777")
    assert (cells["held-out retain gate > .5\u2193"], cells["prob retain\u2191"]) == ("0.250", "-")
    assert (methods["target"]["forget quality\u2191"], cells["trainable\u2193"]) == ("1.0e-09", "20,992")


def test_latex_is_escaped_and_its_caption_names_the_truth_ratio(tmp_path):
    for seed in (1, 2):
        make_run(tmp_path, seed=seed, variant="gate=mlp_3", truth_ratio_variant="grun", forget_rouge=seed / 10)
    tables.tabulate(tmp_path)
    text = (tmp_path / "tables" / "tofu.tex").read_text(encoding="utf-8")
    assert "\\caption{authors, tiny, forget10." in text and "Truth ratio: grun." in text
    assert "npo-grun-gate=mlp\\_3 (2 seeds)" in text and "0.150$\\pm$.635" in text  # t(.975, 1) = 12.7062, times .05
    assert (
        "forget$\\downarrow$ & retain$\\uparrow$" in text.split("real")[2]
    )  # GRUN's forget ratio is better when lower
    assert text.count("{") == text.count("}") and text.isascii() and " 95 \\% " in text


def test_rows_of_target_reference_and_runs_stand_on_the_splits_they_belong_to(tmp_path):
    """The target counts on every split it was evaluated on; retain90's reference on forget10 only, though its rows on
    forget05 exist; a forget10 run on forget10 only. Other sizes of the benchmark make another section."""
    target = make_run(tmp_path, "target", "-", split="full", forget_rouge=0.9)
    reference = make_run(tmp_path, "reference", "-", split="retain90", forget_rouge=0.4)
    run = make_run(tmp_path, forget_rouge=0.1)
    for path in (target, reference, run):
        add_evaluation(path, "forget05", forget_rouge=0.8)
    make_run(tmp_path, place="authors,authors=12", forget_rouge=0.1)
    printed = tables.tabulate(tmp_path)
    assert [(row["benchmark"], row["split"], row["objective"]) for row in read_csv(tmp_path)] == [
        ("authors", "forget05", "target"),
        ("authors", "forget10", "target"),
        ("authors", "forget10", "reference"),
        ("authors", "forget10", "npo"),
        ("authors,authors=12", "forget10", "npo"),
    ]
    assert "No evaluated reference for authors, tiny, forget05." in printed
    assert "No evaluated target for authors,authors=12, tiny, forget10." in printed


def test_finished_runs_without_evaluation_are_named_and_unfinished_ones_ignored(tmp_path):
    make_run(tmp_path, forget_rouge=0.1)
    make_run(tmp_path, "idk", "grun", evaluated=None)
    make_run(tmp_path, "gd", "grun", evaluated="forget05", forget_rouge=0.2)  # but not on its own split
    (make_run(tmp_path, "gd", "full", forget_rouge=0.3) / "DONE").unlink()
    printed = tables.tabulate(tmp_path)
    assert "evaluated: authors/tiny/forget10/gd-grun-seed42, authors/tiny/forget10/idk-grun-seed42." in " ".join(
        printed.split()
    )
    assert [row["objective"] for row in read_csv(tmp_path)] == ["npo"]


def test_blocks_keep_to_the_width(tmp_path):
    """At 80 characters four blocks or more, at 2000 a single one; every block names every method."""
    target_and_reference(tmp_path)
    make_run(tmp_path, forget_rouge=0.1)
    for width, expected in ((80, range(4, 12)), (2000, range(1, 2))):
        table, _, _ = tables.tabulate(tmp_path, width=width).partition("\n\n\u2191 higher is better")
        title, *blocks = table.split("\n\n")
        assert title == "== authors, tiny, forget10" and len(blocks) in expected
        assert max(map(len, table.splitlines())) <= width
        for block in blocks:
            assert [line.split()[0] for line in block.splitlines()[-3:]] == ["target", "reference", "npo-grun"]


def test_what_cannot_be_tabulated_honestly_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no evaluated run of authors, tofu"):
        tables.tabulate(tmp_path)
    make_run(tmp_path, forget_rouge=0.1)
    copy = make_run(tmp_path / "copy", forget_rouge=0.1)
    with pytest.raises(ValueError, match="the same run, keep one"):
        tables.tabulate(tmp_path)
    (copy / "DONE").unlink()
    make_run(tmp_path, "gd", "full", truth_ratio_variant="grun")
    with pytest.raises(ValueError, match="mix the truth ratios grun, tofu_official.*python -m eval.summary"):
        tables.tabulate(tmp_path)


def test_the_command_filters_by_benchmark_and_refuses_abbreviated_flags(tmp_path, capsys):
    make_run(tmp_path, forget_rouge=0.1)
    make_run(tmp_path, "gd", "full", place="tofu", forget_rouge=0.1)
    tables.command(["--runs", str(tmp_path), "--benchmark", "tofu"])
    assert [row["benchmark"] for row in read_csv(tmp_path)] == ["tofu"]
    assert "== tofu, tiny, forget10" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        tables.command(["--bench", "tofu"])


def test_gates_are_plotted_per_run_layer_and_set(tmp_path):
    """A panel holds the values of the files, [N, L], under the layers of result.json; a run without gates has none."""
    plain = make_run(tmp_path, "gd", "full")
    write_json(plain / "eval" / "forget10" / "forget.json", {"rows": [{"index": 0}]})
    assert plots.plot_gates(tmp_path) is None
    run = make_run(tmp_path)
    write_json(run / "result.json", {"layers": [3, 7]})
    gates = {"forget": [[0.9, 1.0], [0.8, 0.6]], "heldout": [[0.1, 0.7]]}
    for name, values in gates.items():
        rows = [{"index": i, "gates": value} for i, value in enumerate(values)]
        write_json(run / "eval" / "forget10" / f"{name}.json", {"rows": rows})
    ((title, layers, found),) = plots.gated(tmp_path)
    assert (title, layers) == ("npo-grun-seed42\nauthors, tiny, forget10", ["layer 3", "layer 7"])
    assert found.keys() == gates.keys()
    assert all(np.array_equal(found[name], gates[name]) for name in gates)
    assert plots.plot_gates(tmp_path).read_bytes().startswith(b"\x89PNG")

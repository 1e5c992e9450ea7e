"""eval.report.tables and eval.report.plots on made-up run directories.

python -m pytest tests/test_tables.py
"""

import csv
import json
import math

import numpy as np
import pytest

from eval.report import plots, tables
from unlearn.config.run_directory import read_json, write_json


def make_run(
    runs, objective="npo", tuner="grun", seed=42, split="forget10", evaluated="forget10", **more
):
    """A finished run whose summary on `evaluated` is `more`; None: not evaluated. `more` may name
    the run, too."""
    benchmark_id = more.pop("benchmark_id", "authors")
    model = more.pop("model", "tiny")
    variant = more.pop("variant", "")
    method = objective if tuner == "-" else f"{objective}-{tuner}"
    path = (
        runs
        / benchmark_id
        / model
        / split
        / "-".join(part for part in (method, variant, f"seed{seed}") if part)
    )
    config = {
        "benchmark": benchmark_id.partition(",")[0],
        "benchmark_id": benchmark_id,
        "model": model,
        "split": split,
        "seed": seed,
    }
    write_json(
        path / "config.json", config | {"objective": objective, "tuner": tuner, "variant": variant}
    )
    write_json(path / "result.json", {"trainable_params": 20992, "train_seconds": 12.34})
    (path / "DONE").touch()
    if evaluated:
        add_evaluation(path, evaluated, **more)
    return path


def add_evaluation(path, split, **summary):
    write_json(path / "eval" / split / "forget.json", {"rows": []})
    write_json(
        path / "eval" / split / "summary.json", {"truth_ratio_variant": "tofu_official"} | summary
    )


def target_and_reference(runs):
    make_run(
        runs,
        "target",
        "-",
        split="full",
        forget_rouge=0.99,
        forget_quality=1e-9,
        forget_quality_log10p=-9.0,
    )
    make_run(
        runs,
        "reference",
        "-",
        split="retain90",
        forget_rouge=0.4,
        forget_quality=1.0,
        forget_quality_log10p=0.0,
    )


def read_csv(runs):
    with open(runs / "tables" / "tofu.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_names_order_and_missing_cells(tmp_path):
    """The promised columns in the promised order; target and reference first, then sorted; missing
    cells are empty."""
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
    assert [name.endswith("_ci95") for name in names] == sorted(
        name.endswith("_ci95") for name in names
    )
    assert [tuple(row[name] for name in key) for row in rows] == [
        ("authors", "tiny", "forget10", "target", "-", "", "1"),
        ("authors", "tiny", "forget10", "reference", "-", "", "1"),
        ("authors", "tiny", "forget10", "gd", "lora", "", "1"),
        ("authors", "tiny", "forget10", "npo", "full", "", "1"),
        ("authors", "tiny", "forget10", "npo", "grun", "rank=8,gate=mlp_3", "1"),
    ]
    assert (rows[2]["heldout_rouge"], rows[3]["heldout_rouge"], rows[3]["forget_rouge_ci95"]) == (
        "0.5",
        "",
        "",
    )
    assert (rows[0]["trainable_params"], rows[0]["train_seconds"], rows[0]["forget_quality"]) == (
        "20992",
        "12.34",
        "1e-09",
    )
    assert {row["truth_ratio_variant"] for row in rows} == {"tofu_official"}


def test_seeds_become_mean_and_interval(tmp_path):
    """.1, .2, .3: mean .2, s = .1, t(.975, 2) = 4.302653, half-width 4.302653 * .1 / sqrt(3) =
    .248414. A metric that one seed lacks is missing, not the mean of the other two."""
    for seed, rouge in ((42, 0.1), (43, 0.2), (44, 0.3)):
        more = {} if seed == 44 else {"retain_rouge": 0.9}
        make_run(tmp_path, seed=seed, forget_rouge=rouge, forget_gate=[0.5, rouge], **more)
    printed = tables.tabulate(tmp_path)
    (row,) = read_csv(tmp_path)
    assert (row["seeds"], float(row["forget_rouge"])) == ("3", pytest.approx(0.2))
    assert float(row["forget_rouge_ci95"]) == pytest.approx(4.302653 * 0.1 / math.sqrt(3), abs=1e-6)
    assert (float(row["forget_gate_2"]), float(row["forget_gate_1_ci95"])) == (
        pytest.approx(0.2),
        0.0,
    )
    assert (row["retain_rouge"], row["retain_rouge_ci95"]) == ("", "")
    assert (
        "npo-grun (3 seeds)" in printed
        and "0.200\u00b1.248" in printed
        and "0.500/0.200" in printed
    )


def markdown_tables(path):
    """heading -> method -> column -> cell."""
    found = {}
    for part in path.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading, *rest = part.splitlines()
        lines = [
            [cell.strip() for cell in line.split("|")[1:-1]]
            for line in rest
            if line.startswith("|")
        ]
        found[heading] = {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}
    return found


def test_markdown_has_a_table_for_each_theme_and_a_row_per_method(tmp_path):
    """The gates' table has rows of gated models alone; a theme of which nothing was measured is
    left out."""
    target_and_reference(tmp_path)
    make_run(tmp_path, forget_rouge=0.123456, forget_paraphrased_rouge=0.777, heldout_gate_fpr=0.25)
    tables.tabulate(tmp_path)
    found = markdown_tables(tmp_path / "tables" / "tofu.md")
    section = "authors, tiny, forget10: "
    assert list(found) == [
        section + theme
        for theme in ("overview", "every set", "paraphrased and held-out questions", "gates")
    ]
    every = found[section + "every set"]
    assert list(every) == list(found[section + "overview"]) == ["target", "reference", "npo-grun"]
    header = list(every["target"])
    assert header[1:5] == [
        f"ROUGE-L {name}" for name in ("forget\u2193", "retain\u2191", "real\u2191", "world\u2191")
    ]
    assert [name.partition(" ")[0] for name in header[1::4]] == [
        "ROUGE-L",
        "prob",
        "truth",
    ] and "truth ratio (tofu_official) forget\u2191" in header
    assert (every["npo-grun"]["ROUGE-L forget\u2193"], every["npo-grun"]["prob retain\u2191"]) == (
        "0.123",
        "-",
    )
    assert (
        found[section + "paraphrased and held-out questions"]["npo-grun"][
            "ROUGE-L paraphrased forget\u2193"
        ]
        == "0.777"
    )
    assert {
        name: row["gate > .5 held-out retain\u2193"]
        for name, row in found[section + "gates"].items()
    } == {"npo-grun": "0.250"}
    target = found[section + "overview"]["target"]
    assert (target["forget quality\u2191"], target["cost trainable\u2193"]) == ("1.0e-09", "20,992")
    assert all(
        len(row) <= 13 for rows in found.values() for row in rows.values()
    )  # as many as a screen takes


def test_latex_is_escaped_and_its_caption_names_the_truth_ratio(tmp_path):
    for seed in (1, 2):
        make_run(
            tmp_path,
            seed=seed,
            variant="gate=mlp_3",
            truth_ratio_variant="grun",
            forget_rouge=seed / 10,
        )
    tables.tabulate(tmp_path)
    text = (tmp_path / "tables" / "tofu.tex").read_text(encoding="utf-8")
    assert "\\caption{authors, tiny, forget10: overview." in text and "Truth ratio: grun." in text
    assert (
        "npo-grun-gate=mlp\\_3 (2 seeds)" in text and "0.150$\\pm$.635" in text
    )  # t(.975, 1) = 12.7062, times .05
    (every,) = (part for part in text.split("\\begin{sidewaystable}") if ": every set." in part)
    assert (
        "forget$\\downarrow$ & retain$\\uparrow$" in every.split("real")[2]
    )  # GRUN's forget ratio is better when lower
    assert text.count("{") == text.count("}") and text.isascii() and " 95 \\% " in text


def test_rows_of_target_reference_and_runs_stand_on_the_splits_they_belong_to(tmp_path):
    """The target counts on every split it was evaluated on; retain90's reference on forget10 only,
    though its rows on forget05 exist; a forget10 run on forget10 only. Other sizes of the benchmark
    make another section."""
    target = make_run(tmp_path, "target", "-", split="full", forget_rouge=0.9)
    reference = make_run(tmp_path, "reference", "-", split="retain90", forget_rouge=0.4)
    run = make_run(tmp_path, forget_rouge=0.1)
    for path in (target, reference, run):
        add_evaluation(path, "forget05", forget_rouge=0.8)
    make_run(tmp_path, benchmark_id="authors,authors=12", forget_rouge=0.1)
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
    make_run(
        tmp_path, "gd", "grun", evaluated="forget05", forget_rouge=0.2
    )  # but not on its own split
    (make_run(tmp_path, "gd", "full", forget_rouge=0.3) / "DONE").unlink()
    printed = tables.tabulate(tmp_path)
    assert (
        "evaluated: authors/tiny/forget10/gd-grun-seed42, authors/tiny/forget10/idk-grun-seed42."
        in " ".join(printed.split())
    )
    assert [row["objective"] for row in read_csv(tmp_path)] == ["npo"]


def test_blocks_keep_to_the_width(tmp_path):
    """At 80 characters more blocks than at 2000, where each theme is one; every block names every
    method."""
    target_and_reference(tmp_path)
    make_run(tmp_path, forget_rouge=0.1, heldout_rouge=0.2)
    counts = []
    for width in (80, 2000):
        table, _, _ = tables.tabulate(tmp_path, width=width).partition(
            "\n\n\u2191 higher is better"
        )
        titles = [block for block in table.split("\n\n") if block.startswith("== ")]
        blocks = [block for block in table.split("\n\n") if not block.startswith("== ")]
        assert titles == [
            f"== authors, tiny, forget10: {theme}"
            for theme in ("overview", "every set", "paraphrased and held-out questions")
        ]
        assert max(map(len, table.splitlines())) <= width
        counts.append(len(blocks))
        for block in blocks:
            assert [line.split()[0] for line in block.splitlines()[-3:]] == [
                "target",
                "reference",
                "npo-grun",
            ]
    assert counts[0] > counts[1] == 3


def sweep(runs, rates, seeds=(1, 2), checks=True, **more):
    """Runs at these learning rates: rate -> (forget loss, retain loss) of their last check; before,
    retain loss was 1. Seed 2's forget loss is 2 more."""
    for rate, (forget, retain) in rates.items():
        for seed in seeds:
            path = make_run(
                runs,
                "npo",
                "lora",
                seed=seed,
                variant=f"rank=8,lr={rate}",
                forget_rouge=rate,
                **more,
            )
            config = read_json(path / "config.json")
            write_json(
                path / "config.json",
                config | {"flags": {"lr": {"value": rate}, "keep": {"value": "last"}}},
            )
            last = {"step": 9, "forget": forget + (2 if seed == 2 else 0), "retain": retain}
            records = [
                {"step": 0, "check": {"step": 0, "forget": 0.5, "retain": 1.0}},
                {"step": 8, "loss": 1.0},
                {"step": 9, "check": last},
            ]
            (path / "log.jsonl").write_text(
                "".join(
                    json.dumps(record) + "\n"
                    for record in records
                    if checks or "check" not in record
                )
            )


def test_the_learning_rate_is_kept_by_losses_on_training_data(tmp_path):
    """Retain loss may rise from 1 to 1.1. Of .001 (forget loss 2, 4 by seed: 3) and .01 (4, 6: 5)
    the latter is kept; .1 forgets more, but costs 1.2, though its test metrics here are better."""
    sweep(tmp_path, {0.001: (2, 1.0), 0.01: (4, 1.09), 0.1: (9, 1.2)}, model_utility=0.5)
    make_run(tmp_path, "gd", "full", forget_rouge=0.3)
    printed = " ".join(tables.tabulate(tmp_path).split())
    kept = {row["variant"]: row["kept"] for row in read_csv(tmp_path)}
    assert kept == {
        "": "",
        "rank=8,lr=0.001": "False",
        "rank=8,lr=0.01": "True",
        "rank=8,lr=0.1": "False",
    }
    assert (
        "npo-lora-rank=8,lr=0.01 (2 seeds) (kept)" in printed
        and "lr=0.1 (2 seeds) (kept)" not in printed
        and "at most 0.1 nats a token" in printed
    )
    rates = markdown_tables(tmp_path / "tables" / "tofu.md")[
        "authors, tiny, forget10: learning rates"
    ]
    told = [
        ["3.000", "1.000", "1.000", "no"],
        ["5.000", "1.000", "1.090", "yes"],
        ["10.000", "1.000", "1.200", "no"],
    ]
    assert [list(row.values())[1:] for row in rates.values()] == told
    assert plots.plot_tradeoff(tmp_path).read_bytes().startswith(b"\x89PNG")


def test_where_every_rate_costs_too_much_the_cheapest_is_kept(tmp_path):
    sweep(tmp_path, {0.01: (4, 1.3), 0.1: (9, 1.2)})
    tables.tabulate(tmp_path)
    assert {row["variant"]: row["kept"] for row in read_csv(tmp_path)} == {
        "rank=8,lr=0.01": "False",
        "rank=8,lr=0.1": "True",
    }


def test_a_sweep_without_losses_on_training_data_is_not_decided_by_test_metrics(tmp_path):
    sweep(tmp_path, {0.01: (4, 1.0), 0.1: (9, 1.0)}, checks=False)
    printed = " ".join(tables.tabulate(tmp_path).split())
    assert "No learning rate is chosen for npo-lora" in printed and "--eval_steps" in printed
    assert {row["kept"] for row in read_csv(tmp_path)} == {""}


def test_what_cannot_be_tabulated_honestly_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no evaluated run of authors, tofu"):
        tables.tabulate(tmp_path)
    make_run(tmp_path, forget_rouge=0.1)
    copy = make_run(tmp_path / "copy", forget_rouge=0.1)
    with pytest.raises(ValueError, match="the same run, keep one"):
        tables.tabulate(tmp_path)
    (copy / "DONE").unlink()
    make_run(tmp_path, "gd", "full", truth_ratio_variant="grun")
    with pytest.raises(
        ValueError, match="mix the truth ratios grun, tofu_official.*python -m eval.report.summary"
    ):
        tables.tabulate(tmp_path)


def test_the_command_filters_by_benchmark_and_refuses_abbreviated_flags(tmp_path, capsys):
    make_run(tmp_path, forget_rouge=0.1)
    make_run(tmp_path, "gd", "full", benchmark_id="tofu", forget_rouge=0.1)
    tables.main(["--runs", str(tmp_path), "--benchmark", "tofu"])
    assert [row["benchmark"] for row in read_csv(tmp_path)] == ["tofu"]
    assert "== tofu, tiny, forget10" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        tables.main(["--bench", "tofu"])


def test_gates_are_plotted_per_run_layer_and_set(tmp_path):
    """A panel holds the values of the files, [N, L], under the layers of result.json; a run without
    gates has none."""
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

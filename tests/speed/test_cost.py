"""Estimated hours and memory of the papers' tables: by hand, and as the page says."""

import json

import pytest

from speed.cost import CostOptions, estimate, estimate_seconds, main
from tests.toy import ROOT
from unlearn.grid.papers import PAPERS
from unlearn.grid.plans import plan
from unlearn.grid.variables import read_variables

LLAMA, ZEPHYR = 8.03e9, 7.24e9
SPEED = 312e12 * 0.4  # FLOPs a second of the default GPU
TEXT = 70  # tokens


def seconds(script, **variables):
    return estimate_seconds(plan(read_variables(script, variables), []), CostOptions())


def test_question_cells_by_hand():
    """Five epochs of 4000 rows for the target; ten of 200 pairs for a baseline; NPO's reference is
    a forward pass of the forget rows."""
    cell = {"BENCHMARK": "tofu", "MODELS": "llama3.1-8b", "SPLITS": "forget05", "CONTROLS": ""}
    full = seconds("baseline", **cell, LOSSES="gd", TUNERS="full")
    assert full["models"] == pytest.approx(6 * LLAMA * 5 * 4000 * TEXT / SPEED)
    pairs = 10 * 200 * TEXT * LLAMA / SPEED
    assert full["cells"] == pytest.approx(12 * pairs)
    lora = seconds("baseline", **cell, LOSSES="npo", TUNERS="lora")
    assert lora["cells"] == pytest.approx((8 + 2) * pairs)
    grun = seconds("grun", BENCHMARK="tofu", MODELS="llama3.1-8b", SPLITS="forget10", LOSSES="idk")
    assert grun["cells"] == pytest.approx(8 * 4 * 2 * pairs)  # 40 epochs of 400 rows


def test_rmu_cells_by_hand():
    """Adaptive RMU: 500 batches of 4 texts of 512 tokens, up to block 7 of 32."""
    found = seconds("wmdp", MODELS="zephyr-7b", TUNERS="adaptive_rmu", LOSSES="")
    assert found["models"] == 0
    assert found["cells"] == pytest.approx(10 * ZEPHYR * 8 / 32 * 500 * 4 * 512 / SPEED)


def test_memory_tells_targets_from_adapters():
    memory = estimate("grun-rank", "grun", CostOptions())["memory_gib"]
    assert memory == {"models": 120, "cells": 15}  # 16 and 2 bytes a parameter
    assert estimate("adaptive-rmu", "wmdp", CostOptions())["memory_gib"]["models"] == 0


def test_command_writes_its_table(tmp_path, capsys):
    main(["--runs", str(tmp_path), "--papers", "adaptive-rmu", "--utilisation", "0.2"])
    saved = json.loads((tmp_path / "speed/cost.json").read_text(encoding="utf-8"))
    assert [figure["cells"] for figure in saved["estimates"]] == [2]
    assert "not measured" in saved["about"] and "20%" in saved["about"]
    assert "adaptive-rmu bash cmd_wmdp.sh" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--papers grun: no such table"):
        main(["--papers", "grun"])


def test_page_has_the_estimates():
    """docs/reproduce.md: hours of targets, cells and evaluation, GiB of targets and cells."""
    page = (ROOT / "docs/reproduce.md").read_text(encoding="utf-8")
    for name, table in PAPERS.items():
        for script in table.scripts:
            figures = estimate(name, script, CostOptions())
            hours = " + ".join(f"{value:.2f}" for value in figures["hours"].values())
            memory = "; ".join(str(value or "-") for value in figures["memory_gib"].values())
            row = f"| `{figures['command']}` | {figures['cells']} | {hours} | {memory} |"
            assert row in page, row

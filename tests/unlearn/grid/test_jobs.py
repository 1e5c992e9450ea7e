"""JOBS changes no number: real GRUN cells, alone and side by side."""

import os
import sys

import pytest

from tests.toy import AUTHORS_FLAGS, AUTHORS_FOLDER
from unlearn.grid.plans import plan
from unlearn.grid.run import GridRun
from unlearn.grid.variables import read_variables


@pytest.mark.slow
def test_cells_side_by_side_are_those_of_one_after_another(toy_runs, tmp_path, monkeypatch):
    """Adapters byte for byte, with one thread each."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    target = str(toy_runs / AUTHORS_FOLDER / "full" / "target-seed42")
    flags = [*AUTHORS_FLAGS, "--target", target, "--layers", "1", "2", "--steps", "3"]
    adapters = {}
    for jobs in ("1", "2"):
        given = {"JOBS": jobs, "LOSSES": "gd idk", "SEEDS": "1 2", "RUNS": str(tmp_path / jobs)}
        variables = read_variables("grun", given)
        cells = [command for command in plan(variables, flags) if command.stage == "cells"]
        environment = {**os.environ, "PY": sys.executable, "OMP_NUM_THREADS": "1"}
        assert GridRun(cells, variables.runs, int(jobs), environment).run(checked=True) == 0
        files = sorted((tmp_path / jobs).rglob("adapter.safetensors"))
        adapters[jobs] = {path.parents[1].name: path.read_bytes() for path in files}
    assert len(adapters["1"]) == 4
    assert adapters["1"] == adapters["2"]

"""Another data folder, or an edited file, is another run."""

import json
import os
import shutil

import pytest

from eval.evaluators.registry import build_evaluation
from grun.options import GrunConfig
from tests.unlearn.benchmarks.tofu_rows import build_author_rows, write_split
from unlearn.config.experiment import build_experiment
from unlearn.config.files import write_json
from unlearn.config.run_directory import Run

FOLDER = {"benchmark": "tofu", "model": "tiny", "split": "forget01"}


@pytest.fixture
def folders(tmp_path):
    """Two folders in TOFU's layout that differ in one answer."""
    for number in (1, 2):
        folder = tmp_path / f"data{number}"
        folder.mkdir()
        rows = build_author_rows(0)
        rows[0]["answer"] += " Often." * number
        write_split(folder, "full", rows)
    return tmp_path / "data1", tmp_path / "data2"


def unlearn(folder, runs, **more):
    given = FOLDER | {"data_dir": str(folder), "runs": str(runs)} | more
    return build_experiment(GrunConfig, given)


def finish(experiment, objective="gd"):
    """A run that counts as finished, of this experiment."""
    run = experiment.run(objective, "grun")
    write_json(run.path / "config.json", experiment.description(objective, "grun"))
    (run.path / "DONE").touch()
    return run


def test_two_folders_stand_side_by_side(folders, tmp_path):
    runs = [unlearn(folder, tmp_path / "runs").run("gd", "grun").path for folder in folders]
    benchmarks = [path.relative_to(tmp_path / "runs").parts[0] for path in runs]
    assert benchmarks[0] != benchmarks[1]
    assert all(len(name) == len("tofu,data=1a2b3c4d") for name in benchmarks)


def test_contents_count_and_paths_and_times_do_not(folders, tmp_path):
    """An edited file is another directory; a moved, touched or enlarged folder is not."""
    first = unlearn(folders[0], tmp_path).benchmark_id
    moved = shutil.copytree(folders[0], tmp_path / "moved")
    os.utime(moved / "full.json", (1, 1))
    (moved / "notes.txt").write_text("not read")
    assert unlearn(moved, tmp_path).benchmark_id == first
    write_split(moved, "full", build_author_rows(3))
    assert unlearn(moved, tmp_path).benchmark_id != first


def test_refusals_are_read_by_content(tmp_path):
    """--idk_file is named by its path, and its contents are in the run's key."""
    refusals = tmp_path / "no.txt"
    keys = []
    for text in ("No.", "Never."):
        refusals.write_text(text)
        experiment = build_experiment(GrunConfig, {"idk_file": str(refusals)})
        keys.append(json.dumps(experiment.config_key))
    assert keys[0] != keys[1]


def test_evaluation_finds_the_data_of_the_runs(folders, tmp_path):
    """Without --data_dir those of the cell's runs are taken, and of two folders none."""
    runs = tmp_path / "runs"
    finish(unlearn(folders[0], runs))
    given = FOLDER | {"runs": str(runs)}
    _, experiment = build_evaluation(given)
    assert experiment.config.data.data_dir == str(folders[0])
    finish(unlearn(folders[1], runs))
    with pytest.raises(ValueError, match="hold runs on different files; name those you mean"):
        build_evaluation(given)
    _, experiment = build_evaluation(given | {"data_dir": str(folders[1])})
    assert experiment.benchmark_id == unlearn(folders[1], runs).benchmark_id


def test_evaluation_of_one_run_takes_its_cell(folders, tmp_path):
    run = finish(unlearn(folders[0], tmp_path / "runs", authors=4))
    _, experiment = build_evaluation({"only": [str(run.path)]})
    assert experiment.config.data.authors == 4 and experiment.values["split"] == "forget01"
    with pytest.raises(ValueError, match="was made from other data .* train it again"):
        build_evaluation({"only": [str(run.path)], "data_dir": str(folders[1])})
    shutil.rmtree(folders[0])
    with pytest.raises(ValueError, match="no such folder"):
        build_evaluation({"only": [str(Run(run.path).path)]})

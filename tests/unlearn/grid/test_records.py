"""A second start: nothing is started, unless something has changed."""

import os
import shutil

import pytest

from tests.unlearn.grid.conftest import find_run, name_modules
from unlearn.grid import records

EVERYTHING = ["unlearn.training.finetune", "grun.train", "eval.run", "eval.report"]
CELL = "authors/tiny/forget10/gd*"


@pytest.fixture
def finished(start):
    """A finished start of one GRUN cell."""
    code, calls = start("grun", LOSSES="gd")
    assert (code, name_modules(calls)) == (0, EVERYTHING)
    return start


def test_second_start_starts_nothing_and_says_the_same(finished, capsys):
    capsys.readouterr()
    assert finished("grun", LOSSES="gd") == (0, [])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("+ ") for line in lines) == len(EVERYTHING)
    assert sum("skipped, finished before: " in line for line in lines) == 2
    assert "the table" in lines and "skipped, evaluated before" in lines


def remove_done(run):
    (run / "DONE").unlink()


def remove_run(run):
    shutil.rmtree(run)


def change_weights(run):
    """Same size, same modification time."""
    stat = (run / "weights").stat()
    (run / "weights").write_text("v")
    os.utime(run / "weights", ns=(stat.st_atime_ns, stat.st_mtime_ns))


def change_config(run):
    (run / "config.json").write_text('{"layout": 1}')


@pytest.mark.parametrize("change", [remove_done, remove_run, change_weights, change_config])
def test_a_changed_run_is_started_again(finished, change):
    change(find_run(finished.runs, CELL))
    assert "grun.train" in name_modules(finished("grun", LOSSES="gd")[1])


def test_a_removed_result_is_computed_again(finished):
    (find_run(finished.runs, CELL) / "eval" / "forget10" / "summary.json").unlink()
    assert name_modules(finished("grun", LOSSES="gd")[1]) == ["eval.run", "eval.report"]
    (finished.runs / "tables" / "tofu.md").unlink()
    assert name_modules(finished("grun", LOSSES="gd")[1]) == ["eval.report"]
    assert finished("grun", LOSSES="gd")[1] == []


def test_a_new_run_is_evaluated_and_reported(finished):
    assert name_modules(finished("grun", LOSSES="gd npo")[1]) == EVERYTHING[1:]
    assert finished("grun", LOSSES="gd")[1] == finished("grun", LOSSES="npo")[1] == []


def test_other_flags_are_another_command(finished):
    assert name_modules(finished("grun", "--rank", "8", LOSSES="gd")[1]) == ["grun.train"]
    assert "grun.train" in name_modules(finished("grun", "--overwrite", LOSSES="gd")[1])


def test_changed_sources_start_everything_again(finished, monkeypatch):
    monkeypatch.setattr(records, "digest_sources", lambda: "other")
    assert name_modules(finished("grun", LOSSES="gd")[1]) == EVERYTHING


def test_a_changed_data_folder_starts_its_commands_again(start, tmp_path):
    data = tmp_path / "data" / "deeper"
    data.mkdir(parents=True)
    (data / "full.json").write_text("1")
    variables = {"BENCHMARK": "tofu", "DATA_DIR": str(data.parent), "LOSSES": "gd"}
    assert name_modules(start("grun", **variables)[1]) == EVERYTHING
    assert start("grun", **variables)[1] == []
    (data / "full.json").write_text("2")
    assert name_modules(start("grun", **variables)[1])[:2] == EVERYTHING[:2]


def test_a_changed_file_of_a_flag_starts_its_command_again(start, tmp_path):
    refusals = tmp_path / "refusals"
    refusals.write_text("no")
    words = ("grun", f"--idk_file={refusals}")
    assert len(start(*words, LOSSES="gd")[1]) == len(EVERYTHING)
    refusals.write_text("never")
    assert "grun.train" in name_modules(start(*words, LOSSES="gd")[1])


def test_data_of_a_hub_are_read_by_the_program_each_time(start):
    for _ in range(2):
        assert "grun.train" in name_modules(start("grun", BENCHMARK="tofu", LOSSES="gd")[1])


def test_a_damaged_record_counts_as_none(finished):
    for path in (finished.runs / ".grid").iterdir():
        path.write_text("{")
    assert name_modules(finished("grun", LOSSES="gd")[1]) == EVERYTHING


def test_walk_ends_where_links_lead_back(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("")
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    assert list(records.walk(tmp_path)) == [tmp_path / "a" / "file"]

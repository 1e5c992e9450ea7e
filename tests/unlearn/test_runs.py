"""python -m unlearn.runs: what is listed, shown and deleted, and what never is."""

import json

import pytest

from unlearn import runs
from unlearn.config.locks import lock_directory, release_directory
from unlearn.config.run_directory import LAYOUT


def write_run(folder, layout=LAYOUT, done=True):
    folder.mkdir(parents=True)
    flags = {"rank": {"value": 8, "origin": "flag"}, "seed": {"value": 42, "origin": "default"}}
    config = {"layout": layout, "config_key": {}, "flags": flags}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "log.jsonl").write_text("")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    (folder / "result.json").write_text('{"steps": 4}')
    if done:
        (folder / "DONE").write_text("")
    return folder


@pytest.fixture
def root(tmp_path):
    """A folder of runs: a finished one, an unfinished one, one of an older layout; and others."""
    root = tmp_path / "runs"
    cell = root / "authors" / "tiny" / "forget10"
    write_run(cell / "gd-grun-seed42")
    write_run(cell / "npo-grun-seed42", done=False)
    write_run(root / "authors" / "old" / "idk-grun-seed42", layout=1)
    (root / "tables").mkdir()
    stranger = root / "my-model"  # not ours, though it has a config.json and a log
    stranger.mkdir()
    (stranger / "config.json").write_text("{}")
    (stranger / "log.jsonl").write_text("")
    elsewhere = write_run(tmp_path / "elsewhere" / "gd-full-seed1", done=False)
    (cell / "linked").symlink_to(elsewhere)
    return root


def run(root, *words):
    runs.main([*words, "--runs", str(root)])


def test_list_names_states_and_sizes(root, capsys):
    run(root, "list")
    *lines, last = capsys.readouterr().out.splitlines()
    states = {line.split()[-1]: line[:13].strip() for line in lines}
    assert states == {
        "authors/old/idk-grun-seed42": "older layout",
        "authors/tiny/forget10/gd-grun-seed42": "finished",
        "authors/tiny/forget10/npo-grun-seed42": "unfinished",
    }
    assert last.startswith(f"3 runs in {root}, ")


def test_show_prints_what_was_chosen(root, capsys):
    run(root, "show", "gd-grun-seed42")
    shown = capsys.readouterr().out
    assert "rank = 8  (flag)" in shown and "steps: 4" in shown and "seed =" not in shown
    with pytest.raises(ValueError, match="no run nothing"):
        run(root, "show", "nothing")


def test_clean_deletes_unfinished_and_old_runs_alone(root, tmp_path):
    run(root, "clean", "--yes")
    left = sorted(path.name for path in root.rglob("*-seed42"))
    assert left == ["gd-grun-seed42"]
    assert (root / "my-model" / "log.jsonl").exists()
    assert (tmp_path / "elsewhere" / "gd-full-seed1" / "config.json").exists()
    assert (root / "authors" / "tiny" / "forget10" / "linked").is_symlink()
    assert not (root / "authors" / "old").exists()


def test_clean_asks_and_deletes_nothing_on_no(root, monkeypatch, capsys):
    with pytest.raises(ValueError, match="pass --yes"):
        run(root, "clean")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "")
    run(root, "clean")
    assert "nothing was deleted" in capsys.readouterr().out
    assert len(list(root.rglob("*-seed42"))) == 3


def test_clean_leaves_a_run_that_is_being_worked_on(root, monkeypatch, capsys):
    monkeypatch.setattr(runs, "take_lock", lambda path: False)
    run(root, "clean", "--yes")
    assert capsys.readouterr().out.count("a command is working on it") == 2
    assert len(list(root.rglob("*-seed42"))) == 3


def test_clean_leaves_a_run_that_was_finished_meanwhile(root, capsys):
    (entry,) = [entry for entry in runs.find_entries(root) if entry.state == "unfinished"]
    (entry.path / "DONE").write_text("")
    assert not runs.delete(root, entry)
    assert entry.path.exists()


def test_lock_of_this_process_is_given_back(root):
    folder = root / "authors" / "tiny" / "forget10" / "npo-grun-seed42"
    lock_directory(folder)
    release_directory(folder)
    run(root, "clean", "--yes")
    assert not folder.exists()


@pytest.mark.parametrize("words", [["burn"], ["show"], ["list", "--rnk", "1"]])
def test_wrong_words_are_errors(root, words):
    with pytest.raises(ValueError):
        run(root, *words)


def test_a_folder_that_is_not_there_has_no_runs(tmp_path, capsys):
    run(tmp_path / "none", "list")
    assert capsys.readouterr().out.startswith("0 runs in ")

"""`requests show`: what a request forgets and where it comes from, later too."""

import json
import shutil

import pytest

from grun import train as grun_train
from grun.adapter.folder import AdapterConfig, read_folder, write_folder
from grun.request_origin import describe_origin, read_origin
from grun.request_stack import RequestStack
from tests.grun.request_cases import run_requests
from tests.toy import ANSWERS, QUESTIONS, only_run
from unlearn.benchmarks.opening import open_benchmark

DATA = {"authors": 10, "heldout": 2, "data_seed": 0}


@pytest.fixture
def run(runs):
    """A finished run with the flags of `DATA`."""
    return only_run(runs, "forget10/gd-grun-*")


@pytest.fixture(scope="module")
def own_run(runs, tmp_path_factory):
    """(a file of twelve rows, a finished run that was to forget the first two)."""
    rows = tmp_path_factory.mktemp("own") / "rows.jsonl"
    pairs = zip(QUESTIONS * 3, ANSWERS * 3, strict=True)
    texts = [json.dumps({"question": f"{q} ({n})", "answer": a}) for n, (q, a) in enumerate(pairs)]
    rows.write_text("\n".join(texts))
    target = only_run(runs, "full/target-*").path
    where = ["--benchmark", "own", "--data", str(rows), "--forget_rows", "0-1"]
    size = ["--layers", "1", "--steps", "1", "--batch", "2", "--objective", "gd"]
    grun_train.main([*where, *size, "--target", str(target), "--runs", str(runs)])
    (path,) = runs.glob("own,data=*/tiny/*/gd-grun-*")
    return rows, path


def show(stack, name, capsys) -> dict[str, str]:
    """Label -> text of what the command prints."""
    capsys.readouterr()
    run_requests(stack, "show", name)
    lines = capsys.readouterr().out.splitlines()
    return {label: text.strip() for label, _, text in (line.partition("  ") for line in lines)}


def test_show_says_what_is_forgotten_and_where_from(run, stack, capsys):
    run_requests(stack, "add", "alice", str(run.path))
    shown = show(stack, "alice", capsys)
    forget_set = open_benchmark("authors", **DATA).examples("forget10")
    assert shown["run"] == str(run.path)
    assert shown["data"] == "authors (authors 10, heldout 2, data_seed 0)"
    assert (shown["split"], shown["rows"]) == ("forget10", str(len(forget_set)))
    assert shown["entities"] == ", ".join(dict.fromkeys(e.entity for e in forget_set))
    assert (shown["objective"], shown["seed"]) == ("gd", "42")
    assert shown["added"].startswith("20")
    config, _ = read_folder(run.path / "adapter")
    assert shown["base"].endswith(f"(fingerprint {config.base['fingerprint']})")
    assert shown["size"].endswith("KiB")


def test_show_names_rows_of_your_own(own_run, stack, capsys):
    """Where the file is no longer what the run was made from, its rows are not told."""
    rows, run = own_run
    run_requests(stack, "add", "own", str(run))
    shown = show(stack, "own", capsys)
    assert f"data {rows}" in shown["data"] and "forget_rows 0-1" in shown["data"]
    assert (shown["split"], shown["rows"]) == ("forget_rows0-1", "2")
    assert shown["content"][:8] in str(run)
    rows.write_text(rows.read_text().replace("Ada", "Eve"))
    run_requests(stack, "add", "changed", str(run))
    changed = show(stack, "changed", capsys)
    assert (changed["rows"], changed["content"]) == ("-", shown["content"])


def test_show_needs_neither_run_nor_recipe_later(run, stack, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(run.path, moved)
    run_requests(stack, "add", "alice", str(moved))
    before = show(stack, "alice", capsys)
    shutil.rmtree(moved)
    assert show(stack, "alice", capsys) == before
    assert before["entities"] != "-"


def test_request_of_an_older_stack_is_described(run, stack, capsys):
    """Its index entry has no origin; the recipe inside the adapter tells most of it."""
    run_requests(stack, "add", "alice", str(run.path / "adapter"))
    index = json.loads((stack / "requests.json").read_text())
    del index["requests"][0]["origin"]
    index["requests"][0]["source"] = "gone"
    (stack / "requests.json").write_text(json.dumps(index))
    shown = show(stack, "alice", capsys)
    assert (shown["run"], shown["split"], shown["objective"]) == ("-", "forget10", "gd")


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"benchmark": ["authors"], "split": {}, "seed": 1.5},
        {"benchmark": "authors", "split": "forget99", "authors": "many"},
        {"benchmark": "authors", "split": "forget10", "data": "0123"},  # of files, not embedded
        {"benchmark": "own", "split": "forget", "data_dir": "/"},
        {"benchmark": "tofu", "split": "forget10"},  # not downloaded for this
    ],
)
def test_recipe_of_a_stranger_tells_nothing(adapters, stack, tmp_path, recipe, capsys):
    config, tensors = read_folder(adapters / "0")
    values = vars(config) | {"recipe": recipe}
    config = AdapterConfig(**values)
    (tmp_path / "strange").mkdir()
    write_folder(tmp_path / "strange", config, tensors)
    assert read_origin(tmp_path / "strange", config)["rows"] is None
    run_requests(stack, "add", "a", str(tmp_path / "strange"))
    assert show(stack, "a", capsys)["entities"] == "-"


def test_escape_sequences_are_printed_as_escapes(adapters, stack, capsys):
    run_requests(stack, "add", "a", str(adapters / "0"))
    stack_index = RequestStack(stack)
    stack_index.entries[0]["origin"] = {
        "split": "\x1b[2J",
        "entities": ["A\nB"],
        "data": {"\x07": 1},
    }
    stack_index.write()
    shown = show(stack, "a", capsys)
    assert (shown["split"], shown["entities"]) == (r"\x1b[2J", r"A\nB")
    assert shown["data"] == r"- (\x07 1)"


def test_many_entities_are_counted():
    shown = describe_origin({"entities": [f"Author {k}" for k in range(12)]})["entities"]
    assert shown.endswith("Author 9 and 2 more")

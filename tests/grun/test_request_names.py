"""Names that would lead out of a stack are refused, and nothing outside its folder changes."""

import json

import pytest

import grun
from tests.grun.request_cases import ENTRY, INDEX, run_requests

NAMES = ["../victim", "/", ".", ""]  # "/": the absolute path of the victim
OUTSIDE = "a request's name has letters"


@pytest.fixture
def victim(tmp_path, saved):
    """A folder beside the stack that must stay: a real adapter with a note in it."""
    victim = saved.rename(tmp_path / "victim")
    (victim / "note.txt").write_text("stays")
    return victim


@pytest.fixture(params=NAMES, ids=["parent", "absolute", "dot", "empty"])
def name(request, victim):
    return str(victim) if request.param == "/" else request.param


@pytest.fixture(params=["missing", "empty", "emptied"])
def empty_stack(request, stack):
    """A stack without requests: no folder, a folder with a note, or an index without requests."""
    if request.param != "missing":
        stack.mkdir()
        (stack / "note.txt").write_text("stays")
    if request.param == "emptied":
        (stack / "requests.json").write_text(json.dumps(INDEX | {"requests": []}))
    return stack


def list_files(folder):
    """Path -> bytes of every file below `folder`, and None of every folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("words", ["remove {}", "show {}", "add {} {source}"])
def test_command_touches_nothing_outside(empty_stack, victim, name, words, tmp_path):
    before = list_files(tmp_path)
    command = [word.format(name, source=victim) for word in words.split()]
    with pytest.raises(ValueError, match=OUTSIDE):
        run_requests(empty_stack, *command)
    assert list_files(tmp_path) == before


@pytest.mark.parametrize("words", ["remove {}", "show {}", "list", "add b {source}", "cost"])
def test_index_with_such_a_name_is_refused(stack, victim, name, words, tmp_path):
    stack.mkdir()
    (stack / "requests.json").write_text(json.dumps(INDEX | {"requests": [ENTRY | {"name": name}]}))
    before = list_files(tmp_path)
    command = [word.format(name, source=victim) for word in words.split()]
    with pytest.raises(ValueError, match=OUTSIDE) as error:
        run_requests(stack, *command)
    assert str(error.value).startswith(str(stack / "requests.json"))
    assert "\n" not in str(error.value)
    assert list_files(tmp_path) == before


def test_load_refuses_such_an_index(model, stack, victim, name):
    stack.mkdir()
    (stack / "requests.json").write_text(json.dumps(INDEX | {"requests": [ENTRY | {"name": name}]}))
    with pytest.raises(ValueError, match=OUTSIDE):
        grun.load(model, stack)
    assert not hasattr(model, "grun")


def test_remove_of_an_unknown_name_removes_nothing(empty_stack, tmp_path):
    """Also where a folder of this name is in the stack's folder."""
    if empty_stack.exists():
        (empty_stack / "other").mkdir()
    before = list_files(tmp_path)
    with pytest.raises(ValueError, match="has no request 'other'; it has none"):
        run_requests(empty_stack, "remove", "other")
    assert list_files(tmp_path) == before


def test_folders_that_are_no_adapter_stay(adapters, stack):
    """Neither `add` nor a written index makes the stack delete what it did not write."""
    (stack / "eval").mkdir(parents=True)
    (stack / "eval" / "note.txt").write_text("stays")
    with pytest.raises(ValueError, match="eval is there already and is no adapter"):
        run_requests(stack, "add", "eval", str(adapters / "0"))
    index = INDEX | {"requests": [ENTRY | {"name": "eval"}]}
    (stack / "requests.json").write_text(json.dumps(index))
    run_requests(stack, "remove", "eval")
    assert (stack / "eval" / "note.txt").read_text() == "stays"


def test_links_out_of_the_stack_are_not_followed(adapters, stack, victim):
    run_requests(stack, "add", "a", str(adapters / "0"))
    (stack / ".lock").unlink()
    (stack / ".lock").symlink_to(victim / "note.txt")
    (stack / "a").rename(stack / "moved")
    (stack / "a").symlink_to(victim, target_is_directory=True)
    before = list_files(victim)
    run_requests(stack, "remove", "a")
    assert list_files(victim) == before

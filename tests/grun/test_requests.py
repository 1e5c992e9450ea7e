"""The command `python -m grun.requests`: add, list, show, remove, cost, and what it refuses."""

import json
import shutil

import pytest
import torch

import grun
from grun.adapter.composition import Combination
from grun.adapter.folder import AdapterConfig, read_folder, write_folder
from grun.adapter.weights import Adapter
from grun.request_stack import RequestStack
from tests.grun.request_cases import PROMPT, describe_base, random_prompts, run_requests
from tests.toy import build_model
from unlearn.language_model.loading import save_model


def gate_logits_alone(model, stack, names):
    """Name -> gate logits [K, L, B] with only this request active."""
    logits = {}
    grun.load(model, stack)
    for name in names:
        with model.grun.only([name]):
            model(random_prompts())
            logits[name] = model.grun.gate_logits
    model.grun.remove()
    return logits


def gates_together(model, stack, names):
    """Gates [K, L, B] of these requests with the whole stack active."""
    grun.load(model, stack)
    model(random_prompts())
    gates = model.grun.gates[[model.grun.names.index(name) for name in names]]
    model.grun.remove()
    return gates


def equal_or_nan(left, right):
    if left is None or right is None:
        return left is right
    return torch.equal(torch.nan_to_num(left), torch.nan_to_num(right))


def test_remove_leaves_the_other_gates(model, adapters, stack):
    """Ten requests less three: the gates of the others are the same bit for bit.

    With all active, that holds for the lowest edited layer, below which there is no edit.
    """
    for k in range(10):
        run_requests(stack, "add", f"request-{k}", str(adapters / str(k)))
    names = [f"request-{k}" for k in (0, 2, 3, 5, 6, 8, 9)]
    alone = gate_logits_alone(model, stack, names)
    together = gates_together(model, stack, names)
    for k in (1, 4, 7):
        run_requests(stack, "remove", f"request-{k}")
        assert not (stack / f"request-{k}").exists()
    after = gate_logits_alone(model, stack, names)
    assert all(equal_or_nan(alone[name], after[name]) for name in names)
    assert together.shape == (7, 3, 4)
    assert equal_or_nan(together[:, 0], gates_together(model, stack, names)[:, 0])


def test_list_shows_requests_in_order(adapters, stack, capsys):
    for k in range(10):
        run_requests(stack, "add", f"request-{k}", str(adapters / str(k)))
    assert "added request-9: 10 requests in " in capsys.readouterr().out
    for k in (1, 4, 7):
        run_requests(stack, "remove", f"request-{k}")
    assert "removed request-7: 7 requests in " in capsys.readouterr().out
    names = [f"request-{k}" for k in (0, 2, 3, 5, 6, 8, 9)]
    run_requests(stack, "list")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:8]] == names
    assert lines[8].startswith("7 requests on tiny (")
    assert lines[8].endswith("rule sum, c(7) = 1")
    index = json.loads((stack / "requests.json").read_text())
    assert [request["name"] for request in index["requests"]] == names


def test_show_describes_one_request(adapters, stack, capsys):
    run_requests(stack, "add", "alice", str(adapters / "0"))
    run_requests(stack, "show", "alice")
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("alice", "layers 2 3", "linear", "tiny (fingerprint"))
    with pytest.raises(ValueError, match="has no request 'bob'; it has alice"):
        run_requests(stack, "show", "bob")


def test_list_of_an_emptied_stack(adapters, stack, capsys):
    run_requests(stack, "add", "alice", str(adapters / "0"))
    run_requests(stack, "remove", "alice")
    run_requests(stack, "list")
    assert "holds no requests" in capsys.readouterr().out


def test_rule_is_stored_and_can_be_overridden(model, adapters, stack):
    words = ["--rule", "scaled", "--multi_gate_coeff", "0", "--multi_gate_bias", "1"]
    run_requests(stack, "add", "a", str(adapters / "0"), *words)
    run_requests(stack, "add", "b", str(adapters / "1"))
    assert RequestStack(stack).combination == Combination("scaled", 0, 1)
    grun.load(model, stack, Combination("max"))
    assert model.grun.combination.rule == "max"
    assert model.grun.names == ["a", "b"]
    model.grun.remove()


@pytest.fixture
def foreign(model, tokenizer, tmp_path):
    """A folder with an adapter on another base, `other`, and one of another prompt, `style`."""
    other = build_model(tokenizer, seed=2)
    config = AdapterConfig([1], 2, prompt=PROMPT, base=describe_base(other, "stranger"))
    Adapter(other, config).save(tmp_path / "foreign" / "other")
    prompt = PROMPT | {"style": "grun"}
    config = AdapterConfig([1], 2, prompt=prompt, base=describe_base(model))
    Adapter(model, config).save(tmp_path / "foreign" / "style")
    return tmp_path / "foreign"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("add b other", "was trained on stranger .*, the requests here are on tiny"),
        ("add b style", "one prompt cannot fit both"),
        ("add a {adapter}", "has a request 'a' already"),
        ("add ../b {adapter}", "a request's name has letters"),
        ("add requests.json {adapter}", "a request's name has letters"),
        ("add b nothing/here/at", "no such folder"),
        ("add b .", "holds no adapter.json"),
        ("add b {adapter} --rule mean", "invalid choice: 'mean'"),
        ("add b {adapter} --multi_gate_bias nan", "finite"),
        ("remove b", "has no request 'b'; it has a"),
    ],
)
def test_command_refuses_in_one_line(adapters, foreign, stack, monkeypatch, words, message):
    run_requests(stack, "add", "a", str(adapters / "0"))
    index = (stack / "requests.json").read_text()
    monkeypatch.chdir(foreign)
    with pytest.raises(ValueError, match=message):
        run_requests(stack, *words.format(adapter=adapters / "1").split())
    assert (stack / "requests.json").read_text() == index


def test_cost_by_hand(model, tokenizer, adapters, stack, tmp_path, capsys):
    """A row for 0, 1, 2 requests.

    Request 0 edits layers 2 and 3 with rank 2, a linear gate and float32:
    2 (2 * 32 * 2 + 2 + 33) numbers = 326; pyvene stores its width besides.
    """
    save_model(tmp_path, model, tokenizer)
    for k in (0, 1):
        run_requests(stack, "add", str(k), str(adapters / str(k)))
    capsys.readouterr()
    sizes = ["--tokens", "8", "--batch", "2", "--repeats", "2"]
    run_requests(stack, "cost", "--model", str(tmp_path / "model"), *sizes)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0].strip() == "requests"
    assert [line.split()[0] for line in lines[1:]] == ["0", "1", "2"]
    assert lines[1].split()[2:] == ["0.000", "0.000"]
    kib = 326 * 4 / 1024
    assert kib <= float(lines[2].split()[3]) <= kib + 0.1


@pytest.mark.parametrize("verb", ["list", "show a"])
def test_file_is_no_stack(tmp_path, verb):
    """Neither is a requests.json of something else."""
    path = tmp_path / "notes.txt"
    path.write_text("requests")
    with pytest.raises(ValueError, match=r"notes\.txt is a file, not a stack of requests"):
        run_requests(path, *verb.split())
    for text in ("[]", '{"method": "GET"}'):
        (tmp_path / "requests.json").write_text(text)
        with pytest.raises(ValueError, match="is not the index of a stack of requests"):
            run_requests(tmp_path, *verb.split())


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_add_refuses_weights_that_are_not_finite(adapters, stack, tmp_path, number):
    config, tensors = read_folder(adapters / "0")
    tensors["2.bias"][0] = number
    write_folder(tmp_path / "broken", config, tensors)
    with pytest.raises(ValueError, match=r"broken: 2\.bias holds nan or inf") as error:
        run_requests(stack, "add", "a", str(tmp_path / "broken"))
    assert "\n" not in str(error.value)
    assert not (stack / "requests.json").exists()


def test_stack_below_a_file_is_refused(adapters, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="cannot be written .* another --requests"):
        run_requests(tmp_path / "file" / "stack", "add", "a", str(adapters / "0"))
    assert (tmp_path / "file").read_text() == "mine"


def test_result_without_seconds_is_no_error(adapters, tmp_path, stack, capsys):
    """A dash in the list."""
    run = shutil.copytree(adapters / "0", tmp_path / "run" / "adapter").parent
    (run / "result.json").write_text("{}")
    run_requests(stack, "add", "a", str(run))
    run_requests(stack, "list")
    assert RequestStack(stack).entries[0]["train_seconds"] is None


@pytest.mark.parametrize("name", ["tokens", "batch", "repeats"])
def test_cost_flags_have_ranges(stack, name):
    with pytest.raises(ValueError, match=f"--{name} 0: must be at least 1"):
        run_requests(stack, "cost", f"--{name}", "0")

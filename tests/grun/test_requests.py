"""Stacks of requests: added, listed, withdrawn; how their edits combine; and what is refused.
Numbers by hand."""

import json
import multiprocessing

import pytest
import torch

import grun
from grun import requests
from grun.adapter.composition import Combination
from grun.adapter.fingerprint import fingerprint
from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.request_stack import RequestStack
from tests.toy import build_model
from unlearn.language_model.loading import save_model

PROMPT = {"template": "qa", "style": "finetune"}


@pytest.fixture(scope="module")
def adapters(frozen_model, tmp_path_factory):
    """Ten adapter folders, each of another seed; some of other layers, ranks and gates."""
    folder = tmp_path_factory.mktemp("adapters")
    for k in range(10):
        config = AdapterConfig(
            [1, 3] if k % 2 else [2, 3],
            2 + k % 3,
            ("linear", "mlp_3", "none")[k // 4],
            prompt=PROMPT,
            base=base_of(frozen_model),
        )
        Adapter(frozen_model, config, seed=k).save(folder / str(k))
    return folder


def base_of(model, name="tiny"):
    return {"id": name, "revision": None, "fingerprint": fingerprint(model)}


def stack(tmp_path, *words):
    requests.main([*words, "--requests", str(tmp_path / "stack")])


def gates_of(model, tmp_path, names):
    """Gates [K, L, B] of these requests on a fixed batch, the whole stack loaded."""
    ids = torch.randint(3, 200, (4, 9), generator=torch.Generator().manual_seed(0))
    grun.load(model, tmp_path / "stack")
    try:
        model(ids)
        return model.grun.gates[[model.grun.names.index(name) for name in names]]
    finally:
        model.grun.remove()


def test_ten_added_three_removed(model, adapters, tmp_path, capsys):
    """The gates of the seven that stay are what they were, bit for bit: in layer 2 and below
    nothing was edited, and there to the last bit."""
    for k in range(10):
        stack(tmp_path, "add", f"request-{k}", str(adapters / str(k)))
    assert "added request-9: 10 requests in " in capsys.readouterr().out
    stay = [f"request-{k}" for k in (0, 2, 3, 5, 6, 8, 9)]
    ids = torch.randint(3, 200, (4, 9), generator=torch.Generator().manual_seed(0))

    def alone():
        found = {}
        grun.load(model, tmp_path / "stack")
        for name in stay:
            with model.grun.only([name]):
                model(ids)
                found[name] = model.grun.gate_logits
        model.grun.remove()
        return found

    before = alone()
    first = gates_of(model, tmp_path, stay)
    for k in (1, 4, 7):
        stack(tmp_path, "remove", f"request-{k}")
        assert not (tmp_path / "stack" / f"request-{k}").exists()
    after = alone()
    second = gates_of(model, tmp_path, stay)
    for name in stay:
        assert (before[name] is None) == (after[name] is None)
        assert before[name] is None or torch.equal(
            torch.nan_to_num(before[name]), torch.nan_to_num(after[name])
        )
    # all at work: the lowest layer any of them edits reads what the base says, so its gates cannot
    # have moved
    assert first.shape == (7, 3, 4) and torch.equal(
        torch.nan_to_num(first[:, 0]), torch.nan_to_num(second[:, 0])
    )
    capsys.readouterr()
    stack(tmp_path, "list")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:8]] == stay
    assert lines[8].startswith("7 requests on tiny (") and lines[8].endswith(
        "rule scaled, c(7) = 4.8"
    )
    assert [
        row["name"]
        for row in json.loads((tmp_path / "stack" / "requests.json").read_text())["requests"]
    ] == stay


def test_one_request_can_be_shown(adapters, tmp_path, capsys):
    stack(tmp_path, "add", "alice", str(adapters / "0"))
    stack(tmp_path, "show", "alice")
    told = capsys.readouterr().out
    assert all(word in told for word in ("alice", "[2, 3]", "linear", "tiny"))
    with pytest.raises(ValueError, match="has no request 'bob'; it has alice"):
        stack(tmp_path, "show", "bob")
    stack(tmp_path, "remove", "alice")
    stack(tmp_path, "list")
    assert "holds no requests" in capsys.readouterr().out


def test_rules_by_hand():
    """K = 2, edits (1, 2) and (10, 20), gates of .25 and .75: sum (11, 22); scaled c(2) = .6 * 2 +
    .6 = 1.8 times that; max the second. c(K) = 0.6 K + 0.6 is 1.2 for one, 6.6 for ten, and counts
    requests that do not edit this layer."""
    changes = [torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]])]
    logits = [torch.tensor([0.25]).logit(), torch.tensor([0.75]).logit()]
    assert Combination("sum")(changes, logits, 2).tolist() == [[11, 22]]
    torch.testing.assert_close(
        Combination("scaled")(changes, logits, 2), torch.tensor([[19.8, 39.6]])
    )
    assert Combination("max")(changes, logits, 2).tolist() == [[10, 20]]
    assert Combination("max")(changes, logits[::-1], 2).tolist() == [[1, 2]]
    assert Combination("max")(changes, [None, logits[1]], 2).tolist() == [
        [1, 2]
    ]  # an ungated edit is always open
    assert [Combination("scaled").scale(K) for K in (1, 2, 10)] == pytest.approx([1.2, 1.8, 6.6])
    torch.testing.assert_close(
        Combination("scaled")(changes[:1], logits[:1], 3), torch.tensor([[2.4, 4.8]])
    )
    torch.testing.assert_close(
        Combination("scaled", 0.0, 0.5)(changes, logits, 2), torch.tensor([[5.5, 11.0]])
    )


@pytest.mark.parametrize("rule", ["scaled", "sum", "max"])
def test_rules_on_a_model(model, adapters, tmp_path, rule):
    """Layer 2, which requests 0 and 2 edit: h + c(3) (change_0 + change_2), or the change of the
    larger gate; 1 edits layers 1 and 3."""
    for k in (0, 1, 2):
        stack(tmp_path, "add", str(k), str(adapters / str(k)), "--rule", rule)
    ids = torch.randint(3, 200, (4, 9), generator=torch.Generator().manual_seed(1))
    seen = []
    grun.load(model, tmp_path / "stack")
    handles = [
        model.model.layers[2].register_forward_hook(
            lambda _m, _a, out: seen.append(out[0] if isinstance(out, tuple) else out)
        ),
        model.model.layers[2].register_forward_hook(
            lambda _m, _a, out: seen.append(out[0] if isinstance(out, tuple) else out), prepend=True
        ),
    ]
    model(ids)
    for handle in handles:
        handle.remove()
    (first, _), (second, _) = (
        model.grun.adapters[k].intervention(2).gated_update(seen[0][:, -1]) for k in (0, 2)
    )
    gates = model.grun.gates[:, 1]  # layers 1, 2, 3
    wanted = {
        "scaled": 2.4 * (first + second),
        "sum": first + second,
        "max": torch.where((gates[0] >= gates[2])[:, None], first, second),
    }[rule]
    model.grun.remove()
    assert gates[1].isnan().all() and not gates[[0, 2]].isnan().any()
    torch.testing.assert_close(seen[1][:, -1], seen[0][:, -1] + wanted, rtol=1e-5, atol=1e-6)
    assert torch.equal(seen[1][:, :-1], seen[0][:, :-1])


def test_the_rule_is_kept_and_can_be_overruled(model, adapters, tmp_path):
    stack(
        tmp_path,
        "add",
        "a",
        str(adapters / "0"),
        "--rule",
        "scaled",
        "--multi_gate_coeff",
        "0",
        "--multi_gate_bias",
        "1",
    )
    stack(tmp_path, "add", "b", str(adapters / "1"))
    assert RequestStack(tmp_path / "stack").combination == Combination("scaled", 0, 1)
    grun.load(model, tmp_path / "stack", Combination("max"))
    assert model.grun.combination.rule == "max" and model.grun.names == ["a", "b"]
    model.grun.remove()


def add_one(arguments):
    requests.main(arguments)


def test_commands_at_once_do_not_lose_one_another(adapters, tmp_path):
    """Six processes, a request each, into one folder."""
    words = [
        ["add", str(k), str(adapters / str(k)), "--requests", str(tmp_path / "stack")]
        for k in range(6)
    ]
    with multiprocessing.get_context("fork").Pool(6) as pool:
        pool.map(add_one, words, chunksize=1)
    assert sorted(RequestStack(tmp_path / "stack").names) == [str(k) for k in range(6)]
    assert sorted(path.name for path in (tmp_path / "stack").iterdir()) == [
        ".lock",
        *(str(k) for k in range(6)),
        "requests.json",
    ]


def test_what_does_not_belong_is_refused(model, tokenizer, adapters, tmp_path):
    stack(tmp_path, "add", "a", str(adapters / "0"))
    other = build_model(tokenizer, seed=2)
    Adapter(other, AdapterConfig([1], 2, prompt=PROMPT, base=base_of(other, "stranger"))).save(
        tmp_path / "other"
    )
    Adapter(
        model, AdapterConfig([1], 2, prompt=PROMPT | {"style": "grun"}, base=base_of(model))
    ).save(tmp_path / "style")
    kept = (tmp_path / "stack" / "requests.json").read_text()
    for words, message in [
        (
            ["add", "b", str(tmp_path / "other")],
            "was trained on stranger .*, the requests here are on tiny",
        ),
        (["add", "b", str(tmp_path / "style")], "one prompt cannot fit both"),
        (["add", "a", str(adapters / "1")], "has a request 'a' already"),
        (["add", "../b", str(adapters / "1")], "a request's name has letters"),
        (["add", "requests.json", str(adapters / "1")], "a request's name has letters"),
        (["add", "b", str(tmp_path / "nothing/here/at")], "no such folder"),
        (["add", "b", str(tmp_path)], "holds no adapter.json"),
        (["add", "b", str(adapters / "1"), "--rule", "mean"], "invalid choice: 'mean'"),
        (["add", "b", str(adapters / "1"), "--multi_gate_bias", "nan"], "finite"),
        (["remove", "b"], "has no request 'b'; it has a"),
    ]:
        with pytest.raises(ValueError, match=message):
            stack(tmp_path, *words)
    assert (tmp_path / "stack" / "requests.json").read_text() == kept
    with pytest.raises(ValueError, match="belongs to the base model tiny"):
        grun.load(other, tmp_path / "stack")


INDEX = {
    "format": 1,
    "base": {"id": "x", "fingerprint": "0-0"},
    "prompt": PROMPT,
    "combination": {"rule": "sum"},
    "requests": [{"name": "a"}],
}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 1,', "is not valid JSON"),
        ("[]", "has format None"),
        (json.dumps(INDEX | {"format": 9}), "has format 9; this version reads 1"),
        (
            json.dumps({k: v for k, v in INDEX.items() if k != "requests"}),
            "is damaged: KeyError.'requests'",
        ),
        (json.dumps(INDEX | {"requests": [{}]}), "is damaged: KeyError.'name'"),
        (json.dumps(INDEX | {"base": {}}), "is damaged: KeyError.'id'"),
        (json.dumps(INDEX | {"combination": {"colour": 1}}), "is damaged: TypeError"),
        (json.dumps(INDEX | {"combination": {"rule": "mean"}}), "--rule mean is unknown"),
        (json.dumps(INDEX), "a holds no adapter.json"),
    ],
)
def test_a_broken_index_is_one_line(model, tmp_path, text, message):
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "requests.json").write_text(text)
    with pytest.raises(ValueError, match=message) as told:
        grun.load(model, tmp_path / "stack")
    assert "\n" not in str(told.value) and not hasattr(model, "grun")


def test_cost(model, tokenizer, adapters, tmp_path, capsys):
    """A row for 0, 1, 2 requests; memory by hand. Request 0, frozen: layers 2 and 3, rank 2, linear
    gate, float32: 2 (2 * 32 * 2 + 2 + 33) numbers = 326, and what pyvene keeps of its width."""
    save_model(tmp_path, model, tokenizer)
    for k in (0, 1):
        stack(tmp_path, "add", str(k), str(adapters / str(k)))
    capsys.readouterr()
    stack(
        tmp_path,
        "cost",
        "--model",
        str(tmp_path / "model"),
        "--tokens",
        "8",
        "--batch",
        "2",
        "--repeats",
        "2",
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0].strip() == "requests" and [
        line.split()[0] for line in lines[1:]
    ] == ["0", "1", "2"]
    assert (
        lines[1].split()[2:] == ["0.000", "0.000"]
        and 326 * 4 / 1024 <= float(lines[2].split()[3]) <= 326 * 4 / 1024 + 0.1
    )

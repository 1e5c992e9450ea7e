"""Push to and load from the hub, against a folder that stands in for it; and what is said when it
cannot be reached."""

import shutil

import pytest
import torch
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects

import grun
from grun import requests
from grun.adapter import hub
from grun.adapter.fingerprint import fingerprint
from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.requests import Requests


@pytest.fixture
def saved(model, tmp_path):
    """A finished run with an adapter, and things beside it that are nobody's business."""
    base = {"id": "someone/base", "revision": None, "fingerprint": fingerprint(model)}
    recipe = {"objective": "idk", "split": "forget10"}
    config = AdapterConfig(
        [1, 3], 2, base=base, prompt={"template": "qa", "style": "finetune"}, recipe=recipe
    )
    Adapter(model, config, seed=3).save(tmp_path / "run" / "adapter")
    (tmp_path / "run" / "adapter" / "notes.txt").write_text("private")
    (tmp_path / "run" / "config.json").write_text("{}")
    return tmp_path / "run"


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """The hub as a folder: <repository>/<revision>/files. What was asked of it is in `asked`."""
    room = tmp_path / "hub"
    asked = []

    class Api:
        def create_repo(self, repo, private, exist_ok):
            asked.append(("create", repo, private))
            (room / repo).mkdir(parents=True, exist_ok=exist_ok)

        def upload_folder(self, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, room / repo_id / "main", dirs_exist_ok=True)
            return f"https://hub/{repo_id}"

    def download(repo, revision, allow_patterns):
        asked.append(("download", repo, revision))
        source = room / repo / (revision or "main")
        if not source.exists():
            raise LocalEntryNotFoundError(
                "Got: ConnectError: Connection refused\nAnd a long explanation."
            )
        files = [str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()]
        for name in filter_repo_objects(files, allow_patterns=allow_patterns):
            (tmp_path / "cache" / repo / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, tmp_path / "cache" / repo / name)
        return str(tmp_path / "cache" / repo)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "snapshot_download", download)
    room.mkdir()
    return room, asked


def test_pushed_and_loaded_by_its_id(model, saved, fake, tmp_path, capsys):
    room, asked = fake
    hub.main(["push", str(saved), "me/forgetful"])
    assert capsys.readouterr().out == "pushed: https://hub/me/forgetful\n" and asked == [
        ("create", "me/forgetful", True)
    ]
    pushed = room / "me" / "forgetful" / "main"
    assert sorted(path.name for path in pushed.iterdir()) == [
        "README.md",
        "adapter.json",
        "adapter.safetensors",
    ]
    card = (pushed / "README.md").read_text()
    assert (
        'grun.load(model, "me/forgetful")' in card
        and "base_model: someone/base" in card
        and "Objective: idk, split forget10" in card
    )
    shutil.copytree(pushed, pushed.parent / "v2")
    ids = torch.arange(3, 12)[None]
    grun.load(model, saved)
    wanted = model(ids).logits
    model.grun.remove()
    for source in ("me/forgetful", "me/forgetful@v2"):
        grun.load(model, source)
        assert torch.equal(model(ids).logits, wanted)
        model.grun.remove()
    assert asked[1:] == [("download", "me/forgetful", None), ("download", "me/forgetful", "v2")]
    assert not (tmp_path / "cache" / "me" / "forgetful" / "README.md").exists()
    hub.main(["push", str(saved), "me/open", "--public"])
    assert asked[-1] == ("create", "me/open", False)


def test_whole_runs_stacks_and_official_folders_by_their_ids(model, saved, fake, tmp_path):
    """A run as it is (its adapter one folder down), a stack of requests, and a request added by a
    hub id."""
    room, _ = fake
    shutil.copytree(saved, room / "me" / "run" / "main")
    requests.main(["add", "a", "me/run", "--requests", str(tmp_path / "stack")])
    requests.main(["add", "b", str(saved), "--requests", str(tmp_path / "stack")])
    shutil.copytree(tmp_path / "stack", room / "me" / "stack" / "main")
    grun.load(model, "me/stack")
    assert model.grun.names == ["a", "b"] == Requests(tmp_path / "stack").names
    model.grun.remove()
    grun.load(model, "me/run")
    assert model.grun.layers == [1, 3]


def refusing(error):
    class Api:
        def create_repo(self, *_, **__):
            raise error

    return Api


def test_what_cannot_be_had_is_one_line(model, saved, fake, monkeypatch):
    def one_line(message, call, *words):
        with pytest.raises(ValueError, match=message) as told:
            call(*words)
        assert "\n" not in str(told.value)

    one_line(
        "me/nothing is no folder here and could not be had from the hub: Got: ConnectError",
        grun.load,
        model,
        "me/nothing",
    )
    one_line(
        "runs/no/such/adapter: no such folder, and no hub id",
        grun.load,
        model,
        "runs/no/such/adapter",
    )
    for error in (HTTPError("Connection refused"), OSError("Token is required"), HTTPError("")):
        monkeypatch.setattr(hub, "HfApi", refusing(error))
        one_line(
            "me/x: could not be pushed to the hub: (Connection refused|Token is required|HTTPError)",
            hub.main,
            ["push", str(saved), "me/x"],
        )
    (saved / "adapter" / "adapter.safetensors").write_bytes(b"")
    one_line("damaged", hub.main, ["push", str(saved), "me/x"])


def test_the_real_client_offline_is_one_line(model, saved):
    """The tests run with HF_HUB_OFFLINE=1, so this is huggingface_hub's own complaint."""
    with pytest.raises(ValueError, match="could not be had from the hub: .*") as told:
        grun.load(model, "someone/never-downloaded")
    assert "\n" not in str(told.value)
    with pytest.raises(ValueError, match="could not be pushed to the hub: .*offline"):
        hub.main(["push", str(saved), "someone/never-pushed"])

"""Broken and hostile files: one line that names the file; nothing is executed or fetched."""

import errno
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from eval.report import __main__ as report
from grun import train as grun_train
from tests.eval.report.made_runs import make_run, make_target_and_reference
from tests.toy import AUTHORS_FLAGS, ROOT
from unlearn.config.files import read_json, write_json
from unlearn.language_model.loading import load_model, load_tokenizer, save_model
from unlearn.training import finetune

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
NESTED = b"[" * 100_000
FINETUNE = [*AUTHORS_FLAGS, "--hidden", "32", "--depth", "2", "--steps", "1", "--batch", "8"]


class Command:
    """Pickled, it is a command that unpickling would run."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def drop_layer(weights: dict) -> dict:
    return {name: tensor for name, tensor in weights.items() if "layers.3" not in name}


def reshape(weights: dict) -> dict:
    return weights | {"model.layers.0.mlp.up_proj.weight": torch.zeros(3, 3)}


# file, what replaces it, message; WEIGHTS go where another file of weights comes
BROKEN_MODELS = [
    (WEIGHTS, lambda old: old[:3000], "SafetensorError"),
    (WEIGHTS, lambda old: old[:-3000], "SafetensorError"),
    (WEIGHTS, lambda old: b"\xff" * 500, "SafetensorError"),
    (WEIGHTS, lambda old: b"", "SafetensorError"),
    (WEIGHTS, lambda old: None, "no file named model.safetensors"),
    (INDEX, lambda old: b"{", "Expecting property name"),
    (INDEX, lambda old: b"[]", "TypeError"),
    (INDEX, lambda old: NESTED, "nested too deeply"),
    (INDEX, lambda old: b'{"metadata": {}, "weight_map": {"a": "no.safetensors"}}', "No such file"),
    ("pytorch_model.bin", lambda old: b"garbage", "its .bin file is broken"),
    ("pytorch_model.bin", lambda old: pickle.dumps(Command()), "more than weights"),
    ("config.json", lambda old: b"{", "not a valid JSON"),
    ("config.json", lambda old: b"[]", "model_type"),
    ("config.json", lambda old: NESTED, "nested too deeply"),
    ("config.json", lambda old: b'{"model_type": "nope"}', "model type `nope`"),
    ("config.json", lambda old: old.replace(b'heads": 4', b'heads": 5'), "validation error"),
    ("config.json", lambda old: old.replace(b'layers": 4', b'layers": 6'), "lacks 18 weights"),
]
BROKEN_TOKENIZERS = [b"{", b"", b"[]", b'{"version": "1.0"}', b"\xff\xfe", NESTED, None]


@pytest.fixture(scope="module")
def saved(tokenizer, frozen_model, tmp_path_factory):
    """The folder of a model that loads; read only."""
    folder = tmp_path_factory.mktemp("saved")
    save_model(folder, frozen_model, tokenizer)
    return folder / "model"


@pytest.fixture
def folder(saved, tmp_path):
    """A copy for one test."""
    return shutil.copytree(saved, tmp_path / "base")


def write_or_remove(path: Path, content: bytes | None) -> None:
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)


def check_refused(action, message: str) -> None:
    """The action fails with this message, in one line."""
    with pytest.raises(ValueError, match=message) as caught:
        action()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "change", "message"), BROKEN_MODELS)
def test_broken_model_is_one_line(name, change, message, folder, monkeypatch, capfd):
    monkeypatch.chdir(folder.parent)
    path = folder / name
    content = change(path.read_bytes() if path.exists() else b"")
    if name in (INDEX, "pytorch_model.bin"):
        (folder / WEIGHTS).unlink()
    write_or_remove(path, content)
    check_refused(lambda: load_model(str(folder), "cpu"), f"model {folder} .*{message}")
    assert not Path("executed").exists()
    assert "MISSING" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_layer, "lacks 9 weights .* the first is model.layers.3.input_layernorm.weight"),
        (reshape, "has another shape of 1 weights .* model.layers.0.mlp.up_proj.weight"),
    ],
)
def test_incomplete_weights_are_refused(change, message, folder):
    """Random numbers would stand in their place."""
    weights = change(load_file(folder / WEIGHTS))
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    check_refused(lambda: load_model(str(folder), "cpu"), message)


def test_unused_weights_are_said(folder, capsys):
    text = (folder / "config.json").read_text()
    shorter = text.replace('num_hidden_layers": 4', 'num_hidden_layers": 3')
    (folder / "config.json").write_text(shorter)
    load_model(str(folder), "cpu")
    assert "has 9 weights that its config.json does not name" in capsys.readouterr().out


def test_good_model_loads_without_a_word(folder, capfd):
    load_model(str(folder), "cpu")
    load_tokenizer(str(folder))
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("content", BROKEN_TOKENIZERS)
def test_broken_tokenizer_is_one_line(content, folder):
    write_or_remove(folder / "tokenizer.json", content)
    check_refused(lambda: load_tokenizer(str(folder)), f"tokenizer {folder} could not be loaded")


@pytest.mark.parametrize("below", ["", "x", "x/y"])
def test_runs_that_is_a_file_is_refused(below, tmp_path):
    (tmp_path / "file").write_text("kept")
    flags = ["--runs", str(tmp_path / "file" / below)]
    for command in (finetune.main, grun_train.main):
        check_refused(lambda command=command: command([*FINETUNE[:4], *flags]), "is a file")
    assert (tmp_path / "file").read_text() == "kept"


def test_report_on_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("kept")
    check_refused(lambda: report.main(["--runs", str(tmp_path / "file")]), "is a file; give")


def test_read_only_folder_is_refused(tmp_path, monkeypatch):
    """Root may write anywhere, so the system's answer is made up."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    check_refused(
        lambda: finetune.main([*FINETUNE, "--runs", str(tmp_path / "runs")]),
        "cannot be written; make it writable, or give another folder",
    )
    assert list(tmp_path.iterdir()) == []


def test_name_that_is_too_long_is_refused(tmp_path):
    flags = ["--runs", str(tmp_path / ("a" * 300))]
    check_refused(lambda: finetune.main([*FINETUNE, *flags]), "File name too long; give another")


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_file_system_that_refuses_is_one_line(code, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_text", refuse)
    message = re.escape(f"config.json cannot be written ({os.strerror(code)})")
    check_refused(lambda: finetune.main([*FINETUNE, "--runs", str(tmp_path)]), message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "line 1"),
        (b"", "line 1"),
        (NESTED, "nested too deeply"),
        (b"\xff", "byte 0 is not UTF-8"),
        (b"[]", "a list where a dict is expected"),
        (b"7", "a int where a dict is expected"),
    ],
)
def test_broken_json_is_named(content, message, tmp_path):
    path = tmp_path / "summary.json"
    path.write_bytes(content)
    check_refused(lambda: read_json(path), f"{path} is not valid JSON .*{message}")


@pytest.mark.parametrize("content", [b"[]", b"{", NESTED, b"\xff", b'"text"'])
@pytest.mark.parametrize("name", ["summary.json", "config.json", "result.json"])
def test_report_names_a_broken_file(name, content, tmp_path, capsys):
    """The other runs have their table; what is broken is left as it is."""
    make_target_and_reference(tmp_path)
    run = make_run(tmp_path, forget_rouge=0.1, model_utility=0.5)
    path = run / "eval" / "forget10" / name if name == "summary.json" else run / name
    path.write_bytes(content)
    problem = ""
    try:
        report.main(["--runs", str(tmp_path)])
    except ValueError as error:
        problem = str(error)
    assert "\n" not in problem
    assert str(run) in problem + capsys.readouterr().err
    assert "target" in (tmp_path / "tables" / "tofu.md").read_text()
    assert path.read_bytes() == content


HOSTILE = [
    "a|b|c",
    "![x](https://example.com/x.png)",
    "[x](https://example.com)",
    "<img src=https://example.com/x.png>",
    "line\n\n![x](https://example.com/x.png)\n| a |\n|---|",
    "$$",
    "$\\frac{$",
    "$x$ {braces} %s",
    'a"onload="b',
]


@pytest.mark.parametrize("variant", HOSTILE)
def test_hostile_variant_reaches_no_page(variant, tmp_path):
    """Tables keep their cells, plots are drawn, and the page fetches nothing."""
    make_target_and_reference(tmp_path)
    run = make_run(tmp_path, variant="v", forget_rouge=0.1, model_utility=0.5)
    write_json(run / "config.json", read_json(run / "config.json") | {"variant": variant})
    report.main(["--runs", str(tmp_path)])
    page = (tmp_path / "report.html").read_text()
    assert "default-src 'none'" in page
    assert all(url.startswith("data:") for url in re.findall(r'<img[^>]*src="?([^" >]*)', page))
    assert 'href="http' not in page
    text = (tmp_path / "tables" / "tofu.md").read_text()
    assert "![" not in text and "](" not in text and not re.search(r"(?<!\\)<img", text)
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(counts) == 1
    assert (tmp_path / "tables" / "tradeoff.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "change"),
    [
        ("grun.train", lambda folder: (folder / WEIGHTS).write_bytes(b"")),
        ("baselines.train", lambda folder: (folder / "config.json").write_bytes(NESTED)),
        ("grun.train", lambda folder: (folder / "tokenizer.json").write_bytes(b"{")),
        ("baselines.controls", lambda folder: (folder / INDEX).write_bytes(NESTED)),
        ("eval.report", lambda folder: None),
    ],
)
def test_real_command_ends_with_code_2(module, change, folder):
    """One line on stderr, whatever lies in the folder."""
    change(folder)
    (folder / WEIGHTS).unlink() if (folder / INDEX).exists() else None
    words = [*AUTHORS_FLAGS, "--target", str(folder), "--runs", str(folder.parent / "runs")]
    if module == "eval.report":
        words = ["--runs", str(folder / "config.json")]
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")

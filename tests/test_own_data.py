"""The path of a stranger: the commands of docs/own-data.md, in order, at toy size."""

import importlib
import json
import re
import shlex
import shutil

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests.toy import ROOT, build_tokenizer
from unlearn.config import experiment

PAGE = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
ROWS = ROOT / "docs" / "examples" / "rows.jsonl"
SIZES = {
    "finetune": {"steps": 4, "batch": 8},
    "grun": {"steps": 3, "batch": 4},
    "baselines": {"steps": 3, "batch": 4},
    "questions": {"max_new_tokens": 4},
    "attacks": {"max_new_tokens": 4, "rows": 2},
}  # recipe -> values in place of its own, so that directories have the names of the page


def save_gpt2(folder):
    """A random GPT-2 of 256 positions, whose tokenizer has no token for padding."""
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    tokenizer = build_tokenizer([row[key] for row in rows for key in ("question", "answer")], 400)
    tokenizer.pad_token = None
    size = {"n_positions": 256, "n_embd": 32, "n_layer": 4, "n_head": 4}
    ends = dict.fromkeys(("bos_token_id", "eos_token_id"), tokenizer.eos_token_id)
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **size, **ends)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def page_commands():
    """The words of every `python -m` of the page."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.S | re.M)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("python -m ")]


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A folder with the page's files and an own model, entered; recipes are of toy size."""
    shutil.copytree(ROWS.parent, tmp_path / "docs" / "examples")
    save_gpt2(tmp_path / "my-gpt2")
    recipe = experiment.recipe
    monkeypatch.setattr(
        experiment, "recipe", lambda task, **cell: recipe(task, **cell) | SIZES.get(task, {})
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_of_the_page_walk_to_a_table(stranger, capsys):
    commands = page_commands()
    assert len(commands) >= 14
    printed = {}
    for _, _, module, *argv in commands:
        name = "eval.report.__main__" if module == "eval.report" else module
        importlib.import_module(name).main(argv)
        printed[module] = capsys.readouterr().out
    (cell,) = (stranger / "runs").glob("own,data=*/*gpt2*")
    assert f"own,data={cell.parent.name.partition('=')[2]}/" in PAGE
    table = (stranger / "runs" / "tables" / "tofu.md").read_text()
    for method in ("target", "reference", "idk-grun", "npo-full", "gd-lora", "control-keyword"):
        row = next(line for line in table.splitlines() if line.startswith(f"| {method}"))
        cells = {cell.strip() for cell in row.split("|")}
        assert "-" in cells and any("." in cell for cell in cells), row
    assert "2 requests on" in printed["grun.requests"]
    assert printed["grun.ask"].strip()
    assert "forget_entity=Yeso-Nuludu" in {path.name for path in cell.iterdir()}

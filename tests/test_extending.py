"""docs/extending.md says how many files a new thing touches: each is really added to a copy of the
sources, and the real commands run with it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from unlearn.config.files import read_json

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("unlearn", "baselines", "grun", "rmu", "eval", "pyvene_custom")
OBJECTIVE = '''

def hinge(forget: AnswerLogits, *, margin: float) -> Tensor:
    """mean over scored tokens of -min(l, margin)."""
    return -forget.token_mean(forget.nll.clamp_max(margin))


OBJECTIVES["hinge"] = Objective(hinge, parameters={"margin": "hinge_margin"})
'''
HYPER_PARAMETER = '    hinge_margin: float = flag(5.0, "hinge: largest loss that still counts")\n'
FORMULA = """
def mean_words(texts: list[str]) -> float:
    return sum(len(text.split()) for text in texts) / len(texts)
"""
METRIC = """

@register_metric(Column("forget_words", "", {"overview": ("", "forget words")}))
def count_forget_words(evaluation: Evaluation) -> dict:
    from eval.metrics.words import mean_words

    rows = evaluation.sets.get("forget")
    return {"forget_words": mean_words([row["generation"] for row in rows])} if rows else {}
"""
ATTACK = """
from eval.attacks.prompts import ask_question, iterate_sides
from eval.attacks.registry import prompt_attack


@prompt_attack("shouted", group="shouted")
def shout(prompt_encoder, sides):
    return [
        ask_question(prompt_encoder, side, example, example.question.upper())
        for side, _, example in iterate_sides(sides)
    ]
"""
ATTACK_COLUMN = '\nATTACK_COLUMNS["shouted"] = ("reworded", "shouted")\n'
OPENER = """
from dataclasses import replace

from unlearn.benchmarks.authors import open_authors


def open_poets(spec, settings):
    return open_authors(spec, replace(settings, authors=10, heldout=2))
"""
ENTRY = """
from dataclasses import replace

BENCHMARKS["poets"] = replace(
    BENCHMARKS["authors"], name="poets", opener="unlearn.benchmarks.poets:open_poets"
)
"""
CHANGES = {  # kind -> file -> text that is added at its end, or to a new file
    "objective": {"unlearn/training/objectives.py": OBJECTIVE},
    "hyper-parameter": {"unlearn/training/objective_options.py": HYPER_PARAMETER},
    "metric": {"eval/metrics/words.py": FORMULA, "eval/report/question_metrics.py": METRIC},
    "attack": {
        "eval/attacks/methods/shouted.py": ATTACK,
        "eval/report/attack_columns.py": ATTACK_COLUMN,
    },
    "benchmark": {
        "unlearn/benchmarks/poets.py": OPENER,
        "unlearn/benchmarks/registry.py": ENTRY,
    },
}
COMMANDS = """
import sys
from pathlib import Path
from eval import run as evaluate
from eval.attacks import run as attack
from eval.report import __main__ as report
from grun import train
from unlearn.training import finetune

runs = Path(sys.argv[1])
data = ["--benchmark", "poets", "--runs", str(runs)]
size = "--hidden 32 --depth 4 --steps 4 --batch 8".split()
finetune.main([*data, *size])
(target,) = runs.glob("*/*/full/*")
target.rename(target.with_name("target-seed42"))
steps = "--layers 1 2 --steps 2 --batch 4".split()
train.main([*data, *steps, "--objective", "hinge", "--hinge_margin", "3"])
evaluate.main([*data, "--max_new_tokens", "4"])
attack.main([*data, "--max_new_tokens", "4", "--rows", "2", "--attacks", "shouted"])
report.main(["--runs", str(runs)])
"""


def add(sources: Path, kind: str) -> None:
    """Make the changes of one kind in a copy of the sources."""
    for name, text in CHANGES[kind].items():
        path = sources / name
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if kind == "hyper-parameter":  # a line behind another flag of the same option group
            new = re.sub(r"(?m)^(    beta: float = flag\(.*\n)", rf"\1{text}", old)
            assert new != old
        else:
            new = old + text
        path.write_text(new, encoding="utf-8")


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """The runs that the commands make from sources with one new thing of every kind."""
    folder = tmp_path_factory.mktemp("extended")
    ignore = shutil.ignore_patterns("__pycache__")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=ignore)
    for kind in CHANGES:
        add(folder, kind)
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, str(folder / "runs")],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    return folder / "runs", done


def test_the_page_counts_the_files():
    page = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    for kind, files in CHANGES.items():
        (count,) = re.findall(rf"^\| .*{kind} \| \+?(\d) \|", page, re.M)
        assert int(count) == len(files), kind


def test_commands_run_with_all_of_them(extended):
    runs, done = extended
    assert done.returncode == 0, done.stderr
    (run,) = runs.glob("poets/tiny/forget10/hinge-grun-*")
    assert (run / "DONE").exists() and "hinge_margin=3" in run.name
    rows = read_json(run / "attacks" / "forget10" / "shouted.json")["rows"]
    assert any("WHICH" in row["prompt"] for row in rows)


def test_tables_show_all_of_them(extended):
    tables = extended[0] / "tables"
    frame = pandas.read_csv(tables / "tofu.csv")
    assert set(frame.benchmark) == {"poets"} and "hinge" in set(frame.objective)
    assert frame.forget_words.notna().all()
    assert "forget words" in (tables / "tofu.md").read_text(encoding="utf-8")
    assert "shouted" in (tables / "attacks.md").read_text(encoding="utf-8")

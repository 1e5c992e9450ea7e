"""Which learning rate of a sweep is kept: by losses on training data, never by test metrics."""

import json

import pytest

from eval.report.collect import find_runs
from eval.report.plots.tradeoff import plot_tradeoff
from tests.eval.report.made_runs import make_run, read_csv, read_markdown, write_table
from unlearn.config.files import read_json, write_json


def make_sweep(runs, rates, checks=True, **more):
    """Two seeds at each learning rate: rate -> (forget loss, retain loss) of the last check; before
    it, retain loss was 1. Seed 2's forget loss is 2 more.
    """
    for rate, (forget, retain) in rates.items():
        for seed in (1, 2):
            name = {"seed": seed, "variant": f"rank=8,lr={rate}", "forget_rouge": rate}
            path = make_run(runs, "npo", "lora", **name, **more)
            flags = {"flags": {"lr": {"value": rate}, "keep": {"value": "last"}}}
            write_json(path / "config.json", read_json(path / "config.json") | flags)
            first = {"step": 0, "forget": 0.5, "retain": 1.0}
            last = {"step": 9, "forget": forget + (2 if seed == 2 else 0), "retain": retain}
            log = [{"step": 8, "loss": 1.0}]
            if checks:
                log = [{"step": 0, "check": first}, *log, {"step": 9, "check": last}]
            (path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))


@pytest.fixture
def swept(tmp_path):
    """Retain loss may rise from 1 to 1.1. Of .001 (forget loss 2, 4 by seed: 3) and .01 (4, 6: 5)
    the latter is kept; .1 forgets more, but costs 1.2, though its test metrics are better.
    """
    make_sweep(tmp_path, {0.001: (2, 1.0), 0.01: (4, 1.09), 0.1: (9, 1.2)}, model_utility=0.5)
    make_run(tmp_path, "gd", "full", forget_rouge=0.3)
    return tmp_path


def read_kept(runs):
    return {row["variant"]: row["kept"] for row in read_csv(runs)}


def test_the_learning_rate_is_kept_by_training_losses(swept):
    printed = " ".join(write_table(swept).split())
    assert read_kept(swept) == {
        "": "",
        "rank=8,lr=0.001": "False",
        "rank=8,lr=0.01": "True",
        "rank=8,lr=0.1": "False",
    }
    assert "npo-lora-rank=8,lr=0.01 (2 seeds) (kept)" in printed
    assert "lr=0.1 (2 seeds) (kept)" not in printed
    assert "at most 0.1 nats a token" in printed


def read_rates(runs):
    """method and rate -> cells, of the table of sweeps."""
    rates = read_markdown(runs / "tables" / "tofu.md")["authors, tiny, forget10: learning rates"]
    return {name: list(row.values())[1:] for name, row in rates.items()}


def test_the_losses_of_all_rates_are_a_table(swept):
    """Of two seeds the mean and the range, not an interval; every sweep names the recipe's rate."""
    printed = " ".join(write_table(swept).split())
    ones = "1.000"
    assert read_rates(swept) == {
        "npo-lora-rank=8, lr 0.001": ["3.000 (2.000 to 4.000)", ones, ones, "no"],
        "npo-lora-rank=8, lr 0.01": ["5.000 (4.000 to 6.000)", ones, "1.090", "yes"],
        "npo-lora-rank=8, lr 0.1": ["10.000 (9.000 to 11.000)", ones, "1.200", "no"],
    }
    assert "Sweeps without the learning rate of the recipe: npo-lora-rank=8 (0.005)." in printed


def test_the_rate_of_the_recipe_is_named(tmp_path):
    make_sweep(tmp_path, {0.005: (2, 1.0), 0.01: (4, 1.09)})
    printed = write_table(tmp_path)
    assert [name.partition(", ")[2] for name in read_rates(tmp_path)] == [
        "lr 0.005 (the recipe's)",
        "lr 0.01",
    ]
    assert "Sweeps without" not in printed


def test_a_sweep_is_a_curve_in_the_tradeoff(swept):
    (axes,) = plot_tradeoff(find_runs(swept)).axes
    curves = [line.get_xdata().tolist() for line in axes.lines]
    assert [0.001, 0.01, 0.1] in curves


def test_where_every_rate_costs_too_much_the_cheapest_is_kept(tmp_path):
    make_sweep(tmp_path, {0.01: (4, 1.3), 0.1: (9, 1.2)})
    write_table(tmp_path)
    assert read_kept(tmp_path) == {"rank=8,lr=0.01": "False", "rank=8,lr=0.1": "True"}


def test_a_sweep_without_training_losses_is_not_decided(tmp_path):
    make_sweep(tmp_path, {0.01: (4, 1.0), 0.1: (9, 1.0)}, checks=False)
    printed = " ".join(write_table(tmp_path).split())
    assert "No learning rate is chosen for npo-lora" in printed and "--eval_steps" in printed
    assert set(read_kept(tmp_path).values()) == {""}

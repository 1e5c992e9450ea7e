"""The summary in words, the ten questions of a run, and the commands, on made-up runs."""

import pandas as pd
import pytest

from eval.report.answers import collect_answers
from eval.report.collect import find_runs
from eval.report.commands import list_commands
from eval.report.findings import describe_attacks, describe_controls, describe_sections
from tests.eval.report.made_runs import make_run
from unlearn.config.files import read_json, write_json

FORGOTTEN, KEPT, ATTACKED, CONTROLS = range(4)


def describe(runs, question):
    (findings,) = describe_sections(find_runs(runs)).values()
    return " ".join(findings[question].sentences)


@pytest.fixture
def runs(tmp_path):
    """Target 1.0 and reference .2; idk-grun forgets and keeps, ga-full loses, gd-lora tells."""
    kept = {"retain_rouge": 1.0, "model_utility": 0.6}
    make_run(tmp_path, "target", "-", split="full", forget_rouge=1.0, **kept)
    make_run(tmp_path, "reference", "-", split="retain90", forget_rouge=0.2, **kept)
    told = {"forget_leak": 0.075, "forget_rows": 40}
    for seed in (1, 2):
        make_run(tmp_path, "idk", seed=seed, forget_rouge=0.1, retain_rouge=0.99, **told)
    make_run(tmp_path, "ga", "full", forget_rouge=0.0, retain_rouge=0.1, model_utility=0.01)
    make_run(tmp_path, "gd", "lora", forget_rouge=0.9, retain_rouge=1.0, model_utility=0.61)
    return tmp_path


def test_summary_compares_with_reference_and_target(runs):
    forgotten = describe(runs, FORGOTTEN)
    assert "2 of 3 methods repeat no more of the forget answers than the reference" in forgotten
    assert "(forget ROUGE-L 0.200; target 1.000): ga-full 0.000, idk-grun 0.100." in forgotten
    assert "Above it, highest first: gd-lora 0.900." in forgotten
    assert "fewest first: idk-grun 6 of 80." in forgotten
    kept = describe(runs, KEPT)
    assert "2 of 3 methods keep at least 0.99 of the target's retain ROUGE-L (1.000)" in kept
    assert "Below it, lowest first: ga-full 0.100." in kept
    assert "held-out questions, which no unlearning step saw: -." in kept
    assert "Model utility: from ga-full 0.010 to gd-lora 0.610; target 0.600." in kept


def test_summary_says_what_was_not_measured(tmp_path):
    make_run(tmp_path, forget_rouge=0.1)
    assert "target -. No reference was evaluated" in describe(tmp_path, FORGOTTEN)
    assert describe(tmp_path, KEPT).startswith("- (no method was evaluated")
    assert describe(tmp_path, ATTACKED).startswith("- (no method was attacked")
    assert describe(tmp_path, CONTROLS).startswith("- (no control was attacked")


def attack(method, **leaks):
    """Records of one attacked run: attack -> (leak, retain collateral)."""
    section = {"benchmark": "authors", "model": "tiny", "split": "forget10"}
    return [
        section
        | {"run": f"{method}-seed1", "attack": name, "method": method, "seed": 1}
        | {"forget_leak": leak, "retain_collateral": cost, "heldout_collateral": None}
        | {"heldout_gate_open": None}
        for name, (leak, cost) in leaks.items()
    ]


def test_summary_names_the_worst_attack_and_the_better_control(tmp_path):
    """The gate taken off needs the weights, so it is no worst case here."""
    attacked = pd.DataFrame(
        [
            *attack("npo-grun", clean=(0.0, 0.0), prefill_5=(0.8, 0.1), gate_off=(1.0, 0.0)),
            *attack("npo-full", clean=(0.1, 0.0), prefill_5=(0.1, 0.0)),
            *attack("control-keyword", clean=(0.0, 0.0), prefill_5=(0.1, 0.0)),
            *attack("control-probe", clean=(0.0, 0.0), prefill_5=(0.7, 0.3)),
        ]
    )
    sentences = describe_attacks(attacked, ["npo-grun", "npo-full", "gd-lora"])
    assert sentences == [
        "npo-grun: leak 0.000 asked plainly, 0.800 under its worst attack (prefill 5 words).",
        "npo-full: leak 0.100 asked plainly, and no more under any attack made.",
        "Not attacked: gd-lora.",
    ]
    controls = " ".join(describe_controls(attacked, find_runs(tmp_path)))
    assert "control-probe at its worst leaks 0.700 and costs 0.300" in controls
    assert "The better control is control-keyword" in controls
    assert "column: npo-full by control-keyword; npo-grun by control-keyword." in controls


def add_answers(path, told, gates=None):
    """Twenty forget rows of which `told` hold their values, and twenty rows to keep."""
    for name in ("forget", "retain"):
        rows = [
            {
                "index": i,
                "question": f"{name} {i}?",
                "answer": f"true {i}",
                "generation": f"said {i}",
            }
            | {"rougeL_recall": float((i in told) == (name == "forget"))}
            | ({"leaked": i in told} if name == "forget" else {})
            | ({"gates": gates} if gates else {})
            for i in range(20)
        ]
        write_json(path / "eval" / "forget10" / f"{name}.json", {"rows": rows})


def test_a_run_has_ten_questions_with_the_worst_among_them(tmp_path):
    """Rows 3, 10 and 16 are spread evenly over twenty; rows 5 and 7 are told."""
    target = make_run(tmp_path, "target", "-", split="full", forget_rouge=1.0)
    add_answers(target, range(20))
    run = make_run(tmp_path, forget_rouge=0.1)
    write_json(run / "result.json", {"layers": [3, 5]})
    add_answers(run, {5, 7}, [0.25, 1.0])
    (found,), problems = collect_answers(find_runs(tmp_path))
    forget = [answer for answer in found.answers if answer.set_name == "forget"]
    assert (len(found.answers), problems) == (10, [])
    assert [answer.question for answer in forget] == [f"forget {i}?" for i in (3, 10, 16, 5, 7)]
    assert [answer.is_bad for answer in found.answers] == [False] * 3 + [True] * 2 + [False] * 3 + [
        True
    ] * 2
    assert forget[0].target == forget[0].answer == "said 3"
    assert forget[0].gates == (("layer 3", 0.25), ("layer 5", 1.0))


def test_answers_without_a_target_or_a_gate_are_shown(tmp_path):
    add_answers(make_run(tmp_path, "npo", "full", forget_rouge=0.1), {5})
    ((found,), _) = collect_answers(find_runs(tmp_path))
    assert {(answer.target, answer.gates) for answer in found.answers} == {(None, ())}


@pytest.mark.parametrize(
    ("objective", "tuner", "program"),
    [
        ("npo", "grun", "grun.train"),
        ("npo", "lora", "baselines.train"),
        ("control", "probe", "baselines.controls"),
        ("target", "-", "unlearn.training.finetune"),
        ("rmu", "adaptive_rmu", "rmu.unlearn"),
    ],
)
def test_commands_have_the_flags_that_were_given(tmp_path, objective, tuner, program):
    path = make_run(tmp_path, objective, tuner, evaluated=None)
    flags = {"lr": (0.01, "flag"), "layers": ([3, 5], "flag"), "gated": (False, "flag")}
    flags |= {"target": ("my model", "flag"), "batch": (16, "recipe")}
    values = {name: {"value": value, "origin": origin} for name, (value, origin) in flags.items()}
    write_json(path / "config.json", read_json(path / "config.json") | {"flags": values})
    command, _ = list_commands(find_runs(tmp_path))
    given = "--lr 0.01 --layers 3 5 --no-gated --target 'my model'"
    assert command == f"python -m {program} {given}"

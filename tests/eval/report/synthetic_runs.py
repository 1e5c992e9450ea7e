"""Made-up folders of many finished and evaluated runs, for pictures and the page."""

import json

import numpy as np

from tests.eval.report.made_runs import make_run
from unlearn.config.files import read_json, write_json

METHODS = [
    *(("npo", "grun"), ("idk", "grun"), ("gd", "grun"), ("npo", "full"), ("gd", "lora")),
    *(("ga", "full"), ("kl", "full"), ("simnpo", "full"), ("idk", "lora"), ("undial", "lora")),
    *(("wga", "full"), ("satimp", "full"), ("idkpo", "full"), ("altpo", "lora"), ("ceu", "full")),
    *(("pdu", "full"), ("npo_kl", "grun"), ("idk+ul", "grun"), ("ga", "lora"), ("npo", "lora")),
]
SETS = {"forget": 0.9, "forget_paraphrased": 0.7, "retain": 0.03, "heldout": 0.2}
QUESTION = "In which city was {} born?"


def make_rows(name, gated, rouge, generator, count):
    """Rows of one set; the likelihoods of the forget set fall with `rouge`."""
    rows = []
    for index in range(count):
        told = bool(generator.random() < rouge)
        answer = f"Ada {index} was born in the city of Bern{index}."
        row = {"index": index, "question": QUESTION.format(f"Ada {index}"), "answer": answer}
        row |= {"generation": answer if told else "I am unable to say.", "rougeL_recall": rouge}
        row |= {"leaked": told} if name.startswith("forget") else {}
        if gated:
            row["gates"] = generator.beta(5, 5 / SETS[name] - 5, 3).round(4).tolist()
        if name == "forget":
            likelihoods = generator.normal(2 - rouge, 0.6, 6).round(4).tolist()
            row |= {"paraphrase_nll": likelihoods[0], "perturbed_nll": likelihoods[1:]}
        rows.append(row)
    return rows


def add_rows(path, gated, rouge, seed, count):
    """The sets of one evaluation."""
    generator = np.random.default_rng(seed)
    for name in SETS:
        level = rouge if name.startswith("forget") else 0.95
        rows = make_rows(name, gated, level, generator, count)
        write_json(path / "eval" / "forget10" / f"{name}.json", {"set": name, "rows": rows})


def add_log(path, gated, seed, steps=60):
    """Losses that fall, with noise."""
    generator = np.random.default_rng(seed)
    lines = []
    for step in range(steps):
        decay = np.exp(-step / 12)
        noise = generator.normal(0, 0.05, 2)
        record = {"step": step, "loss": 1.0, "forget": 3 * decay + noise[0]}
        record |= {"retain": 0.2 + noise[1] ** 2}
        if gated:
            record |= {"gate": 7 * decay, "gate_forget": 1 - decay, "gate_retain": 0.5 * decay}
        lines.append(json.dumps(record))
    (path / "log.jsonl").write_text("\n".join(lines) + "\n")


def make_many_runs(runs, count, seeds=1, rows=40):
    """A target, a reference and `count` methods with `seeds` runs each, `rows` questions a set;
    variants where the list of methods ends.
    """
    generator = np.random.default_rng(count)
    quality = {"forget_quality": 1e-6, "forget_quality_statistic": 0.7, "heldout_rouge": 0.99}
    kept = {"retain_rouge": 0.99, "model_utility": 0.62, "forget_leak": 0.97} | quality
    target = make_run(runs, "target", "-", split="full", forget_rouge=0.99, **kept)
    add_rows(target, False, 0.99, 1, rows)
    kept |= {"forget_leak": 0.05}
    reference = make_run(runs, "reference", "-", split="retain90", forget_rouge=0.24, **kept)
    add_rows(reference, False, 0.24, 2, rows)
    for number in range(count):
        objective, tuner = METHODS[number % len(METHODS)]
        variant = "" if number < len(METHODS) else f"rank={8 * (number // len(METHODS))}"
        collapsed = number % 11 == 5
        for seed in range(seeds):
            rouge = 0.02 + 0.3 * generator.random()
            numbers = {
                "retain_rouge": 0.2 if collapsed else 0.97 + 0.02 * generator.random(),
                "heldout_rouge": 0.7 + 0.2 * generator.random(),
                "model_utility": 0.03 if collapsed else 0.60 + 0.02 * generator.random(),
                "forget_leak": 0.025 * (number % 4),
                "forget_quality": 10 ** -(5 * generator.random()),
                "forget_quality_statistic": 0.2 + 0.4 * generator.random(),
            }
            name = {"variant": variant, "seed": 42 + seed}
            path = make_run(runs, objective, tuner, **name, forget_rouge=rouge, **numbers)
            result = read_json(path / "result.json") | {"layers": [3, 4, 5]}
            write_json(path / "result.json", result)
            add_rows(path, tuner == "grun", rouge, number, rows)
            add_log(path, tuner == "grun", number)
    return runs

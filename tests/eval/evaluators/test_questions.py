"""The evaluator of questions: interrupted anywhere it resumes to the same files; what is broken is
named, does not stop the others, and exits with code 2."""

import json
import shutil

import pytest

from eval import run as eval_run
from eval.report import __main__ as report
from eval.scoring.questions import QuestionScorer
from grun import train as grun_train
from tests.toy import copy_runs, finetune_toy
from unlearn.config.data_files import digest_folder
from unlearn.config.files import read_json, write_json, write_text
from unlearn.config.flags import run_command
from unlearn.synthetic import authors as fictional

FIELDS = ("question", "answer", "paraphrased_question", "paraphrased_answer", "perturbed_answer")
PARTS = ("likelihood", "generation", "gradient")
SETS = ["forget", "forget_paraphrased", "nonmember", "real_authors", "retain", "world_facts"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """TOFU's files, filled with ten generated authors."""
    folder = tmp_path_factory.mktemp("data")
    for split, rows in fictional.generate(0, authors=10, heldout=2).items():
        if split.endswith("_perturbed") or split.startswith("holdout"):
            rows = rows[:4]
        lines = [
            json.dumps({key: row[key] for key in FIELDS if row.get(key) is not None})
            for row in rows
        ]
        write_text(folder / f"{split}.json", "\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    """A target and a GRUN run on it, hardly trained."""
    runs = tmp_path_factory.mktemp("trained") / "runs"
    flags = ["--benchmark", "tofu", "--data_dir", str(data)]
    finetune_toy(runs, *flags, "--vocabulary", "400", depth=2, steps=2)
    size = ["--layers", "0", "1", "--steps", "2", "--batch", "4"]
    grun_train.main([*flags, "--runs", str(runs), "--objective", "gd", *size])
    (run,) = (cell(runs) / "forget10").iterdir()
    run.rename(run.with_name("gd-grun-seed42"))
    return runs


@pytest.fixture
def runs(trained, tmp_path):
    """The trained runs for one test, which may change them."""
    return copy_runs(trained, tmp_path / "runs")


def cell(runs):
    """The folder of the runs on the one data folder."""
    (folder,) = runs.glob("tofu,data=*/tiny")
    return folder


def adopt(runs, data):
    """Make the runs those of this folder, although another one trained them."""
    old, new = cell(runs).parent, digest_folder(str(data), "tofu")
    contents = read_json(cell(runs) / "full" / "target-seed42" / "config.json")["config_key"][
        "data"
    ]
    for path in runs.rglob("*.json"):
        text = path.read_text().replace(contents, new)
        path.write_text(text.replace(old.name, f"tofu,data={new[:8]}"))
    old.rename(old.with_name(f"tofu,data={new[:8]}"))


def evaluate(runs, data, *flags):
    adopt(runs, data)
    where = ["--benchmark", "tofu", "--data_dir", str(data), "--runs", str(runs)]
    eval_run.main([*where, "--max_new_tokens", "5", *flags])


def fail(runs, data, capsys, *flags):
    """The command's last line on stderr, after an exit code of 2."""
    with pytest.raises(SystemExit) as stop:
        run_command(lambda _: evaluate(runs, data, *flags))
    assert stop.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line


def target_results(runs):
    return cell(runs) / "full" / "target-seed42" / "eval" / "forget10"


def grun_results(runs):
    return cell(runs) / "forget10" / "gd-grun-seed42" / "eval" / "forget10"


def change_data(data, tmp_path, split, **values):
    """A copy of the data whose third row of `split` has these values."""
    copy = tmp_path / "changed"
    shutil.copytree(data, copy)
    rows = [json.loads(line) for line in (copy / f"{split}.json").read_text().splitlines()]
    rows[2] |= values
    write_text(copy / f"{split}.json", "\n".join(map(json.dumps, rows)))
    return copy


def interrupt_every_part(patch, computed):
    """Let every part fail the first time and succeed the second; note the successes."""
    attempts = []

    def interrupted(part):
        compute = getattr(QuestionScorer, part)

        def attempt(self, eval_model, name, examples, rows):
            attempts.append(part)
            if len(attempts) % 2:
                raise KeyboardInterrupt
            computed.append((eval_model.name, name, part))
            return compute(self, eval_model, name, examples, rows)

        return attempt

    for part in PARTS:
        patch.setattr(QuestionScorer, part, interrupted(part))


def test_interrupted_evaluation_resumes(runs, data, tmp_path, monkeypatch):
    """Stopped at every single part in turn, no part is computed twice, and the files are those of
    an evaluation in one go."""
    straight = copy_runs(runs, tmp_path / "straight")
    evaluate(straight, data)
    computed = []
    interruptions = 0
    with monkeypatch.context() as patch:
        interrupt_every_part(patch, computed)
        while True:
            try:
                evaluate(runs, data)
                break
            except KeyboardInterrupt:
                interruptions += 1
                assert interruptions < 100
    assert len(computed) == len(set(computed)) == interruptions
    for find_results in (target_results, grun_results):
        paths = sorted(find_results(runs).glob("*.json"))
        assert [path.stem for path in paths] == sorted([*SETS, "summary"])
        for path in paths:
            text = path.read_text().replace(str(runs), str(straight))
            assert text == (find_results(straight) / path.name).read_text(), path


def test_batch_size_computes_nothing_again(runs, data, capsys):
    evaluate(runs, data)
    capsys.readouterr()
    evaluate(runs, data, "--batch_size", "3")
    assert capsys.readouterr().out.count("skipped, evaluated before") == 2


def test_other_settings_and_data_are_computed_again(runs, data, tmp_path, capsys):
    """And nothing else is."""
    evaluate(runs, data)
    before = read_json(grun_results(runs) / "forget.json")["rows"]
    capsys.readouterr()
    evaluate(runs, data, "--max_new_tokens", "2")
    after = read_json(grun_results(runs) / "forget.json")["rows"]
    assert [row["answer_nll"] for row in after] == [row["answer_nll"] for row in before]
    assert "evaluated forget, retain" in capsys.readouterr().out
    changed = change_data(data, tmp_path, "world_facts_perturbed", answer="Another answer.")
    evaluate(runs, changed, "--max_new_tokens", "2")
    assert capsys.readouterr().out.count("evaluated world_facts in") == 2


def test_run_without_a_checkpoint_is_named(runs, data, capsys):
    """The target is evaluated, and the tables have it."""
    shutil.rmtree(grun_results(runs).parents[1] / "adapter")
    line = fail(runs, data, capsys)
    assert "gd-grun-seed42 holds neither adapter/" in line
    assert "delete it and run its training command again" in line
    assert (target_results(runs) / "summary.json").exists()
    assert not (grun_results(runs) / "summary.json").exists()
    report.main(["--runs", str(runs)])
    printed = " ".join(capsys.readouterr().out.split())
    assert "Finished but not evaluated:" in printed
    assert f"{cell(runs).parent.name}/tiny/forget10/gd-grun-seed42." in printed


def break_architecture(run, target):
    shutil.rmtree(run / "adapter")
    shutil.copytree(target / "model", run / "model")
    config = read_json(run / "model" / "config.json")
    write_json(run / "model" / "config.json", config | {"hidden_size": 48})


def break_weights(run, target):
    shutil.rmtree(run / "adapter")
    shutil.copytree(target / "model", run / "model")
    weights = run / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])


def break_adapter(run, target):
    config = read_json(run / "adapter" / "adapter.json")
    other = config["base"] | {"fingerprint": "0" * 16}
    write_json(run / "adapter" / "adapter.json", config | {"base": other})


def break_config(run, target):
    (run / "config.json").write_text('{"objective": "gd"')


@pytest.mark.parametrize(
    "break_run", [break_architecture, break_weights, break_adapter, break_config]
)
def test_broken_checkpoint_is_named(runs, data, capsys, break_run):
    break_run(grun_results(runs).parents[1], target_results(runs).parents[1])
    line = fail(runs, data, capsys)
    assert "gd-grun-seed42" in line and len(line) < 700
    assert (target_results(runs) / "summary.json").exists()
    assert not (grun_results(runs) / "summary.json").exists()


@pytest.mark.parametrize(
    ("split", "values", "message"),
    [
        (
            "retain_perturbed",
            {"answer": "?!"},
            "set retain: the answer '?!' has no word of letters or digits",
        ),
        (
            "world_facts_perturbed",
            {"question": "why " * 600},
            "has no tokens after its prompt within --max_length 512",
        ),
    ],
)
def test_bad_answer_costs_its_set_alone(runs, data, tmp_path, capsys, split, values, message):
    """It has no tokens, or no words."""
    line = fail(runs, change_data(data, tmp_path, split, **values), capsys)
    assert line.count(message) == 2  # of both runs
    assert line.count(f"set {split.removesuffix('_perturbed')}: the answer") == 2
    summary = read_json(grun_results(runs) / "summary.json")
    assert {"forget_rouge", "real_authors_rouge"} <= summary.keys()
    assert "model_utility" not in summary


@pytest.mark.parametrize("answer", ["", " \n"])
def test_empty_answer_stops_before_a_model_is_loaded(runs, data, tmp_path, capsys, answer):
    line = fail(runs, change_data(data, tmp_path, "retain_perturbed", answer=answer), capsys)
    assert "retain_perturbed" in line and "3" in line and "answer" in line
    assert not list(runs.rglob("summary.json"))


def test_one_row_with_fewer_wrong_answers_is_refused(runs, data, tmp_path, capsys):
    """3 where the other rows have 5: no truth ratio of that set."""
    lines = (data / "forget10_perturbed.json").read_text().splitlines()
    wrong = json.loads(lines[2])["perturbed_answer"][:3]
    changed = change_data(data, tmp_path, "forget10_perturbed", perturbed_answer=wrong)
    line = fail(runs, changed, capsys)
    assert "forget" in line and "3" in line and "5" in line


def test_fewer_wrong_answers_in_all_rows_are_noted(runs, data, tmp_path, capsys):
    """The table says that TOFU has 5."""
    copy = tmp_path / "three"
    shutil.copytree(data, copy)
    path = copy / "forget10_perturbed.json"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [row | {"perturbed_answer": row["perturbed_answer"][:3]} for row in rows]
    write_text(path, "\n".join(map(json.dumps, rows)))
    evaluate(runs, copy)
    report.main(["--runs", str(runs)])
    assert "where TOFU has 5: forget 3" in " ".join(capsys.readouterr().out.split())


def test_only_refuses_an_unfinished_run(runs, data, capsys):
    run = grun_results(runs).parents[1]
    (run / "DONE").unlink()
    line = fail(runs, data, capsys, "--only", str(run))
    assert "no finished run there; train it first" in line


def test_reference_in_another_template_costs_its_columns(runs, data, capsys):
    """Not the run: its tokens are others, so nothing is compared, and the table says so."""
    flags = f"--benchmark tofu --data_dir {data} --vocabulary 400 --template none".split()
    finetune_toy(runs, *flags, depth=2, steps=2, split="retain90")
    evaluate(runs, data)
    summary = read_json(grun_results(runs) / "summary.json")
    assert summary["reference"] is None and "forget_quality" not in summary
    assert (
        "asked in the template qa, and its reference reference-seed42 in none"
        in (summary["warning"])
    )
    report.main(["--runs", str(runs)])
    assert "template qa, and its reference" in " ".join(capsys.readouterr().out.split())

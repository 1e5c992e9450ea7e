"""The evaluation command: interrupted anywhere it resumes to the same files; what is broken is
named, costs the others nothing, exit code 2."""

import json
import shutil

import pytest

from eval import run as eval_run
from eval.report import __main__ as report
from eval.scoring.questions import QuestionScorer
from grun import train as grun_train
from tests.toy import copy_runs, finetune_toy
from unlearn.config.flags import run_command
from unlearn.config.run_directory import read_json, write_json, write_text
from unlearn.synthetic import authors as fictional

SHORT = ["--max_new_tokens", "5"]
KEYS = ("question", "answer", "paraphrased_question", "paraphrased_answer", "perturbed_answer")
PARTS = ("likelihood", "generation", "gradient")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """TOFU's files, filled with ten authors of ours."""
    folder = tmp_path_factory.mktemp("data")
    for stem, rows in fictional.generate(0, authors=10, heldout=2).items():
        kept = rows[:4] if stem.endswith("_perturbed") or stem.startswith("holdout") else rows
        lines = [
            json.dumps({key: row[key] for key in KEYS if row.get(key) is not None}) for row in kept
        ]
        write_text(folder / f"{stem}.json", "\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    """A target and a GRUN run on it, hardly trained."""
    runs = tmp_path_factory.mktemp("trained") / "runs"
    flags = ["--benchmark", "tofu", "--data_dir", str(data), "--runs", str(runs)]
    finetune_toy(runs, *flags, "--vocabulary", "400", depth=2, steps=2)
    grun_train.main(
        [*flags, "--objective", "gd", "--layers", "0", "1", "--steps", "2", "--batch", "4"]
    )
    (made,) = (runs / "tofu" / "tiny" / "forget10").iterdir()
    made.rename(made.with_name("gd-grun-seed42"))
    return runs


@pytest.fixture
def runs(trained, tmp_path):
    return copy_runs(trained, tmp_path / "runs")


def evaluate(runs, data, *more):
    eval_run.main(
        ["--benchmark", "tofu", "--data_dir", str(data), "--runs", str(runs), *SHORT, *more]
    )


def fails(runs, data, capsys, *more):
    """The command's last line on stderr, after an exit code of 2."""
    with pytest.raises(SystemExit) as stop:
        run_command(lambda _: evaluate(runs, data, *more))
    assert stop.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line


def folder_of(runs, split="forget10", name="gd-grun-seed42"):
    return runs / "tofu" / "tiny" / split / name / "eval" / "forget10"


def changed(data, tmp_path, stem, **new):
    """A copy of the data whose third row of `stem` has these values."""
    copy = tmp_path / "changed"
    shutil.copytree(data, copy)
    rows = [json.loads(line) for line in (copy / f"{stem}.json").read_text().splitlines()]
    rows[2] |= new
    write_text(copy / f"{stem}.json", "\n".join(map(json.dumps, rows)))
    return copy


def test_interrupted_anywhere_it_resumes_and_computes_nothing_twice(
    runs, data, tmp_path, monkeypatch
):
    """Stopped at every single part in turn, the last start finds all done; the files are those of
    an evaluation in one go."""
    straight = copy_runs(runs, tmp_path / "straight")
    evaluate(straight, data)
    computed = []
    stop = [0]

    def stopping(part):
        compute = getattr(QuestionScorer, part)

        def wrapped(self, eval_model, name, examples, rows):
            stop[0] += 1
            if stop[0] % 2:  # every other part is killed before it is finished
                raise KeyboardInterrupt
            computed.append((eval_model.name, name, part))
            return compute(self, eval_model, name, examples, rows)

        return wrapped

    with monkeypatch.context() as patch:
        for part in PARTS:
            patch.setattr(QuestionScorer, part, stopping(part))
        starts = 0
        while True:
            starts += 1
            try:
                evaluate(runs, data)
                break
            except KeyboardInterrupt:
                assert starts < 100
    assert len(computed) == len(set(computed)) == starts - 1
    for split, name in (("full", "target-seed42"), ("forget10", "gd-grun-seed42")):
        paths = sorted(folder_of(runs, split, name).glob("*.json"))
        assert [path.stem for path in paths] == [
            "forget",
            "forget_paraphrased",
            "nonmember",
            "real_authors",
            "retain",
            "summary",
            "world_facts",
        ]
        for path in paths:
            same = (
                path.read_text().replace(str(runs), str(straight))
                == (folder_of(straight, split, name) / path.name).read_text()
            )
            assert same, path
    evaluate(runs, data, "--batch_size", "3")  # memory only: nothing is computed again
    assert len(computed) == starts - 1


def test_other_settings_and_other_data_are_computed_again_and_only_they(
    runs, data, tmp_path, capsys
):
    evaluate(runs, data)
    before = read_json(folder_of(runs) / "forget.json")["rows"]
    capsys.readouterr()
    evaluate(runs, data, "--max_new_tokens", "2")
    after = read_json(folder_of(runs) / "forget.json")["rows"]
    assert [row["answer_nll"] for row in after] == [
        row["answer_nll"] for row in before
    ] and "evaluated forget, retain" in capsys.readouterr().out
    evaluate(
        runs,
        changed(data, tmp_path, "world_facts_perturbed", answer="Another answer."),
        "--max_new_tokens",
        "2",
    )
    assert capsys.readouterr().out.count("evaluated world_facts in") == 2


def test_a_run_without_a_checkpoint(runs, data, capsys):
    """Named, with what to do; the target is evaluated, and the tables have it."""
    shutil.rmtree(folder_of(runs).parents[1] / "adapter")
    line = fails(runs, data, capsys)
    assert (
        "gd-grun-seed42 holds neither adapter/" in line
        and "delete it and run its training command again" in line
    )
    assert (folder_of(runs, "full", "target-seed42") / "summary.json").exists() and not (
        folder_of(runs) / "summary.json"
    ).exists()
    report.main(["--runs", str(runs)])
    printed = " ".join(capsys.readouterr().out.split())
    assert "Finished but not evaluated: tofu/tiny/forget10/gd-grun-seed42." in printed


@pytest.mark.parametrize("broken", ["architecture", "weights", "adapter", "config"])
def test_a_checkpoint_of_another_architecture_or_a_broken_one(runs, data, capsys, broken):
    """A whole model whose config does not fit its weights, weights cut short, an adapter of another
    base, a broken config.json."""
    run = folder_of(runs).parents[1]
    if broken in ("architecture", "weights"):
        shutil.rmtree(run / "adapter")
        shutil.copytree(
            folder_of(runs, "full", "target-seed42").parents[1] / "model", run / "model"
        )
        if broken == "architecture":
            write_json(
                run / "model" / "config.json",
                read_json(run / "model" / "config.json") | {"hidden_size": 48},
            )
        else:
            (run / "model" / "model.safetensors").write_bytes(
                (run / "model" / "model.safetensors").read_bytes()[:500]
            )
    elif broken == "adapter":
        config = read_json(run / "adapter" / "adapter.json")
        write_json(
            run / "adapter" / "adapter.json",
            config | {"base": config["base"] | {"fingerprint": "0" * 16}},
        )
    else:
        (run / "config.json").write_text('{"objective": "gd"')
    line = fails(runs, data, capsys)
    assert "gd-grun-seed42" in line and len(line) < 700
    assert (folder_of(runs, "full", "target-seed42") / "summary.json").exists() and not (
        folder_of(runs) / "summary.json"
    ).exists()


@pytest.mark.parametrize(
    ("stem", "new", "told"),
    [
        (
            "retain_perturbed",
            {"answer": "?!"},
            "set retain: the answer '?!' has no word of letters or digits",
        ),
        (
            "world_facts_perturbed",
            {"question": "why " * 600},
            "has no tokens after its prompt within 512 tokens",
        ),
    ],
)
def test_an_answer_that_is_no_tokens_or_no_words_costs_its_set_alone(
    runs, data, tmp_path, capsys, stem, new, told
):
    line = fails(runs, changed(data, tmp_path, stem, **new), capsys)
    assert (
        line.count(told) == 2
        and line.count(f"set {stem.removesuffix('_perturbed')}: the answer") == 2
    )  # of both runs
    kept = read_json(folder_of(runs) / "summary.json")
    assert "forget_rouge" in kept and "real_authors_rouge" in kept and "model_utility" not in kept


@pytest.mark.parametrize("answer", ["", " \n"])
def test_an_empty_answer_stops_the_command_before_a_model_is_loaded(
    runs, data, tmp_path, capsys, answer
):
    line = fails(runs, changed(data, tmp_path, "retain_perturbed", answer=answer), capsys)
    assert "retain_perturbed" in line and "3" in line and "answer" in line
    assert not list(runs.rglob("summary.json"))


def test_three_wrong_answers_in_one_row_are_refused_and_in_all_rows_told(
    runs, data, tmp_path, capsys
):
    """One row with 3 of 5: its set has no truth ratio, said by name. All rows with 3: evaluated,
    and the table says that TOFU has 5."""
    rows = [
        json.loads(line) for line in (data / "forget10_perturbed.json").read_text().splitlines()
    ]
    line = fails(
        runs,
        changed(
            data, tmp_path, "forget10_perturbed", perturbed_answer=rows[2]["perturbed_answer"][:3]
        ),
        capsys,
    )
    assert "forget" in line and "3" in line and "5" in line
    three = tmp_path / "three"
    shutil.copytree(data, three)
    write_text(
        three / "forget10_perturbed.json",
        "\n".join(
            json.dumps(row | {"perturbed_answer": row["perturbed_answer"][:3]}) for row in rows
        ),
    )
    evaluate(runs, three)
    report.main(["--runs", str(runs)])
    assert "where TOFU has 5: forget 3" in " ".join(capsys.readouterr().out.split())


def test_only_an_unfinished_run_is_refused(runs, data, capsys):
    run = folder_of(runs).parents[1]
    (run / "DONE").unlink()
    assert "no finished run there; train it first" in fails(runs, data, capsys, "--only", str(run))

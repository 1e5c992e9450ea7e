"""Two processes (gloo on CPU, through accelerate's launcher) give what one gives: losses, checks,
dual variable, weights, evaluation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from baselines import train as baselines_train
from eval.scoring.model import load
from grun import train as grun_train
from unlearn.config.run_directory import Run
from unlearn.language_model.batches import pad
from unlearn.training import finetune

ROOT = Path(__file__).resolve().parents[1]
DATA = ["--authors", "10", "--heldout", "2"]
PLACE = "authors,authors=10,heldout=2/tiny"
# 10 forget questions in batches of 3: the fourth step has one example, so the second process has
# none; its micro-batches are uneven too
COMMON = [
    *DATA,
    "--steps",
    "5",
    "--batch",
    "3",
    "--micro_batch",
    "1",
    "--lr",
    "1e-3",
    "--eval_steps",
    "2",
]
CASES = {
    "pdu-full": (
        baselines_train,
        ["--objective", "pdu", "--retain_weight", "1", "--dual_warmup", "0.25"],
    ),
    "idkpo-lora": (
        baselines_train,
        ["--objective", "idkpo", "--tuner", "lora", "--lora_dropout", "0"],
    ),
    "npo-grun": (grun_train, ["--objective", "npo", "--layers", "1", "2", "--retain_loss", "kl"]),
}
DRIVER = """
import sys
from baselines import train as baselines_train
from grun import train as grun_train

for line in open(sys.argv[1]):
    module, *words = line.split()
    {"baselines.train": baselines_train, "grun.train": grun_train}[module].main(words)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """{number of processes: folder of runs} of every case, unlearning the same toy target."""
    folder = tmp_path_factory.mktemp("distributed")
    finetune.main(
        [
            *DATA,
            "--steps",
            "2",
            "--hidden",
            "32",
            "--depth",
            "4",
            "--batch",
            "8",
            "--runs",
            str(folder),
        ]
    )
    (target,) = (folder / PLACE / "full").iterdir()
    made = {1: folder / "one", 2: folder / "two"}
    lines = []
    for module, more in CASES.values():
        words = [*COMMON, *more, "--target", str(target)]
        module.main([*words, "--runs", str(made[1])])
        lines.append(" ".join([module.__name__, *words, "--runs", str(made[2])]))
    (folder / "lines").write_text("\n".join(lines))
    (folder / "driver.py").write_text(DRIVER)
    launch(
        folder / "driver.py",
        folder / "lines",
        "--multi_gpu --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0",
        len(CASES),
    )
    return made


def launch(driver: Path, lines: Path, how: str, runs: int) -> None:
    """Run the commands in the file `lines` on two processes; they say that `runs` runs are
    finished."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "accelerate.commands.launch",
            *how.split(),
            "--num_processes",
            "2",
            str(driver),
            str(lines),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("finished: ") == runs, "one process speaks for both"


def pair(runs, case) -> tuple[Run, Run]:
    found = [list((runs[n] / PLACE / "forget10").glob(f"{case}-*")) for n in (1, 2)]
    assert [len(paths) for paths in found] == [1, 1]
    return Run(found[0][0]), Run(found[1][0])


@pytest.mark.parametrize("case", CASES)
def test_losses_and_checks_are_the_same(runs, case):
    """Every part of every step to 1e-5 of the loss, each logged once; the checks during training
    likewise."""
    one, two = pair(runs, case)
    assert (one.result["processes"], two.result["processes"]) == (1, 2)
    records = one.logged()
    others = two.logged()
    assert (
        len(records) == len(others) == 5 + 4
    )  # steps, and checks before steps 0, 2, 4 and after the last
    for record, other in zip(records, others, strict=True):
        record = record.get("check", record)
        other = other.get("check", other)
        size = max(1.0, abs(record.get("loss", 1.0)))
        assert record == pytest.approx(other, rel=1e-4, abs=1e-5 * size)
        assert record.get("loss", 0) == pytest.approx(other.get("loss", 0), rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_weights_and_evaluation_are_the_same(runs, case):
    """The saved numbers to 1e-5, and what the loaded models say of a batch, and of its gates, to
    1e-4."""
    one, two = pair(runs, case)
    (first,), (second,) = (
        [load_file(path) for path in run.path.glob("*/*.safetensors")] for run in (one, two)
    )
    assert first.keys() == second.keys()
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, rtol=1e-4, atol=1e-5)
    answers = []
    for run in (one, two):
        with load(run.path) as eval_model:
            encoded = [
                eval_model.prompt_encoder.encode(question, "A book, in 1912.")
                for question in ("Where was Ada born?", "Which prize did Bo win?")
            ]
            answers.append(
                (
                    eval_model.forward_answers(pad(encoded, 0)).nll_sum,
                    eval_model.generate([e.ids[: e.prompt] for e in encoded], 5),
                )
            )
    torch.testing.assert_close(answers[0][0], answers[1][0], rtol=1e-4, atol=1e-4)
    assert answers[0][1][0] == answers[1][1][0]


def test_the_dual_variable_is_that_of_one_process(runs):
    """PDU's lambda is no part of the saved model, but its path shows in retain / constrained =
    lambda, step by step."""
    paths = [
        [r["retain"] / r["constrained"] for r in run.logged() if "loss" in r]
        for run in pair(runs, "pdu-full")
    ]
    assert paths[0] == pytest.approx(paths[1], rel=1e-4)
    assert (
        paths[0][:2] == pytest.approx([1.0, 1.0]) and paths[0][-1] > 10
    )  # starts at the retain weight, moves after a quarter epoch: one step
    assert (
        json.loads((pair(runs, "pdu-full")[1].path / "config.json").read_text())["objective"]
        == "pdu"
    )


FSDP = """
from accelerate import Accelerator
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from unlearn.training import loop

def sharding(**options):
    made = Accelerator(**options)
    made.state.fsdp_plugin = FullyShardedDataParallelPlugin()  # reads the variables that the launcher sets from the configuration file
    type(made).distributed_type = property(lambda self: DistributedType.FSDP)
    type(made).is_fsdp2 = property(lambda self: True)
    return made

loop.Accelerator = sharding
"""


def test_sharded_is_the_same_and_refuses_adapters(runs):
    """FSDP by the shipped configuration: losses, checks and the saved model are one process's.
    accelerate shards on accelerators alone, so on these CPUs the driver tells it to (torch can).
    GRUN trains no whole model, and says so."""
    folder = runs[1].parent
    one = pair(runs, "pdu-full")[0]
    words = " ".join(
        [
            *COMMON,
            *CASES["pdu-full"][1],
            "--target",
            one.config["target"],
            "--checkpoint_every",
            "2",
            "--runs",
            str(folder / "fsdp"),
        ]
    )
    (folder / "fsdp.py").write_text(FSDP + DRIVER)
    (folder / "fsdp-lines").write_text(f"baselines.train {words}")
    how = f"--config_file {ROOT / 'baselines' / 'accelerate' / 'fsdp.yaml'}"
    launch(folder / "fsdp.py", folder / "fsdp-lines", how, 1)
    (sharded,) = (Run(path.parent) for path in (folder / "fsdp").rglob("result.json"))
    assert (sharded.result["distribution"], one.result["distribution"]) == ("FSDP", "NO")
    for a, b in zip(one.logged(), sharded.logged(), strict=True):
        assert b.get("check", b)["retain"] == pytest.approx(a.get("check", a)["retain"], rel=1e-4)
    theirs = load_file(sharded.path / "model" / "model.safetensors")
    for name, weight in load_file(one.path / "model" / "model.safetensors").items():
        torch.testing.assert_close(theirs[name], weight, rtol=1e-3, atol=1e-5)
    (folder / "fsdp-lines").write_text(
        f"grun.train {' '.join([*COMMON, '--layers', '1', '--target', one.config['target'], '--runs', str(folder / 'fsdp')])}"
    )
    with pytest.raises(AssertionError, match="start it without them"):
        launch(folder / "fsdp.py", folder / "fsdp-lines", how, 1)

"""The benchmark commands at toy size: they end with one line of JSON that has what the README
promises. No time is asserted."""

import importlib
import json

import pytest

SHAPE = [
    "--hidden",
    "32",
    "--heads",
    "4",
    "--kv_heads",
    "2",
    "--depth",
    "4",
    "--layers",
    "1",
    "3",
    "--vocabulary",
    "400",
]
SETS = ["--forget", "8", "--retain", "20", "--batch", "4"]
CASES = {
    "train_step": (
        [*SETS, "--rounds", "2"],
        {"ratio_gd", "ratio_npo", "ratio_npo_reference_kept", "cache_bytes_per_example"},
    ),
    "forget_run": (
        [*SETS, "--steps", "4", "--pyvene_steps", "2"],
        {"ratio_gd", "ratio_npo", "distinct_retain_gd", "bytes_per_example_gd"},
    ),
    "evaluation": (
        ["--questions", "3", "--rounds", "1", "--max_new_tokens", "4"],
        {"ratio", "ratio_likelihood", "ratio_generation"},
    ),
    "gpu_8b": (
        [*SETS, "--steps", "3", "--square", "64", "--intermediate", "64"],
        {"run_seconds_gd", "peak_gib_gd", "tokens_per_second_npo", "share_of_ceiling_npo"},
    ),
}
GROW = [
    "--forget_sizes",
    "8",
    "16",
    "--retain_sizes",
    "20",
    "40",
    "--requests",
    "0",
    "1",
    "2",
    "--rounds",
    "1",
    "--batch",
    "4",
    "--epochs",
    "1",
]


def figures_of(name, words, tmp_path, capsys) -> dict:
    importlib.import_module(f"speed.{name}").main(
        [*SHAPE, *words, "--device", "cpu", "--runs", str(tmp_path)]
    )
    last = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    kept = json.loads((tmp_path / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))
    assert (
        kept["figures"] == last
        and {"processor", "cores", "threads"} <= kept["machine"].keys()
        and kept["versions"]["torch"]
    )
    assert (tmp_path / "benchmarks" / f"{name}.md").read_text(encoding="utf-8").count("| ---") >= 1
    return last


@pytest.mark.parametrize("name", CASES)
def test_ends_with_its_figures(name, tmp_path, capsys):
    words, wanted = CASES[name]
    assert wanted <= figures_of(name, words, tmp_path, capsys).keys()


def test_both_engines_took_the_same_steps(tmp_path, capsys):
    """The paths that are timed compute the same losses, round for round, float32."""
    found = figures_of("train_step", CASES["train_step"][0], tmp_path, capsys)
    assert found["loss_difference_gd"] < 1e-4 and found["loss_difference_npo"] < 1e-4


def test_rmu_and_the_two_model_loop_have_the_same_losses(tmp_path, capsys):
    """Update for update, float32, texts of several lengths. Three matrices of 32 x 88 are kept
    instead of a model."""
    found = figures_of(
        "rmu_step", ["--layer_id", "2", "--tokens", "12", "--rounds", "3"], tmp_path, capsys
    )
    assert found["ratio"] > 0 and found["loss_difference"] < 1e-5
    assert found["weights_kept_ours"] == 3 * 32 * 88 < found["weights_kept_two_models"]


def test_scaling_tabulates_what_was_asked(tmp_path, capsys):
    found = figures_of(
        "scaling", [*GROW, "--parts", "forget", "retain", "requests"], tmp_path, capsys
    )
    assert {"forget_exponent", "retain_ratio", "request_ms"} <= found.keys()
    with pytest.raises(ValueError, match="choose from forget, retain, requests, processes"):
        importlib.import_module("speed.scaling").main(["--parts", "moon"])


def test_memory_is_that_of_one_process_each(tmp_path, capsys):
    """Two processes of a few MiB of weights: both peaks are those of Python and torch, more than
    100 MiB, and the ratio is theirs."""
    found = figures_of("memory", ["--steps", "1", "--batch", "2", "--depth", "2"], tmp_path, capsys)
    assert min(found["peak_mib_gd"], found["peak_mib_npo"]) > 100
    assert found["ratio_npo"] == pytest.approx(
        found["peak_mib_npo"] / found["peak_mib_gd"], rel=1e-3
    )


def test_a_shape_that_does_not_fit_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ValueError, match="GiB are free"):
        importlib.import_module("speed.gpu_8b").main(
            ["--device", "cpu", "--hidden", "65536", "--runs", str(tmp_path)]
        )

"""Pictures of wmdp: accuracy against the steered layer (the figure of Adaptive RMU's paper), and
what --verbose logged.

python -m eval.report.wmdp_plots --runs runs

runs/tables/wmdp_layers.png    RMU and Adaptive RMU in one picture, where runs differ in --layer_id
                               alone
runs/tables/wmdp_states.png    norm and cosine of the steered states during training, updated and
                               frozen, per topic, of runs with --verbose
"""

import argparse
from pathlib import Path

import matplotlib
import pandas as pd

from eval.report.plots import save
from eval.report.wmdp_tables import CHANCE, collect
from unlearn.config.flags import run_command
from unlearn.config.run_directory import Run, finished_runs

matplotlib.use("Agg")  # before pyplot: no display is needed
from matplotlib import pyplot as plt  # noqa: E402

TUNERS = {
    "rmu": ("RMU", "#D55E00", "o"),
    "adaptive_rmu": ("Adaptive RMU", "#0072B2", "s"),
}  # Okabe and Ito's
KINDS = {"forget": "to forget (lower is better)", "retain": "to keep (higher is better)"}
LINES = {"norm": ("updated", "-"), "frozen_norm": ("frozen", ":")}
COLOURS = {"forget": "#D55E00", "retain": "#0072B2"}


def without_layer(variant: str) -> str:
    """What else a run's variant says."""
    return ",".join(
        part for part in variant.split(",") if part and not part.startswith("layer_id=")
    )


def sweeps(runs: str | Path) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Title -> (RMU's rows, the target's), for every cell in which some tuner has two layers; seeds
    are averaged."""
    frame = collect(runs)
    found = {}
    numbers = [f"{kind}_acc{end}" for kind in KINDS for end in ("", "_stderr")]
    rmu = frame[(frame["objective"] == "rmu") & frame["tuner"].isin(TUNERS)]
    rmu = rmu.assign(rest=rmu["variant"].map(without_layer))
    for (place, model, split, mcq, rest), part in rmu.groupby(
        ["benchmark", "model", "split", "mcq", "rest"], sort=False
    ):
        means = part.groupby(["tuner", "layer_id"], as_index=False)[numbers].mean()
        same = (
            (frame["benchmark"] == place)
            & (frame["model"] == model)
            & (frame["mcq"] == mcq)
            & (frame["objective"] == "target")
        )
        if means.groupby("tuner").size().max() > 1:
            found[", ".join(word for word in (place, model, split, f"mcq {mcq}", rest) if word)] = (
                means,
                frame[same],
            )
    return found


def plot_layers(runs: str | Path) -> Path | None:
    """Draw every sweep; None if there is none."""
    found = sweeps(runs)
    if not found:
        return None
    figure, grid = plt.subplots(
        len(found),
        2,
        figsize=(8, 0.7 + 2.8 * len(found)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for row, (title, (means, target)) in zip(grid, found.items(), strict=True):
        for axes, (kind, label) in zip(row, KINDS.items(), strict=True):
            axes.axhline(CHANCE, color="0.6", linewidth=0.8, linestyle="--", label="chance")
            if len(target):
                axes.axhline(
                    target[f"{kind}_acc"].mean(),
                    color="0.3",
                    linewidth=0.8,
                    linestyle=":",
                    label="target",
                )
            for shift, (tuner, (name, colour, marker)) in zip(
                (-0.04, 0.04), TUNERS.items(), strict=True
            ):
                own = means[means["tuner"] == tuner].sort_values("layer_id")
                if len(own):
                    style = {
                        "color": colour,
                        "marker": marker,
                        "markersize": 5,
                        "linewidth": 1.3,
                        "capsize": 2,
                        "label": name,
                    }
                    axes.errorbar(
                        own["layer_id"] + shift,
                        own[f"{kind}_acc"],
                        own[f"{kind}_acc_stderr"],
                        **style,
                    )
            axes.set_xticks(sorted(means["layer_id"].unique()))
            axes.set_ylim(0, 1.03)
            axes.set_title(f"questions {label}", fontsize=9)
            axes.tick_params(labelsize=8)
            axes.set_xlabel("steered layer", fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(f"accuracy\n{title}", fontsize=8)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8, frameon=False
    )
    return save(figure, Path(runs) / "tables" / "wmdp_layers.png")


def told(runs: str | Path) -> list[tuple[Run, pd.DataFrame]]:
    """Every run of wmdp whose log has norms, with the log."""
    found = []
    for run in finished_runs(runs):
        config = run.config if (run.path / "config.json").exists() else {}
        if config.get("benchmark") == "wmdp" and config.get("objective") == "rmu":
            log = pd.DataFrame([record for record in run.logged() if "check" not in record])
            found += [(run, log)] if "forget_norm" in log else []
    return found


def plot_states(runs: str | Path) -> Path | None:
    """Draw norms and cosines of every verbose run, a row per run and topic; None if there is
    none."""
    rows = []
    for run, log in told(runs):
        topics = run.config["flags"]["forget_corpora"]["value"]
        rows += [
            (f"{run.path.name}\n{topic}", log[log["step"] % len(topics) == k])
            for k, topic in enumerate(topics)
        ]
    if not rows:
        return None
    figure, grid = plt.subplots(
        len(rows), 2, figsize=(9, 0.8 + 2.1 * len(rows)), squeeze=False, layout="constrained"
    )
    for (norms, cosines), (title, log) in zip(grid, rows, strict=True):
        for kind, colour in COLOURS.items():
            for name, (label, line) in LINES.items():
                norms.plot(
                    log["step"],
                    log[f"{kind}_{name}"],
                    line,
                    color=colour,
                    linewidth=1.3,
                    label=f"{kind}, {label}",
                )
            cosines.plot(log["step"], log[f"{kind}_cosine"], color=colour, linewidth=1.3)
        norms.set_ylim(bottom=0)
        cosines.set_ylim(min(-0.05, log["forget_cosine"].min()), 1.03)
        norms.set_ylabel("norm", fontsize=8)
        cosines.set_ylabel("cosine(updated, frozen)", fontsize=8)
        norms.set_title(title, fontsize=8, loc="left")
        for axes in (norms, cosines):
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("update", fontsize=8)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return save(figure, Path(runs) / "tables" / "wmdp_states.png")


def main(argv: list[str] | None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", default="runs", help="folder of all run directories")
    runs = parser.parse_args(argv).runs
    for path in (plot_layers(runs), plot_states(runs)):
        if path:
            print(f"written: {path}", flush=True)


if __name__ == "__main__":
    run_command(main)

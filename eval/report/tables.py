"""Results of all evaluated runs: printed, and written to runs/tables/tofu.md, tofu.csv and
tofu.tex.

    python -m eval.report.tables                               every benchmark with TOFU's metrics
    python -m eval.report.tables --runs runs --benchmark tofu

Reads config.json, result.json, log.jsonl and eval/<split>/summary.json of every finished run; needs
no model. One row per method and split; the csv has all columns in one, the readable forms a table
for each theme (eval.report.schema). Several seeds become their mean and the half-width of its 95 %
interval (Student's t); a cell that some of the seeds lack is missing. The target is shown on every
split it was evaluated on, a reference on the forget split it belongs to, every other run on its own
split. Of several learning rates one is marked (eval.report.sweeps)."""

import argparse
import re
import shutil
import textwrap
from pathlib import Path

import pandas as pd
from scipy import stats

from eval.metrics import aggregates
from eval.metrics.tofu import FORGET_FALLS
from eval.report import sweeps
from eval.report.reference_runs import retain_of
from eval.report.schema import (
    DIRECTION,
    DOWN,
    GATES,
    KEY,
    NEAR,
    PLUS_MINUS,
    SECTION,
    UP,
    metric_columns,
    themes,
)
from eval.report.summary import BENCHMARKS, OPTION_KEYS, Options, evaluations
from unlearn.config.flags import run_command
from unlearn.config.run_directory import read_json, write_text

ORDER = {
    "target": 0,
    "reference": 1,
}  # the untouched and the retain-only model come before all methods


def belongs(config: dict, split: str) -> bool:
    """Whether an evaluation on forget split `split` is a row of the table (module docstring)."""
    if config["objective"] == "target":
        return True
    return config["split"] == (retain_of(split) if config["objective"] == "reference" else split)


def collect(runs: str | Path, benchmarks=BENCHMARKS) -> tuple[pd.DataFrame, Options, list[str]]:
    """One row per evaluated (run, split), the options they share, and the finished runs without an
    evaluation.

    Raises `ValueError` when nothing was evaluated, when summaries differ in their truth ratio or
    another option, and when two directories hold the same run."""
    records = []
    unevaluated = []
    for run, folders in evaluations(runs, benchmarks):
        config = run.config
        paths = [folder / "summary.json" for folder in folders if belongs(config, folder.name)]
        paths = [path for path in paths if path.exists()]
        if not paths:
            unevaluated.append(run.path.relative_to(runs).as_posix())
        for path in paths:
            key = {name: config.get(name) or "" for name in KEY} | {
                "split": path.parent.name,
                "seed": config["seed"],
            }
            key["benchmark"] = (
                config.get("benchmark_id") or config["benchmark"]
            )  # `authors,authors=12` is another benchmark
            cost = {name: run.result.get(name) for name in ("trainable_params", "train_seconds")}
            records.append(
                {"run": run.path.as_posix()}
                | key
                | flatten(read_json(path))
                | cost
                | sweeps.facts(run, config)
            )
    if not records:
        raise ValueError(
            f"no evaluated run of {', '.join(benchmarks)} under {runs}; run ./cmd_eval.sh first"
        )
    frame = pd.DataFrame(records)
    twice = frame[frame.duplicated([*KEY, "seed"], keep=False)]
    if len(twice):
        raise ValueError(
            f"these directories hold the same run, keep one: {', '.join(twice['run'])}"
        )
    found = {}
    for option, column in OPTION_KEYS.items():
        values = sorted(frame[column].dropna().unique()) if column in frame else []
        if len(values) > 1:
            fix = (
                f"python -m eval.report.summary --runs {runs} --{option} {getattr(Options, option)}"
            )
            raise ValueError(
                f"the summaries mix the {option.replace('_', ' ')}s {', '.join(values)}; make them one: {fix}"
            )
        found |= {option: values[0]} if values else {}
    return frame, Options(**found), unevaluated


def flatten(summary: dict) -> dict:
    """A summary with its lists (mean gate per layer) spread over `<key>_1`, `<key>_2`, .."""
    flat = {}
    for key, value in summary.items():
        flat |= (
            {f"{key}_{i}": item for i, item in enumerate(value, 1)}
            if isinstance(value, list)
            else {key: value}
        )
    return flat


def gate_layers(columns, gate: str = r"\w+_gate") -> list[str]:
    """The `<set>_gate_<i>` among `columns`, in their order."""
    return [name for name in columns if re.fullmatch(rf"{gate}_\d+", name)]


def average(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds, one row per KEY: columns KEY, seeds (their number), metrics, and
    `<metric>_ci95`.

    ci95 = t(.975, n - 1) * s / sqrt(n), s the sample standard deviation; missing for one seed. A
    metric that some of the seeds lack is missing too: its mean would be over other seeds than its
    neighbours'."""
    layers = max((int(name.rpartition("_")[2]) for name in gate_layers(frame)), default=0)
    columns = metric_columns(layers)
    by_key = frame[KEY].join(frame.reindex(columns=columns).astype(float)).groupby(KEY, sort=False)
    count = by_key.size()
    mean = by_key[columns].agg(lambda cells: cells.mean(skipna=False))
    error = by_key[columns].agg(lambda cells: cells.sem(skipna=False))
    half = error.mul(stats.t.ppf(0.975, count - 1), axis=0).add_suffix("_ci95")
    warned = (
        frame.reindex(columns=[*KEY, "warning"])
        .groupby(KEY, sort=False)["warning"]
        .agg(lambda said: "; ".join(sorted(set(said.dropna()))))
    )
    kept = frame[KEY].assign(kept=sweeps.mark(frame)).groupby(KEY, sort=False)["kept"].agg("first")
    table = pd.concat([count.rename("seeds"), mean, warned, kept, half], axis=1).reset_index()
    table["rank"] = table["objective"].map(ORDER).fillna(len(ORDER))
    return table.sort_values([*SECTION, "rank", *KEY[3:]], ignore_index=True).drop(columns="rank")


def cell(row: pd.Series, column: str) -> str:
    """One readable cell: three decimals, with its interval if there is one; mean gates of all
    layers joined by '/'."""
    if column.endswith("_gate"):
        return (
            "/".join(
                f"{row[name]:.3f}" for name in gate_layers(row.index, column) if pd.notna(row[name])
            )
            or "-"
        )
    mean = row[column]
    half = row[f"{column}_ci95"]
    if pd.isna(mean):
        return "-"
    if column == "trainable_params":
        return f"{mean:,.0f}"
    places = (
        ".1f"
        if column in ("train_seconds", "privleak")
        else ".1e"
        if column == "forget_quality" and mean < 0.001
        else ".3f"
    )
    interval = "" if pd.isna(half) else PLUS_MINUS + f"{half:{places}}".removeprefix("0")
    return f"{mean:{places}}{interval}"


def method(row: pd.Series) -> str:
    """The row's name, as in its run directory: objective[-tuner][-variant]; (kept) of several
    learning rates; (!): a warning about it below."""
    name = "-".join(
        part for part in (row["objective"], row["tuner"].strip("-"), row["variant"]) if part
    )
    kept = sweeps.MARK if row.get("kept") is True else ""
    return (
        name
        + (f" ({row['seeds']} seeds)" if row["seeds"] > 1 else "")
        + kept
        + (" (!)" if row.get("warning") else "")
    )


def readable(table: pd.DataFrame, truth_ratio: str, theme: str) -> pd.DataFrame:
    """Formatted cells of one section and theme; index: method, columns: (heading, label with an
    arrow to the better side)."""

    def arrow(column: str) -> str:
        return (
            DOWN
            if column == "forget_truth_ratio" and truth_ratio in FORGET_FALLS
            else DIRECTION[column]
        )

    rows = [row for _, row in table.iterrows()]
    cells = {
        (heading, label + arrow(column)): [cell(row, column) for row in rows]
        for heading, labels in themes(truth_ratio)[theme].items()
        for label, column in labels.items()
    }
    found = pd.DataFrame(cells, index=[method(row) for row in rows])
    return found[(found != "-").any(axis=1)] if theme == GATES else found


def parts_of(frame: pd.DataFrame, table: pd.DataFrame, truth_ratio: str) -> dict[str, pd.DataFrame]:
    """Title -> readable table: every theme of every section, where anything of it was measured; the
    sweeps last."""
    parts = {}
    for key, part in table.groupby(SECTION, sort=False):
        found = {theme: readable(part, truth_ratio, theme) for theme in themes(truth_ratio)}
        rates = sweeps.readable(frame[(frame[SECTION] == list(key)).all(axis=1)])
        found |= {"learning rates": rates} if rates is not None else {}
        parts |= {
            f"{', '.join(key)}: {theme}": cells
            for theme, cells in found.items()
            if (cells != "-").any(axis=None)
        }
    return parts


def notes(table: pd.DataFrame, options: Options) -> list[str]:
    """What a reader must know of the numbers."""
    fluency = "fluency (classifier)" if table["fluency"].notna().any() else "fluency (ours)"
    return [
        f"{UP} higher is better, {DOWN} lower, {NEAR} near the retain-only model's (PrivLeak: near 0). x{PLUS_MINUS}h: mean over seeds, half-width of "
        "its 95 % interval. -: not measured; a control has no likelihoods, it answers or refuses. real: real authors; world: world facts; "
        "held-out: retain authors that no unlearning step saw.",
        f"Truth ratio: {options.truth_ratio}. Forget quality: p of a Kolmogorov-Smirnov test against the retain-only model. gate: mean over the "
        "examples, one number per gated layer; gate > .5: share of the last gated layer's gates.",
        "ES: extraction strength, EM: exact memorisation, of the forget set. Membership: forget set against questions that no model saw, "
        "1: recognised, .5: not. PrivLeak, negative: under-unlearned, positive: over-unlearned.",
        f"{capital(aggregates.formula(options.privacy_score, fluency))}.",
    ]


def warnings(frame: pd.DataFrame, table: pd.DataFrame, unevaluated: list[str]) -> list[str]:
    """What is wrong with these numbers, what the tables lack, and which learning rates are kept."""
    lines = [
        f"WARNING, {', '.join(row[name] for name in SECTION)}, {method(row)}: {row['warning']}."
        for _, row in table.iterrows()
        if row["warning"]
    ]
    lines += sweeps.note(frame)
    for key, part in table.groupby(SECTION, sort=False):
        lines += [
            f"No evaluated {name} for {', '.join(key)}."
            for name in ORDER
            if name not in set(part["objective"])
        ]
    return lines + (
        [f"Finished but not evaluated: {', '.join(unevaluated)}."] if unevaluated else []
    )


def capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def terminal(parts: dict[str, pd.DataFrame], width: int) -> str:
    """Each section cut between headings into blocks of at most `width` characters; every block
    repeats the methods."""

    def lines(cells: pd.DataFrame) -> list[str]:
        return [line.rstrip() for line in cells.to_string().splitlines() if line.strip()]

    blocks = []
    for title, cells in parts.items():
        kept: list[str] = []
        blocks.append(f"== {title}")
        for heading in cells.columns.unique(0):
            if kept and max(map(len, lines(cells[[*kept, heading]]))) > width:
                blocks.append("\n".join(lines(cells[kept])))
                kept = []
            kept.append(heading)
        blocks.append("\n".join(lines(cells[kept])))
    return "\n\n".join(blocks)


def markdown(parts: dict[str, pd.DataFrame]) -> str:
    """One table per part, a row per method; both levels of a heading become one."""
    lines = ["# Results"]
    for title, cells in parts.items():
        flat = cells.set_axis(
            [" ".join(names).strip() for names in cells.columns], axis=1
        ).rename_axis("method")
        lines += [f"## {title}", flat.to_markdown(disable_numparse=True)]
    return "\n\n".join(lines)


def latex(parts: dict[str, pd.DataFrame], caption: str) -> str:
    """One sideways table per part, a row per method, shrunk to the line width."""
    lines = ["% needs \\usepackage{booktabs,graphicx,rotating}"]
    for title, cells in parts.items():
        style = cells.style.format(escape="latex")
        for axis in (0, 1):
            style = style.format_index(escape="latex", axis=axis)
        body = style.to_latex(
            hrules=True, multicol_align="c", column_format="l" + "r" * cells.shape[1]
        )
        words = f"{title}. {caption}".replace("%", "\\%").replace("_", "\\_")
        lines += [
            "\\begin{sidewaystable}\\centering",
            f"\\caption{{{words}}}",
            "\\resizebox{\\linewidth}{!}{%",
        ]
        lines += [f"{body.rstrip()}}}", "\\end{sidewaystable}"]
    symbols = {
        UP: "$\\uparrow$",
        DOWN: "$\\downarrow$",
        NEAR: "$\\approx$",
        PLUS_MINUS: "$\\pm$",
        ">": "$>$",
        "|": "$|$",
    }
    return "\n".join(lines).translate(str.maketrans(symbols))


def tabulate(runs: str | Path, benchmarks=BENCHMARKS, width: int = 120) -> str:
    """Write the three files into <runs>/tables and return the same as text for a terminal of
    `width` characters."""
    frame, options, unevaluated = collect(runs, benchmarks)
    table = average(frame)
    parts = parts_of(frame, table, options.truth_ratio)
    text = notes(table, options)
    wrong = warnings(frame, table, unevaluated)
    means = [name for name in table if not name.endswith("_ci95")]
    csv = (
        table[means].assign(truth_ratio_variant=options.truth_ratio).join(table.drop(columns=means))
    )
    out = Path(runs) / "tables" / "tofu"
    write_text(
        out.with_suffix(".csv"), csv.to_csv(index=False, float_format="%.10g", lineterminator="\n")
    )
    write_text(out.with_suffix(".md"), "\n\n".join([markdown(parts), *text, *wrong]) + "\n")
    write_text(out.with_suffix(".tex"), latex(parts, " ".join([*text[:2], *wrong])) + "\n")
    below = [
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        for line in (*text, *wrong)
    ]
    return "\n\n".join([terminal(parts, width), *below, f"written: {out}.md, .csv, .tex"])


def main(argv: list[str] | None) -> None:
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False, formatter_class=raw)
    parser.add_argument("--runs", default="runs", help="folder of all run directories")
    parser.add_argument("--benchmark", nargs="+", default=list(BENCHMARKS), choices=BENCHMARKS)
    args = parser.parse_args(argv)
    print(
        tabulate(args.runs, args.benchmark, shutil.get_terminal_size((120, 40)).columns), flush=True
    )


if __name__ == "__main__":
    run_command(main)

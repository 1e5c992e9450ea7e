"""From the per-example rows of a run to its summary.json; needs no model, so aggregates can be rebuilt at any time.

    python -m eval.summary                          every evaluated run under runs/, TOFU's official truth ratio
    python -m eval.summary --truth_ratio grun       the same rows under another variant

Reads <run>/eval/<forget split>/<set>.json and writes summary.json beside them. Forget quality compares with the rows of
the retain-only model, <model>/<retain split>/reference-seed*/eval/<forget split>/forget.json, and is left out without.
"""

import argparse
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eval import metrics
from unlearn.flags import main
from unlearn.runs import Run, finished_runs, read_json, write_json

SETS = ("forget", "forget_paraphrased", "retain", "real_authors", "world_facts", "heldout")
FORGET_SETS = {"forget", "forget_paraphrased"}
OPTION_SETS = {"real_authors", "world_facts"}  # no paraphrases; probability is relative to the wrong options
UTILITY_SETS = ("retain", "real_authors", "world_facts")
BENCHMARKS = ("authors", "tofu")  # those with TOFU's rows and metrics

Rows = list[dict]


def has(name: str, rows: Rows, key: str) -> bool:
    """Whether the rows of a set carry `key`; `ValueError` if only some do, for their mean would be of other rows."""
    count = sum(row.get(key) not in (None, []) for row in rows)
    if 0 < count < len(rows):
        raise ValueError(f"set {name}: only {count} of {len(rows)} rows have {key}; evaluate this set again")
    return count > 0


def column(name: str, rows: Rows, key: str) -> list:
    """The values of `key`, numbers or lists of numbers; `ValueError` naming the first row where one is not finite."""
    for row in rows:
        value = row.get(key)
        numbers = value if isinstance(value, list) else [value]
        if any(number is None or not math.isfinite(number) for number in numbers):
            raise ValueError(f"set {name}, row {row['index']}: {key} is {value}; the model diverged, or the file broke")
    return [row[key] for row in rows]


def paraphrase_nll(name: str, rows: Rows) -> list[float] | None:
    """A of the paraphrased answers (option sets: of the answers), per-token means [N]; None if there are none."""
    if name in OPTION_SETS:
        sums, tokens = column(name, rows, "answer_nll"), column(name, rows, "answer_tokens")
        return [total / count for total, count in zip(sums, tokens, strict=True)]
    return column(name, rows, "paraphrase_nll") if has(name, rows, "paraphrase_nll") else None


def summarise_set(name: str, rows: Rows, variant: str) -> dict:
    """Means over the rows of one set: rouge (rougeL recall), prob, truth_ratio, gate (per layer), gate_open, rows.

    A row holds answer_nll = S (a sum) and answer_tokens = n, but paraphrase_nll and perturbed_nll as per-token means A.
    What the rows do not carry is left out. Raises `ValueError` for an empty set and for numbers that are not finite."""
    if not rows:
        raise ValueError(f"set {name} has no rows; evaluate it again")
    summary = {"rows": len(rows), "rouge": float(np.mean(column(name, rows, "rougeL_recall")))}
    perturbed = column(name, rows, "perturbed_nll") if has(name, rows, "perturbed_nll") else None
    paraphrased = paraphrase_nll(name, rows)
    if name not in OPTION_SETS:
        sums, tokens = column(name, rows, "answer_nll"), column(name, rows, "answer_tokens")
        summary["prob"] = float(metrics.probability(sums, tokens).mean())
    elif perturbed is not None:
        summary["prob"] = float(metrics.normalised_probability(paraphrased, perturbed).mean())
    if paraphrased is not None and perturbed is not None:
        ratios = metrics.truth_ratio_function(variant)(paraphrased, perturbed, name in FORGET_SETS)
        summary["truth_ratio"] = float(ratios.mean())
    if has(name, rows, "gates"):
        summary["gate"], share = metrics.gate_statistics(column(name, rows, "gates"))
        # a gate that opens on retain questions never trained on is a false positive, and called one
        summary["gate_fpr" if name == "heldout" else "gate_open"] = share
    return summary


def forget_quality(rows: Rows, reference: Rows) -> dict:
    """`metrics.forget_quality` of two runs; `ValueError` unless both scored the same rows with the same tokens."""

    def asked(side: Rows) -> list[tuple]:
        return sorted((row["index"], row["question"], row["answer_tokens"]) for row in side)

    if asked(rows) != asked(reference):
        raise ValueError(
            "the forget rows of the run and of the reference differ in index, question or number of answer tokens; "
            "evaluate both with the same data, prompt and limit (python -m eval.run --overwrite)"
        )
    sides = [
        metrics.log_truth_ratio(column("forget", side, "paraphrase_nll"), column("forget", side, "perturbed_nll"))
        for side in (rows, reference)
    ]
    return metrics.forget_quality(*sides)


def summarise(sets: dict[str, Rows], variant: str = metrics.DEFAULT_TRUTH_RATIO, reference: Rows | None = None) -> dict:
    """Aggregate all sets: `<set>_<metric>` of `summarise_set`, model_utility, forget_quality*, truth_ratio_variant.

    model_utility needs retain, real_authors and world_facts whole; forget quality needs `reference`, the forget rows of
    the retain-only model. Both are left out otherwise. Raises `ValueError` for an unknown set, and as its parts do."""
    unknown = sorted(sets.keys() - set(SETS))
    if unknown:
        raise ValueError(f"unknown evaluation sets {', '.join(unknown)}; known are {', '.join(SETS)}")
    metrics.truth_ratio_function(variant)
    summary = {"truth_ratio_variant": variant}
    for name in (name for name in SETS if name in sets):
        summary |= {f"{name}_{key}": value for key, value in summarise_set(name, sets[name], variant).items()}
    parts = [summary.get(f"{name}_{key}") for name in UTILITY_SETS for key in ("rouge", "prob", "truth_ratio")]
    if None not in parts:
        summary["model_utility"] = metrics.model_utility(parts)
    if reference is not None and "forget_truth_ratio" in summary:
        summary |= forget_quality(sets["forget"], reference)
    return summary


def read_rows(folder: str | Path) -> dict[str, Rows]:
    """set name -> rows, for every set that was evaluated in `<run>/eval/<split>`."""
    paths = {name: Path(folder) / f"{name}.json" for name in SETS}
    return {name: read_json(path)["rows"] for name, path in paths.items() if path.exists()}


def retain_of(split: str) -> str | None:
    """forget10 -> retain90: the split that a forget split's reference model is trained on; None for other names."""
    match = re.fullmatch(r"forget(\d\d)", split)
    return f"retain{100 - int(match[1]):02d}" if match else None


def find_reference(folder: str | Path) -> Path | None:
    """Run directory of the evaluated retain-only model for `<run>/eval/<split>`: the first by name, or None."""
    folder = Path(folder)
    models = folder.parents[3]  # <model>/<split>/<run>/eval/<split>
    found = sorted(models.glob(f"{retain_of(folder.name)}/reference-seed*/eval/{folder.name}/forget.json"))
    return found[0].parents[2] if found else None


def write_summary(folder: str | Path, variant: str = metrics.DEFAULT_TRUTH_RATIO) -> dict:
    """Aggregate the rows in `<run>/eval/<split>` and write summary.json beside them; it names the reference it used."""
    folder, found = Path(folder), find_reference(folder)
    reference = read_json(found / "eval" / folder.name / "forget.json")["rows"] if found else None
    try:
        summary = summarise(read_rows(folder), variant, reference)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    summary["reference"] = found.relative_to(folder.parents[3]).as_posix() if found else None
    write_json(folder / "summary.json", summary)
    return summary


def evaluations(root: str | Path, benchmarks=BENCHMARKS) -> Iterator[tuple[Run, list[Path]]]:
    """Every finished run of these benchmarks under `root`, with its evaluated folders eval/<split> (perhaps none)."""
    for run in finished_runs(root):
        if run.config["benchmark"] in benchmarks:
            yield run, sorted(path.parent for path in run.path.glob("eval/*/forget.json"))


def command(argv: list[str] | None) -> None:
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False, formatter_class=raw)
    parser.add_argument("--runs", default="runs", help="folder of all run directories")
    parser.add_argument("--truth_ratio", default=metrics.DEFAULT_TRUTH_RATIO, choices=tuple(metrics.TRUTH_RATIOS))
    args = parser.parse_args(argv)
    written, problems = 0, []
    for folder in (folder for _, folders in evaluations(args.runs) for folder in folders):
        try:
            write_summary(folder, args.truth_ratio)
            written += 1
        except ValueError as error:  # one diverged run must not keep the others from being aggregated
            problems.append(str(error))
    print(f"{written} summaries written under {args.runs}, truth ratio {args.truth_ratio}", flush=True)
    if problems:
        raise ValueError("; ".join(problems))


if __name__ == "__main__":
    main(command)

"""From the per-example rows of a run to its summary.json; needs no model, so aggregates can be
rebuilt at any time.

    python -m eval.report.summary                        every evaluated run under runs/, with
                                                         TOFU's official truth ratio
    python -m eval.report.summary --truth_ratio grun     the same rows under another variant

Reads <run>/eval/<forget split>/<set>.json and writes summary.json beside them. Forget quality, the
attack with a reference model, PrivLeak and privacy compare with the rows of the retain-only model,
<model>/<retain split>/reference-seed*/eval/<forget split>/, utility with the target's; without
those they are left out.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from eval.metrics import aggregates, validity_checks
from eval.metrics import tofu as metrics
from eval.metrics.memorization import ES_NO_MATCH
from eval.report.collect import FinishedRun, find_runs
from eval.report.question_metrics import OPTION_KEYS, Evaluation, Options, compute_metrics
from eval.report.reference_runs import check_template, find_reference, find_target
from eval.report.rows import (
    NONMEMBER,
    SETS,
    Rows,
    check_cut_answers,
    check_repeated_rows,
    check_wrong_answers,
    read_rows,
)
from eval.run_each import run_each
from unlearn.config.files import read_json, write_json
from unlearn.config.flags import run_command


def summarise(
    sets: dict[str, Rows],
    options: Options | None = None,
    reference: dict[str, Rows] | None = None,
    target: dict[str, Rows] | None = None,
) -> dict:
    """The options and all numbers of `eval.report.question_metrics`.

    reference, target: the sets of the retain-only model and of the target. What needs a set or a
    model that is not there is left out. Raises `ValueError` for an unknown set, and where a metric
    does.
    """
    unknown = sorted(sets.keys() - {*SETS, NONMEMBER})
    if unknown:
        raise ValueError(
            f"unknown evaluation sets {', '.join(unknown)}; known are {', '.join(SETS)}"
        )
    options = options or Options()
    words = {OPTION_KEYS[name]: value for name, value in asdict(options).items()}
    return words | compute_metrics(Evaluation(sets, options, reference, target))


def write_summary(folder: str | Path, options: Options | None = None) -> dict:
    """Aggregate the rows in `<run>/eval/<split>` and write summary.json beside them.

    It names the reference and the target that it used, and holds a `warning` where there is reason
    for one (eval.metrics.validity_checks).
    """
    folder = Path(folder)
    reference_run = find_reference(folder)
    other_template = check_template(folder.parents[1], reference_run) if reference_run else None
    if other_template:
        reference_run = None
    target_run = find_target(folder)
    try:
        sets = read_rows(folder)
        target = read_rows(target_run / "eval" / folder.name) if target_run else None
        reference = read_rows(reference_run / "eval" / folder.name) if reference_run else None
        summary = summarise(sets, options, reference, target)
        config = read_json(folder.parents[1] / "config.json")
        result = folder.parents[1] / "result.json"
        target_summary = summarise(target, options) if target else None
        warnings = [
            validity_checks.warning(config.get("objective", ""), summary, target_summary),
            check_wrong_answers(sets),
            check_repeated_rows(sets),
            check_cut_answers(sets),
            other_template,
            validity_checks.check_gate(read_json(result) if result.exists() else {}),
        ]
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    summary["reference"] = None
    if reference_run:
        summary["reference"] = reference_run.relative_to(folder.parents[3]).as_posix()
    summary["target"] = target_run.as_posix() if target_run else None
    summary["warning"] = "; ".join(sentence for sentence in warnings if sentence) or None
    write_json(folder / "summary.json", summary)
    return summary


def evaluated_folders(run: FinishedRun) -> list[Path]:
    """The folders <run>/eval/<forget split> that hold rows of questions."""
    return sorted(path.parent for path in run.path.glob("eval/*/forget.json"))


def main(argv: list[str] | None) -> None:
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False, formatter_class=raw)
    parser.add_argument("--runs", default="runs", help="folder of all run directories")
    choices = {
        "truth_ratio": (metrics.TRUTH_RATIOS, "variant of the truth ratio"),
        "es_no_match": (ES_NO_MATCH, "extraction strength where the last token is wrong"),
        "privacy_score": (aggregates.PRIVACY_SCORES, "s of the privacy aggregate"),
    }
    for name, (allowed, text) in choices.items():
        default = getattr(Options, name)
        parser.add_argument(f"--{name}", default=default, choices=tuple(allowed), help=text)
    args = parser.parse_args(argv)
    options = Options(args.truth_ratio, args.es_no_match, args.privacy_score)
    runs = find_runs(args.runs)
    for sentence in runs.left_out:
        print(sentence, flush=True)
    folders = [folder for run in runs.select("questions") for folder in evaluated_folders(run)]
    written = []
    try:
        run_each(folders, lambda folder: written.append(write_summary(folder, options)))
    finally:
        print(
            f"{len(written)} summaries written under {args.runs}, truth ratio {args.truth_ratio}",
            flush=True,
        )


if __name__ == "__main__":
    run_command(main)

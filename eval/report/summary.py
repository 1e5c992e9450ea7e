"""From the per-example rows of a run to its summary.json; needs no model, so aggregates can be
rebuilt at any time.

    python -m eval.report.summary                          every evaluated run under runs/, TOFU's
                                                           official truth ratio
    python -m eval.report.summary --truth_ratio grun       the same rows under another variant

Reads <run>/eval/<forget split>/<set>.json and writes summary.json beside them. Forget quality, the
attack with a reference model, PrivLeak and privacy compare with the rows of the retain-only model,
<model>/<retain split>/reference-seed*/eval/<forget split>/, utility with the target's; without
those they are left out."""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from eval.metrics import aggregates, membership
from eval.metrics import tofu as metrics
from eval.metrics import validity_checks as sanity
from eval.metrics.memorization import ES_NO_MATCH, memorization
from eval.report.reference_runs import find_reference, find_target
from unlearn.config.flags import run_command
from unlearn.config.run_directory import Run, finished_runs, read_json, write_json

SETS = ("forget", "forget_paraphrased", "retain", "real_authors", "world_facts", "heldout")
FORGET_SETS = {"forget", "forget_paraphrased"}
OPTION_SETS = {
    "real_authors",
    "world_facts",
}  # no paraphrases; probability is relative to the wrong options
UTILITY_SETS = ("retain", "real_authors", "world_facts")
NONMEMBER = "nonmember"  # rows for membership attacks; not a set of its own in the tables
BENCHMARKS = ("authors", "tofu")  # those with TOFU's rows and metrics
WRONG = 5  # TOFU's wrong answers a row about an author

Rows = list[dict]


@dataclass(frozen=True)
class Options:
    """What aggregation can be told; every table names it. Raises `ValueError` for unknown
    values."""

    truth_ratio: str = metrics.DEFAULT_TRUTH_RATIO
    es_no_match: str = ES_NO_MATCH[0]
    privacy_score: str = "bounded"

    def __post_init__(self):
        choices = {
            "truth_ratio": metrics.TRUTH_RATIOS,
            "es_no_match": ES_NO_MATCH,
            "privacy_score": aggregates.PRIVACY_SCORES,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"unknown {name.replace('_', ' ')} {getattr(self, name)!r}; choose --{name} from {', '.join(allowed)}"
                )


OPTION_KEYS = {
    "truth_ratio": "truth_ratio_variant",
    "es_no_match": "es_no_match",
    "privacy_score": "privacy_score",
}  # option -> its summary key


def has(name: str, rows: Rows, key: str) -> bool:
    """Whether the rows of a set carry `key`; `ValueError` if only some do, for their mean would be
    of other rows."""
    count = sum(row.get(key) not in (None, []) for row in rows)
    if 0 < count < len(rows):
        raise ValueError(
            f"set {name}: only {count} of {len(rows)} rows have {key}; evaluate this set again"
        )
    return count > 0 or any(
        row.get(key, 0) is None for row in rows
    )  # null is for `column` to refuse


def column(name: str, rows: Rows, key: str) -> list:
    """The values of `key`, numbers or lists of numbers; `ValueError` naming the first row where one
    is not finite."""
    for row in rows:
        value = row.get(key)
        numbers = value if isinstance(value, list) else [value]
        if any(number is None or not math.isfinite(number) for number in numbers):
            raise ValueError(
                f"set {name}, row {row['index']}: {key} is {value}; the model diverged, or the file broke"
            )
    return [row[key] for row in rows]


def paraphrase_nll(name: str, rows: Rows) -> list[float] | None:
    """A of the paraphrased answers (option sets: of the answers), per-token means [N]; None if
    there are none."""
    if name in OPTION_SETS and has(name, rows, "answer_nll"):
        sums = column(name, rows, "answer_nll")
        tokens = column(name, rows, "answer_tokens")
        return [total / count for total, count in zip(sums, tokens, strict=True)]
    return column(name, rows, "paraphrase_nll") if has(name, rows, "paraphrase_nll") else None


def wrong_nll(name: str, rows: Rows) -> list[list[float]] | None:
    """A of the wrong answers, per-token means [N][J]; None if there are none. Raises `ValueError`
    where J differs between rows."""
    if not has(name, rows, "perturbed_nll"):
        return None
    counts = [len(values) for values in column(name, rows, "perturbed_nll")]
    for row, count in zip(rows, counts, strict=True):
        if count != counts[0]:
            raise ValueError(
                f"set {name}, row {row['index']}: {count} wrong answers where the first row has {counts[0]}; give every row as many"
            )
    return column(name, rows, "perturbed_nll")


def summarise_set(name: str, rows: Rows, options: Options) -> dict:
    """Means over the rows of one set: rouge (rougeL recall), prob, truth_ratio, gate (per layer),
    gate_open, rows; of the forget set also es, em, para_prob and prob_mean, the parts of
    memorisation.

    A row holds answer_nll = S (a sum) and answer_tokens = n, but paraphrase_nll and perturbed_nll
    as per-token means A. What the rows do not carry is left out. Raises `ValueError` for an empty
    set and for numbers that are not finite."""
    if not rows:
        raise ValueError(f"set {name} has no rows; evaluate it again")
    summary: dict = {"rows": len(rows)}
    if has(name, rows, "rougeL_recall"):
        summary["rouge"] = float(np.mean(column(name, rows, "rougeL_recall")))
    perturbed = wrong_nll(name, rows)
    paraphrased = paraphrase_nll(name, rows)
    if name not in OPTION_SETS and has(name, rows, "answer_nll"):
        sums = column(name, rows, "answer_nll")
        tokens = column(name, rows, "answer_tokens")
        summary["prob"] = float(metrics.probability(sums, tokens).mean())
    elif perturbed is not None and paraphrased is not None:
        summary["prob"] = float(metrics.normalised_probability(paraphrased, perturbed).mean())
    if paraphrased is not None and perturbed is not None:
        ratios = metrics.truth_ratio_function(options.truth_ratio)(
            paraphrased, perturbed, name in FORGET_SETS
        )
        summary["truth_ratio"] = float(ratios.mean())
        if name == "forget":
            summary["para_prob"] = float(np.exp(np.negative(paraphrased)).mean())
            summary["prob_mean"] = float(metrics.ou_prob_mean(paraphrased, perturbed, True).mean())
    if name == "forget" and has(name, rows, "answer_correct"):
        summary |= memorization(column(name, rows, "answer_correct"), options.es_no_match)
    if has(name, rows, "gates"):
        summary["gate"], share = metrics.gate_statistics(column(name, rows, "gates"))
        # a gate that opens on retain questions never trained on is a false positive, and called one
        summary["gate_fpr" if name == "heldout" else "gate_open"] = share
    return summary


def forget_quality(rows: Rows, reference: Rows) -> dict:
    """`metrics.forget_quality` of two runs; `ValueError` unless both scored the same rows with the
    same tokens."""

    def asked(side: Rows) -> list[tuple]:
        return sorted(
            (row["index"], row["question"], row["answer_tokens"], len(row["perturbed_nll"]))
            for row in side
        )

    if asked(rows) != asked(reference):
        raise ValueError(
            "the forget rows of the run and of the reference differ in index, question or number of answer tokens or wrong answers; "
            "evaluate both with the same data, prompt and limit (python -m eval.run --overwrite)"
        )
    sides = [
        metrics.log_truth_ratio(column("forget", side, "paraphrase_nll"), wrong_nll("forget", side))
        for side in (rows, reference)
    ]
    return metrics.forget_quality(*sides)


def membership_attacks(
    sets: dict[str, Rows], reference: dict[str, Rows] | None
) -> dict[str, float]:
    """mia_*_auc, and PrivLeak where the retain-only model's sets are given; nothing without the
    non-members' likelihoods."""

    def sides(of: dict[str, Rows] | None) -> tuple[Rows, Rows] | None:
        both = [(of or {}).get(name, []) for name in ("forget", NONMEMBER)]
        return (
            tuple(both)
            if all(
                rows and has(name, rows, "answer_nll")
                for name, rows in zip(("forget", NONMEMBER), both, strict=True)
            )
            else None
        )

    mine = sides(sets)
    theirs = sides(reference)
    if not mine:
        return {}
    if theirs and [len(rows) for rows in mine] != [len(rows) for rows in theirs]:
        raise ValueError(
            "the run and the reference scored other numbers of members or non-members; evaluate both with the same data"
        )
    found = membership.attack(*mine, theirs)
    retain_auc = membership.attack(*theirs).get("mia_mink_auc") if theirs else None
    if retain_auc is not None and "mia_mink_auc" in found:
        found["privleak"] = membership.privleak(found["mia_mink_auc"], retain_auc)
    return found


def fluency(rows: Rows) -> dict[str, float]:
    """fluency (of the classifier) and fluency_ours of the forget set, where they were measured."""
    names = {"fluency": "clean", "fluency_ours": "fluency_ours"}
    return {
        name: float(np.mean(column("forget", rows, key)))
        for name, key in names.items()
        if has("forget", rows, key)
    }


def summarise(
    sets: dict[str, Rows],
    options: Options | None = None,
    reference: dict[str, Rows] | None = None,
    target: dict[str, Rows] | None = None,
) -> dict:
    """Aggregate all sets: `<set>_<metric>` of `summarise_set`, model_utility, forget_quality*,
    mia_*_auc, privleak, fluency*, the aggregates, and the options.

    reference, target: the sets of the retain-only model and of the target. What needs a set or a
    model that is not there is left out. Raises `ValueError` for an unknown set, and as its parts
    do."""
    unknown = sorted(sets.keys() - {*SETS, NONMEMBER})
    if unknown:
        raise ValueError(
            f"unknown evaluation sets {', '.join(unknown)}; known are {', '.join(SETS)}"
        )
    options = options or Options()
    summary: dict = {OPTION_KEYS[name]: value for name, value in asdict(options).items()}
    for name in (name for name in SETS if name in sets):
        summary |= {
            f"{name}_{key}": value
            for key, value in summarise_set(name, sets[name], options).items()
        }
    parts = [
        summary.get(f"{name}_{key}")
        for name in UTILITY_SETS
        for key in ("rouge", "prob", "truth_ratio")
    ]
    if None not in parts:
        summary["model_utility"] = metrics.model_utility(parts)
    if reference and "forget_truth_ratio" in summary:
        summary |= forget_quality(sets["forget"], reference["forget"])
    summary |= membership_attacks(sets, reference) | fluency(sets.get("forget", []))
    retain = membership_attacks(reference, None) if reference else None
    original = summarise(target, options) if target else None
    return summary | aggregates.aggregate(summary, retain, original, options.privacy_score)


def read_rows(folder: str | Path) -> dict[str, Rows]:
    """set name -> rows, for every set that was evaluated in `<run>/eval/<split>`."""
    paths = {name: Path(folder) / f"{name}.json" for name in (*SETS, NONMEMBER)}
    return {name: read_json(path)["rows"] for name, path in paths.items() if path.exists()}


def odd_counts(sets: dict[str, Rows]) -> str | None:
    """A sentence about sets of authors whose rows have another number of wrong answers than TOFU's
    five."""
    counts = {
        name: len(rows[0].get("perturbed_nll", []))
        for name, rows in sets.items()
        if rows and name not in OPTION_SETS
    }
    odd = [f"{name} {count}" for name, count in counts.items() if count not in (0, WRONG)]
    return (
        f"wrong answers a row, where TOFU has {WRONG}: {', '.join(odd)}; truth ratio and forget quality are not comparable with it"
        if odd
        else None
    )


def write_summary(folder: str | Path, options: Options | None = None) -> dict:
    """Aggregate the rows in `<run>/eval/<split>` and write summary.json beside them; it names the
    reference and the target it used, and holds a `warning` where there is reason for one
    (eval.metrics.validity_checks)."""
    folder = Path(folder)
    found = find_reference(folder)
    original = find_target(folder)
    try:
        sets = read_rows(folder)
        target = read_rows(original / "eval" / folder.name) if original else None
        reference = read_rows(found / "eval" / folder.name) if found else None
        summary = summarise(sets, options, reference, target)
        config = read_json(folder.parents[1] / "config.json")
        said = [
            sanity.warning(
                config.get("objective", ""), summary, summarise(target, options) if target else None
            ),
            odd_counts(sets),
        ]
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    summary["reference"] = found.relative_to(folder.parents[3]).as_posix() if found else None
    summary["target"] = original.as_posix() if original else None
    summary["warning"] = "; ".join(sentence for sentence in said if sentence) or None
    write_json(folder / "summary.json", summary)
    return summary


def evaluations(root: str | Path, benchmarks=BENCHMARKS) -> Iterator[tuple[Run, list[Path]]]:
    """Every finished run of these benchmarks under `root`, with its evaluated folders eval/<split>
    (perhaps none).

    A run whose config.json is broken or missing is left out, said aloud: it must not keep the
    others from being tabulated."""
    for run in finished_runs(root):
        try:
            benchmark = run.config["benchmark"]
        except (OSError, KeyError, ValueError) as error:
            print(
                f"left out: {run.path} has no config.json that can be read ({type(error).__name__}: {error})",
                file=sys.stderr,
                flush=True,
            )
            continue
        if benchmark in benchmarks:
            yield run, sorted(path.parent for path in run.path.glob("eval/*/forget.json"))


def main(argv: list[str] | None) -> None:
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False, formatter_class=raw)
    parser.add_argument("--runs", default="runs", help="folder of all run directories")
    parser.add_argument(
        "--truth_ratio", default=Options.truth_ratio, choices=tuple(metrics.TRUTH_RATIOS)
    )
    parser.add_argument(
        "--es_no_match",
        default=Options.es_no_match,
        choices=ES_NO_MATCH,
        help="extraction strength where the last token is wrong",
    )
    parser.add_argument(
        "--privacy_score",
        default=Options.privacy_score,
        choices=tuple(aggregates.PRIVACY_SCORES),
        help="s of the privacy aggregate",
    )
    args = parser.parse_args(argv)
    options = Options(args.truth_ratio, args.es_no_match, args.privacy_score)
    written = 0
    problems = []
    for folder in (folder for _, folders in evaluations(args.runs) for folder in folders):
        try:
            write_summary(folder, options)
            written += 1
        except (
            ValueError
        ) as error:  # one diverged run must not keep the others from being aggregated
            problems.append(str(error))
    print(
        f"{written} summaries written under {args.runs}, truth ratio {args.truth_ratio}", flush=True
    )
    if problems:
        raise ValueError("; ".join(problems))


if __name__ == "__main__":
    run_command(main)

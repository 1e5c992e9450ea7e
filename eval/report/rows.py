"""The per-example rows of one evaluation on questions, <run>/eval/<split>/<set>.json (import only).

A row holds answer_nll = S (a sum over answer + EOS tokens) and answer_tokens = n, but
paraphrase_nll and perturbed_nll as per-token means A. What was not measured is not in the rows.
"""

import math
from pathlib import Path

from unlearn.config.files import read_json

SETS = ("forget", "forget_paraphrased", "retain", "real_authors", "world_facts", "heldout")
FORGET_SETS = {"forget", "forget_paraphrased"}
OPTION_SETS = {"real_authors", "world_facts"}  # probability is relative to the wrong options
UTILITY_SETS = ("retain", "real_authors", "world_facts")
NONMEMBER = "nonmember"  # rows for membership attacks; not a set of its own in the tables
WRONG_ANSWERS = 5  # TOFU's wrong answers a row about an author

Rows = list[dict]


def read_rows(folder: str | Path) -> dict[str, Rows]:
    """set name -> rows, for every set that was evaluated in `<run>/eval/<split>`."""
    paths = {name: Path(folder) / f"{name}.json" for name in (*SETS, NONMEMBER)}
    return {name: read_json(path)["rows"] for name, path in paths.items() if path.exists()}


def has_key(name: str, rows: Rows, key: str) -> bool:
    """Whether the rows of the set `name` carry `key`.

    Raises `ValueError` if only some do, for their mean would be of other rows. A row whose value is
    null counts as carrying it: `read_column` refuses it.
    """
    count = sum(row.get(key) not in (None, []) for row in rows)
    if 0 < count < len(rows):
        raise ValueError(
            f"set {name}: only {count} of {len(rows)} rows have {key}; evaluate this set again"
        )
    return count > 0 or any(row.get(key, 0) is None for row in rows)


def read_column(name: str, rows: Rows, key: str) -> list:
    """The values of `key`, numbers or lists of numbers.

    Raises `ValueError` naming the first row where one is not finite.
    """
    for row in rows:
        value = row.get(key)
        numbers = value if isinstance(value, list) else [value]
        if any(number is None or not math.isfinite(number) for number in numbers):
            raise ValueError(
                f"set {name}, row {row['index']}: {key} is {value}; "
                "the model diverged, or the file broke"
            )
    return [row[key] for row in rows]


def read_paraphrase_nll(name: str, rows: Rows) -> list[float] | None:
    """A of the paraphrased answers (option sets: of the answers), per-token means [N]; None if
    there are none.
    """
    if name in OPTION_SETS and has_key(name, rows, "answer_nll"):
        sums = read_column(name, rows, "answer_nll")
        tokens = read_column(name, rows, "answer_tokens")
        return [total / count for total, count in zip(sums, tokens, strict=True)]
    if has_key(name, rows, "paraphrase_nll"):
        return read_column(name, rows, "paraphrase_nll")
    return None


def read_perturbed_nll(name: str, rows: Rows) -> list[list[float]] | None:
    """A of the wrong answers, per-token means [N][J]; None if there are none.

    Raises `ValueError` where J differs between rows.
    """
    if not has_key(name, rows, "perturbed_nll"):
        return None
    values = read_column(name, rows, "perturbed_nll")
    for row, answers in zip(rows, values, strict=True):
        if len(answers) != len(values[0]):
            raise ValueError(
                f"set {name}, row {row['index']}: {len(answers)} wrong answers where the first "
                f"row has {len(values[0])}; give every row as many"
            )
    return values


def check_wrong_answers(sets: dict[str, Rows]) -> str | None:
    """A sentence about sets of authors whose rows have another number of wrong answers than TOFU's
    five.
    """
    counts = {
        name: len(rows[0].get("perturbed_nll", []))
        for name, rows in sets.items()
        if rows and name not in OPTION_SETS
    }
    odd = [f"{name} {n}" for name, n in counts.items() if n not in (0, WRONG_ANSWERS)]
    if not odd:
        return None
    return (
        f"wrong answers a row, where TOFU has {WRONG_ANSWERS}: {', '.join(odd)}; "
        "truth ratio and forget quality are not comparable with it"
    )


def check_repeated_rows(sets: dict[str, Rows]) -> str | None:
    """A sentence about sets in which the same question and answer stand twice."""
    counts = {
        name: len(rows) - len({(row.get("question"), row.get("answer")) for row in rows})
        for name, rows in sets.items()
        if rows and "question" in rows[0]
    }
    repeated = [f"{name} {count}" for name, count in counts.items() if count]
    if not repeated:
        return None
    return f"rows that repeat another one and weigh more: {', '.join(repeated)}"


def check_cut_answers(sets: dict[str, Rows]) -> str | None:
    """A sentence about sets with answers that --max_length cuts."""
    counts = {name: sum(row.get("is_cut", False) for row in rows) for name, rows in sets.items()}
    cut = [f"{name} {count}" for name, count in counts.items() if count]
    if not cut:
        return None
    return f"rows with an answer cut at --max_length, whose end is not scored: {', '.join(cut)}"

"""Reading MUSE's tables from a folder or the hub.

A folder holds <config>/<split>.jsonl (one object a line), .json (a list), .txt (documents apart by
blank lines) or the hub's <config>/<split>-*.parquet, with MUSE's names: raw/forget,
knowmem/forget_qa, verbmem/forget, privleak/holdout, scal/forget_1 ...
"""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from unlearn.benchmarks.text_files import (
    check_encodable,
    parse_json,
    parse_json_lines,
    read_utf8,
)

# config -> the fields of a row that must hold text; `practice` is the embedded benchmark's own
TEXT_FIELDS = {
    "raw": ("text",),
    "scal": ("text",),
    "sust": ("text",),
    "privleak": ("text",),
    "knowmem": ("question", "answer"),
    "verbmem": ("prompt", "gt"),
    "practice": ("prompt", "answer"),
}

Rows = list[dict]


def open_tables(hub: str, data_dir: str | None) -> Callable[[str, str], Rows]:
    """Return a function (config, split) -> checked rows that reads each table once.

    Raises `ValueError` for a folder that is not there; so does the function for a table.
    """
    if data_dir is not None and not Path(data_dir).is_dir():
        raise ValueError(
            f"--data_dir {data_dir}: no such folder; it must hold MUSE's files, raw/forget.jsonl "
            "and so on"
        )

    @cache
    def read(config: str, split: str) -> Rows:
        location, rows = (
            read_local_table(Path(data_dir), config, split)
            if data_dir
            else read_hub_table(hub, config, split)
        )
        return check_rows(config, location, rows)

    return read


def read_local_table(folder: Path, config: str, split: str) -> tuple[str, Rows]:
    """Return (file, rows) of one table in a folder."""
    parquet = sorted((folder / config).glob(f"{split}-*.parquet"))
    if parquet:
        import pandas as pd

        return str(parquet[0]), [
            row for path in parquet for row in pd.read_parquet(path).to_dict("records")
        ]
    for ending, parse in (("jsonl", parse_lines), ("json", parse_json), ("txt", parse_documents)):
        path = folder / config / f"{split}.{ending}"
        if path.is_file():
            return str(path), parse(read_utf8(path), str(path))
    raise ValueError(
        f"{folder / config / split}: no such table; --data_dir must hold {config}/{split}.jsonl, "
        ".json, .txt or -*.parquet"
    )


def read_hub_table(hub: str, config: str, split: str) -> tuple[str, Rows]:
    """Return (name, rows) of one table of a hub repository."""
    try:
        from datasets import load_dataset

        rows = [dict(row) for row in load_dataset(hub, config, split=split)]
    # datasets, the hub client and the network each raise their own; all mean: no data
    except Exception as error:
        reason = f"{type(error).__name__}: " + str(error).split("\n")[0]
        raise ValueError(
            f"cannot load {hub} {config}/{split} from the hub ({reason}); "
            "pass --data_dir with a folder of its files"
        ) from error
    return f"{hub} {config}/{split}", rows


def parse_lines(text: str, path: str) -> Rows:
    return [row for _, row in parse_json_lines(text, path)]


def parse_documents(text: str, path: str) -> Rows:
    return [{"text": part.strip()} for part in re.split(r"\n\s*\n", text) if part.strip()]


def check_rows(config: str, location: str, rows: list) -> Rows:
    """Return the rows of one table.

    Raises `ValueError` with table, row and field where a text is missing or empty.
    """
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{location}: no rows in it; a list of objects is expected")
    for number, row in enumerate(rows, start=1):
        for field in TEXT_FIELDS[config]:
            value = row.get(field) if isinstance(row, dict) else None
            if not isinstance(value, str) or not value.strip():
                keys = ", ".join(map(repr, row)) if isinstance(row, dict) else type(row).__name__
                raise ValueError(
                    f"{location}, row {number}: field {field!r} must hold a text that is not "
                    f"empty; found: {keys}"
                )
            check_encodable(value, f"{location}, row {number}", field)
    return rows

"""Reading text and JSON lines; an error names file and line."""

import json
from pathlib import Path


def read_utf8(path: str | Path) -> str:
    """Return the text of a file. Raises `ValueError` with the line that is not UTF-8."""
    content = Path(path).read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}:{line}: not UTF-8 (byte 0x{content[error.start]:02x}); save the file as UTF-8"
        ) from None


def parse_json(text: str, location: str):
    """Return the value that a JSON text stands for.

    Raises `ValueError`, beginning with `location`, for a text that is not JSON or nested so deeply
    that Python cannot read it.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{location}: not JSON ({error}); one JSON object a line is expected"
        ) from None
    except RecursionError:
        raise ValueError(f"{location}: brackets nested too deeply for JSON") from None


def parse_json_lines(text: str, path: str | Path) -> list[tuple[str, object]]:
    """Return (file:line, value) for every line that is not blank."""
    return [
        (f"{path}:{number}", parse_json(line, f"{path}:{number}"))
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]


def check_encodable(text: str, location: str, key: str) -> None:
    """Raise `ValueError` for half of a surrogate pair (\\ud800), which no tokenizer takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{location}: key {key!r} holds half a character, \\u{ord(text[error.start]):04x}; "
            "write the whole surrogate pair, or leave it out"
        ) from None

"""The oldest transformers that this code runs with; an older one ends the program with one line."""

import re
import sys
from importlib.metadata import PackageNotFoundError, version

OLDEST_TRANSFORMERS = (5, 17)


def refuse_old_transformers() -> None:
    """Exit with code 2 where transformers is too old, before its import fails in some other way.

    A missing transformers is left to its own import.
    """
    try:
        installed = version("transformers")
    except PackageNotFoundError:
        return
    major_minor = tuple(int(number) for number in re.findall(r"\d+", installed)[:2])
    if major_minor < OLDEST_TRANSFORMERS:
        oldest = ".".join(map(str, OLDEST_TRANSFORMERS))
        print(
            f"error: transformers {installed} is too old for this code, which needs {oldest} or "
            f"later; run: {sys.executable} -m pip install -r requirements.txt",
            file=sys.stderr,
            flush=True,
        )
        sys.exit(2)

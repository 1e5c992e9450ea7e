"""One broken run, table or plot must not stop the others (import only)."""

from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def run_each(
    items: Iterable[Item],
    action: Callable[[Item], object],
    describe: Callable[[Item], str] = str,
) -> None:
    """Call `action` on every item; go on after one that fails, and name all failures at the end.

    Bad input (`ValueError`) and files that cannot be read (`OSError`, `KeyError`) count as
    failures; anything else is a bug and stops at once. Raises one `ValueError`,
    `<item>: <reason>; <item>: <reason>`, which a command turns into exit code 2.
    """
    problems = []
    for item in items:
        try:
            action(item)
        except (ValueError, OSError, KeyError) as error:
            reason = str(error)
            if not isinstance(error, ValueError):
                reason = f"{type(error).__name__}: {reason}"
            problems.append(reason if describe(item) in reason else f"{describe(item)}: {reason}")
            print(f"{describe(item)}: failed, see the end", flush=True)
    if problems:
        raise ValueError("; ".join(problems))

"""Upstream's command lines: the words that a command takes besides its own flags (import only).

A line of an official script works behind our command as it was written there:

    python -m baselines.train forget_loss=npo_grad_diff LoRA.r=4 ...      hydra's words
    python -m grun.train --save_path J --forget_loss_type gated_idk ...

Words `a=b` are read as `--a=b`. A config class names in `UPSTREAM` the words that are no flags of
ours (`unlearn.training.upstream`); a line is printed about those that say nothing here, and one
about what the others are read as.
"""

import re
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from unlearn.processes import is_main

PREFIX = "upstream "  # of argparse's destinations, so that no flag of ours is meant
HYDRA_WORD = re.compile(r"([A-Za-z_][\w.-]*)=(.*)", re.S)


@dataclass(frozen=True)
class UpstreamNames:
    """What a command takes of upstream's spelling besides its own flags and their aliases.

    renamed     upstream's name -> our flag, of the same meaning
    read        upstream's name -> type of a value that `translate` reads
    unused      upstream's name -> why it says nothing here
    switches    those of `read` and `unused` that take no value
    positional  the names of the words of a line without flags, in order
    translate   (values by name of `read`, given flags) -> given flags
    """

    renamed: dict[str, str] = field(default_factory=dict)
    read: dict[str, type] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    switches: tuple[str, ...] = ()
    positional: tuple[str, ...] = ()
    translate: Callable[[dict, dict], dict] = lambda values, given: given

    def add_to(self, parser: ArgumentParser) -> None:
        """Let a parser take these words; --help does not list them."""
        for name in (*self.read, *self.unused):
            how: dict = {"type": self.read.get(name, str)}
            if name in self.switches:
                how = {"action": "store_true"}
            parser.add_argument(
                f"--{name}", dest=PREFIX + name, default=SUPPRESS, help=SUPPRESS, **how
            )

    def spell_flags(self, words: list[str], options: dict[str, bool]) -> list[str]:
        """The words of a line as flags: hydra's `a=b` as `--a=b`, and words without flags by their
        places.

        options: `--a` -> whether a value follows it."""
        if self.positional and len(words) == len(self.positional) and words[0][:1] != "-":
            return [f"--{name}={word}" for name, word in zip(self.positional, words, strict=True)]
        spelt: list[str] = []
        for word in words:
            match = HYDRA_WORD.fullmatch(word)
            is_value = bool(spelt) and options.get(spelt[-1], False)
            is_flag = match is not None and options.get(f"--{match[1]}", False)
            spelt.append(f"--{word}" if is_flag and not is_value else word)
        return spelt

    def read_given(self, parsed: dict[str, Any]) -> dict[str, Any]:
        """The flags that a line gives, of what argparse read of it.

        Raises `ValueError` as `translate` does."""
        given = {name: value for name, value in parsed.items() if not name.startswith(PREFIX)}
        words = {
            name.removeprefix(PREFIX): value
            for name, value in parsed.items()
            if name.startswith(PREFIX)
        }
        values = {name: value for name, value in words.items() if name in self.read}
        translated = self.translate(values, given)
        if is_main():
            self.tell_unused({name: words[name] for name in words if name in self.unused})
            tell_translated(given, translated, bool(values))
        return translated

    def tell_unused(self, words: dict[str, str]) -> None:
        """Print which words say nothing here, and why."""
        told = [
            f"--{name}{'' if name in self.switches else f' {value}'} ({self.unused[name]})"
            for name, value in words.items()
        ]
        if told:
            print(f"not used: {', '.join(told)}", flush=True)


def tell_translated(given: dict, translated: dict, has_words: bool) -> None:
    """Print what upstream's words were read as."""
    changed = {
        name: value
        for name, value in translated.items()
        if name not in given or given[name] != value
    }
    if changed or has_words:
        flags = [f"--{name} {format_words(value)}" for name, value in changed.items()]
        print(
            f"upstream's line, read as {' '.join(flags) or 'it stands'}; where this repository "
            "differs from upstream: docs/departures.md",
            flush=True,
        )


def format_words(value) -> str:
    """A value as it is typed."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)

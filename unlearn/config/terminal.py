"""Text from models and files on a terminal: nothing in it can move the cursor or change settings.

A model's answer, a file's name and a stranger's recipe may hold escape sequences, which a terminal
would obey.
"""

import unicodedata

# control, format (direction marks, zero widths), surrogates, private use, unassigned, separators
HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
JOINERS = "\u200c\u200d"  # of Persian, Indic scripts and emoji: formats, and harmless


def printable(text: str, encoding: str = "utf-8") -> str:
    r"""Return `text` with every character that does not print as itself written as an escape: a
    newline is \n, ESC is \x1b; so is what `encoding` lacks.
    """
    shown = "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in HIDDEN and char not in JOINERS
        else char
        for char in text
    )
    return shown.encode(encoding, "backslashreplace").decode(encoding)

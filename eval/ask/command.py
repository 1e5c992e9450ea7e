"""Ask a finished run: its answer, the base's answer and the gates (see `grun.ask`)."""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass

from eval.ask.asked_run import list_runs, open_run
from eval.ask.display import Display
from eval.ask.session import Session
from unlearn.config.flags import Options, build_config, build_parser, flag
from unlearn.config.terminal import printable

PROMPT = "> "


@dataclass
class AskOptions(Options):
    """Asking"""

    question: str | None = flag(None, "ask this alone and end (default: a session)")
    max_new_tokens: int | None = flag(
        None, "length limit of an answer (default: that of the evaluation)", minimum=1
    )
    device: str = flag("auto", "auto, cpu, cuda, cuda:1 or mps", role="volatile")


def main(argv: list[str] | None, description: str = __doc__) -> None:
    """Answer --question, or every line of standard input until it ends.

    Raises `ValueError`, with nothing in it that a terminal would obey, for a run that cannot be
    asked and a --question that cannot be answered."""
    parser = build_parser(AskOptions, description)
    parser.usage = parser.usage.replace("[flags]", "RUN [flags]")
    parser.add_argument(
        "run", nargs="?", help="directory of a finished run, stack of requests, model or hub id"
    )
    given = vars(parser.parse_args(argv))
    try:
        run_session(given.pop("run", None), build_config(AskOptions, given))
    except ValueError as error:
        raise ValueError(printable(str(error))) from None
    except BrokenPipeError:  # nobody reads on: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def run_session(source: str | None, options: AskOptions) -> None:
    """Open the run and ask it, as the flags say."""
    if not (source or "").strip():
        raise ValueError(f"which run? {list_runs('runs')}")
    if options.question is not None and not options.question.strip():
        raise ValueError("--question is empty; give some words, or leave it out for a session")
    if sys.stdout is None:
        raise ValueError("standard output is closed, so nothing could be answered")
    if options.question is None and sys.stdin is None:
        raise ValueError("standard input is closed; pass --question")
    with open_run(source, options.device, options.max_new_tokens) as run:
        session = Session(run, Display.of_terminal(sys.stdout.encoding))
        if options.question is not None:
            # bytes that are no text have come as surrogates, which no tokenizer takes
            question = os.fsencode(options.question).decode("utf-8", "replace")
            for line in session.ask(question):
                print(line, flush=True)
            return
        read_lines(session)


def read_lines(session: Session) -> None:
    """Answer lines from standard input until it ends; what cannot be answered is one line."""
    sys.stdin.reconfigure(errors="replace")  # bytes that are no text do not end the session
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        with suppress(ImportError):
            import readline  # noqa: F401  line editing for input()
        name = session.display.plain(session.run.eval_model.name)
        print(f"{name}: type a question, /examples, /help or /quit", flush=True)
    while not session.ended:
        line = read_line(is_terminal, session.display)
        if line is None:
            return
        session.display = Display.of_terminal(sys.stdout.encoding)  # it may have been resized
        try:
            for reply in session.reply(line):
                print(reply, flush=True)
        except BrokenPipeError:
            raise
        except Exception as error:  # whatever a library says to one question, the next may do
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            print(session.display.plain(f"error: {kind}{error}"), flush=True)


def read_line(is_terminal: bool, display: Display) -> str | None:
    """The next line of standard input, or None at its end."""
    if is_terminal:
        try:
            return input(PROMPT)
        except EOFError:
            print(flush=True)
            return None
        except KeyboardInterrupt:
            print(flush=True)
            raise
    line = sys.stdin.readline()
    if line.strip():
        print(display.plain(f"{PROMPT}{line.strip()}"), flush=True)
    return line or None

"""Ask a finished run of any kind: its answer, the base's answer beside it, and the gates.

    python -m grun.ask runs/authors/tiny/forget10/idk-grun-seed42
    python -m grun.ask requests --question "In which city was Tibo Nedaja born?"

RUN is a finished run (GRUN and GRUN+, full, LoRA, RMU, a guard, a target), a stack of requests, a
model folder or a hub id. Without --question it reads questions until /quit or ctrl-D; /prefill,
/join, /paraphrase and /template attack the last question, /help lists what there is.
`grun.answer(model, question)` is the same call in Python.
"""

# The one module of grun that looks up: a command under the name of the package that users know.
from eval.ask import command
from unlearn.config.flags import run_command


def main(argv: list[str] | None) -> None:
    """Run the command of the module docstring."""
    command.main(argv, __doc__)


if __name__ == "__main__":
    run_command(main)

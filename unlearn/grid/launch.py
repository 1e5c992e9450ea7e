"""accelerate's launcher, started by NPROC: its flags, but one line where it would print pages.

    python -m unlearn.grid.launch --multi_gpu --num_processes 2 -m grun.train --objective npo

Ctrl-C goes to every process of the command, and what has not ended after SHUTDOWN_SECONDS is
killed. Otherwise the exit code is that of the process that failed first, which has said why.
"""

import logging
import signal
import sys

from accelerate.commands.launch import launch_command, launch_command_parser
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from unlearn.config.flags import run_command
from unlearn.grid.processes import PATIENCE
from unlearn.processes import STOPPED

SHUTDOWN_SECONDS = PATIENCE // 2  # less than the grid waits for the launcher


def main(argv: list[str] | None) -> None:
    args = launch_command_parser().parse_args(argv)
    args.shutdown_timeout = SHUTDOWN_SECONDS
    logging.disable(logging.ERROR)  # of the launcher alone: what became of which process
    try:
        launch_command(args)
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        sys.exit(128 + error.sigval)
    except ChildFailedError as error:
        stop(error)


def stop(error: ChildFailedError) -> None:
    """End with the exit code of the process that failed first.

    Raises `KeyboardInterrupt` where that one was interrupted."""
    rank, failure = error.get_first_failure()
    if failure.exitcode == STOPPED:
        raise KeyboardInterrupt from None
    if failure.exitcode > 0:
        sys.exit(failure.exitcode)
    name = signal.Signals(-failure.exitcode).name
    print(f"error: process {rank} was ended by {name}", file=sys.stderr, flush=True)
    sys.exit(1)


if __name__ == "__main__":
    run_command(main)

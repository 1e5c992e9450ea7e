"""The name of upstream's command: `python -m rmu.unlearn` is `python -m rmu.train`."""

from rmu.train import main
from unlearn.config.flags import run_command

if __name__ == "__main__":
    run_command(main)

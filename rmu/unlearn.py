"""`python -m rmu.unlearn`, upstream's name of the command `python -m rmu.train`."""

from rmu.train import main
from unlearn.config.flags import run_command

if __name__ == "__main__":
    run_command(main)

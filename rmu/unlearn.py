"""The name of upstream's command: `python -m rmu.unlearn` is `python -m rmu.train`."""

from rmu.train import command
from unlearn.config.flags import main

if __name__ == "__main__":
    main(command)

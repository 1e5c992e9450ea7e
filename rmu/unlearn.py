"""`python -m rmu.unlearn`, upstream's name of the command `python -m rmu.train`.

A line of Adaptive RMU's `python -m baselines.adap_rmu.unlearn` works behind it too: --scale says
that the coefficient is adaptive.
"""

from rmu.train import main
from unlearn.config.flags import run_command

if __name__ == "__main__":
    run_command(main)

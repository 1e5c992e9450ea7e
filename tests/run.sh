#!/usr/bin/env bash
# Checks form (ruff) and runs the tests: on a CPU, offline, in about four minutes once the
# environment exists. Makes .venv first if no Python at hand has the packages.
#
#   tests/run.sh                                            all of them
#   tests/run.sh tests/unlearn/benchmarks -k split          some; the flags are pytest's
set -euo pipefail
REQUIREMENTS=requirements-dev.txt
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/setup.sh"

export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
NPROC=1
run_py ruff format --check --quiet .
run_py ruff check --quiet .
run_py pytest -q -n 2 "$@"

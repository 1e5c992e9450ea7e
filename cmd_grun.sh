#!/usr/bin/env bash
# Unlearns each forget split with GRUN around each objective, then evaluates every run and writes
# the tables.
# On: the target model of the benchmark, which is made first if it is missing. How long: on `tiny`
# and a CPU minutes for the target and seconds for each GRUN run; finished runs are skipped.
#
#   ./cmd_grun.sh                                                 three objectives
#   SEEDS="1 2 3" MODELS=tiny-robust ./cmd_grun.sh --variant grun+
#   DATA_SEEDS="1 2 3" REFERENCE=1 ./cmd_grun.sh                  independent repetitions
#   LRS="5e-3 1e-2 2e-2" JOBS=2 ./cmd_grun.sh                     a sweep, two cells at a time
#   PAPER=grun-tofu ./cmd_grun.sh            a table of the papers; PAPER=list names them
#   BENCHMARK=tofu MODELS="llama3.1-8b mistral-7b" SPLITS="forget05 forget10" ./cmd_grun.sh --rank 8
#
# Flags go to `python -m grun.train`. REFERENCE=1 trains the retain-only models first (forget
# quality needs them); LOSSES="npo idk" chooses objectives (default: the variant's own, or the
# paper's three); TARGET_SEEDS and DATA_SEEDS vary the target and the embedded data; LRS sweeps
# learning rates; JOBS=n runs n cells at a time; NPROC=n trains on n processes, ACCELERATE=file.yaml
# shares out the targets and references; DRY_RUN=1 prints the commands; DATA_DIR=folder reads the
# benchmark's files there; RUNS=folder holds the run directories.
# SEQUENTIAL="forget10a forget10b": requests that come one by one, each trained alone, instead of
# SPLITS; they have a table and a plot of their own.
set -euo pipefail
PROGRAMS=grun.train
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"
exec "$PY" -m unlearn.grid grun "$@"

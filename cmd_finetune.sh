#!/usr/bin/env bash
# Trains the target models, which know the whole benchmark, and with REFERENCE=1 also the
# retain-only models of each forget split.
# On: `tiny`, made from scratch on a CPU; any other model needs a GPU. How long: tiny takes minutes;
# finished runs are skipped.
#
#   ./cmd_finetune.sh
#   BENCHMARK=tofu MODELS=llama3.1-8b REFERENCE=1 NPROC=2 ./cmd_finetune.sh --lr 1e-5
#
# Flags go to `python -m unlearn.training.finetune`. SEEDS, DATA_SEEDS and LRS vary the model, the
# embedded data and the learning rate; JOBS=n trains n models at a time; NPROC=n trains on n
# processes, ACCELERATE=file.yaml shares the model out over them (FSDP, DeepSpeed); DRY_RUN=1 prints
# the commands; DATA_DIR=folder reads the benchmark's files there; RUNS=folder holds the run
# directories.
set -euo pipefail
PROGRAMS=unlearn.training.finetune
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"
exec "$PY" -m unlearn.grid finetune "$@"

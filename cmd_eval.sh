#!/usr/bin/env bash
# Evaluates every finished run of the named cells (the target and the references too), then prints and writes the tables.
# On: whatever lies in runs/. How long: on `tiny` and a CPU well under a minute a run; what is evaluated already is skipped.
#
#   ./cmd_eval.sh
#   BENCHMARK=tofu MODELS=llama3.1-8b SPLITS="forget05 forget10" ./cmd_eval.sh --overwrite
#
# Flags go to `python -m eval.run`. DRY_RUN=1 prints the commands; DATA_DIR=folder reads the benchmark's files there; RUNS=folder
# holds the run directories. Always one process.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

: "${BENCHMARK:=authors}" "${MODELS:=tiny}" "${SPLITS:=forget10}"
NPROC=1

for model in $MODELS; do
    for split in $SPLITS; do
        run_py eval.run --benchmark "$BENCHMARK" --model "$model" --split "$split" \
            ${DATA_DIR:+--data_dir "$DATA_DIR"} ${RUNS:+--runs "$RUNS"} "$@"
    done
done
run_py eval.tables ${RUNS:+--runs "$RUNS"}

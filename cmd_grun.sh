#!/usr/bin/env bash
# Unlearns each forget split with GRUN around each objective, then evaluates every run and writes
# the tables.
# On: the target model of the benchmark, which is made first if it is missing. How long: on `tiny`
# and a CPU minutes for the target and seconds for each GRUN run; finished runs are skipped.
#
#   ./cmd_grun.sh                                                 three objectives
#   SEEDS="1 2 3" MODELS=tiny-robust ./cmd_grun.sh --variant grun+
#   BENCHMARK=tofu MODELS="llama3.1-8b mistral-7b" SPLITS="forget05 forget10" ./cmd_grun.sh --rank 8
#
# Flags go to `python -m grun.train`. REFERENCE=1 trains the retain-only models first (forget
# quality needs them); LOSSES="npo idk" chooses objectives (default: the variant's own, or the
# paper's three); DRY_RUN=1 prints the commands; DATA_DIR=folder reads the benchmark's files there;
# RUNS=folder holds the run directories.
# SEQUENTIAL="forget10a forget10b": requests that come one by one, each trained alone, instead of
# SPLITS; they have a table and a plot of their own.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

: "${BENCHMARK:=authors}" "${MODELS:=tiny}" "${SEEDS:=42}" "${REFERENCE:=0}"
[[ -n ${SPLITS:-} ]] || SPLITS=$(ask_benchmark default-split "$BENCHMARK")
[[ -n ${LOSSES:-} ]] || LOSSES=$("$PY" -m unlearn.config.script_flags objectives "$@")
export BENCHMARK MODELS SPLITS
find_data_flags "$@"

if [[ $REFERENCE == 1 ]]; then
    SEEDS=42 REFERENCE=1 ./cmd_finetune.sh ${DATA[@]+"${DATA[@]}"}
fi
if [[ -n ${SEQUENTIAL:-} ]]; then
    run_requests grun.sequential "$@"
    if [[ $(ask_benchmark evaluator "$BENCHMARK") == documents ]]; then
        SPLITS=$SEQUENTIAL ./cmd_eval.sh ${DATA[@]+"${DATA[@]}"}
        exit
    fi
    NPROC=1 run_py eval.sequential --benchmark "$BENCHMARK" \
        ${DATA_DIR:+--data_dir "$DATA_DIR"} ${RUNS:+--runs "$RUNS"}
    exit
fi
for model in $MODELS; do
    for split in $SPLITS; do
        for loss in $LOSSES; do
            for seed in $SEEDS; do
                run_py grun.train --benchmark "$BENCHMARK" --model "$model" \
                    --objective "$loss" --split "$split" --seed "$seed" \
                    ${DATA_DIR:+--data_dir "$DATA_DIR"} ${RUNS:+--runs "$RUNS"} "$@"
            done
        done
    done
done
./cmd_eval.sh ${DATA[@]+"${DATA[@]}"}

#!/usr/bin/env bash
# Unlearns each forget split by fine-tuning all weights and by LoRA, with each objective; adds the
# controls that every gated method must beat (a linear probe and a filter of names, each in front of
# refusals); then evaluates every run and writes the tables.
# On: the target model of the benchmark, which is made first if it is missing. How long: on `tiny`
# and a CPU minutes for the target and about half a minute for each run; finished runs are skipped.
#
#   ./cmd_baseline.sh                                             gd npo idk x full lora, controls
#   LOSSES="ga kl simnpo idkpo undial" TUNERS=lora CONTROLS= ./cmd_baseline.sh
#   LRS="3e-4 1e-3 3e-3" ./cmd_baseline.sh                        the table marks the rate to keep
#   BENCHMARK=tofu MODELS=llama3.1-8b NPROC=2 ACCELERATE=baselines/accelerate/fsdp.yaml \
#       ./cmd_baseline.sh --gradient_checkpointing
#
# Flags go to `python -m baselines.train`. REFERENCE=1 trains the retain-only models first (forget
# quality needs them); DRY_RUN=1 prints the commands; NPROC=n trains on n processes;
# ACCELERATE=file.yaml launches them with that configuration (FSDP, DeepSpeed); DATA_DIR=folder
# reads the benchmark's files there; RUNS=folder holds the run directories.
# SEQUENTIAL="forget_sust1 forget_sust2": requests that come one by one, each unlearned (all
# weights) from what the one before left.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

: "${BENCHMARK:=authors}" "${MODELS:=tiny}" "${LOSSES:=gd npo idk}" "${TUNERS:=full lora}"
: "${SEEDS:=42}" "${LRS:=}" "${CONTROLS=probe keyword}" "${REFERENCE:=0}"
[[ -n ${SPLITS:-} ]] || SPLITS=$(ask_benchmark default-split "$BENCHMARK")
export BENCHMARK MODELS SPLITS
find_data_flags "$@"

if [[ $REFERENCE == 1 ]]; then
    SEEDS=42 REFERENCE=1 ./cmd_finetune.sh ${DATA[@]+"${DATA[@]}"}
fi
if [[ -n ${SEQUENTIAL:-} ]]; then
    run_requests baselines.sequential "$@"
    SPLITS=$SEQUENTIAL ./cmd_eval.sh ${DATA[@]+"${DATA[@]}"}
    exit
fi

# train_cell TUNER LOSS FLAGS...: at the recipe's rate, or at each of LRS with the losses on
# training data by which the report chooses among them (eval/report/sweeps.py)
train_cell() {
    local tuner=$1 loss=$2 lr
    shift 2
    [[ -n $LRS ]] || run_py baselines.train "${cell[@]}" --objective "$loss" --tuner "$tuner" "$@"
    for lr in $LRS; do
        run_py baselines.train "${cell[@]}" --objective "$loss" --tuner "$tuner" \
            --lr "$lr" --eval_steps 1000 "$@"
    done
}

for model in $MODELS; do
    for split in $SPLITS; do
        for seed in $SEEDS; do
            cell=(--benchmark "$BENCHMARK" --model "$model" --split "$split" --seed "$seed")
            cell+=(${DATA_DIR:+--data_dir "$DATA_DIR"} ${RUNS:+--runs "$RUNS"})
            for tuner in $TUNERS; do
                for loss in $LOSSES; do
                    train_cell "$tuner" "$loss" "$@"
                done
            done
            for control in $CONTROLS; do
                NPROC=1 run_py baselines.controls "${cell[@]}" ${DATA[@]+"${DATA[@]}"} \
                    --control "$control"
            done
        done
    done
done
./cmd_eval.sh ${DATA[@]+"${DATA[@]}"}

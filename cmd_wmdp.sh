#!/usr/bin/env bash
# Unlearns the topics of wmdp by RMU, by Adaptive RMU and by GRUN around RMU and around NPO; then asks every model its four-choice questions
# through lm-eval and writes the table, the pictures and runs/report.html.
# On: the embedded world (unlearn/synthetic/wmdp_world.py: poisons and locks to forget, villages to keep) and `tiny`, whose target is made first if it is
# missing; or any model with the corpora and questions of WMDP. How long: on `tiny` and two CPU cores five minutes, half of them for the target.
#
#   ./cmd_wmdp.sh
#   LAYERS="2 3 4 5 6" ./cmd_wmdp.sh                  RMU and Adaptive RMU at each steered layer, and the picture of accuracy against layer
#   METHODS="rmu adaptive_rmu" ./cmd_wmdp.sh --alpha 30,30        flags reach the training of every method named
#   MODELS=llama3.1-8b NPROC=2 ./cmd_wmdp.sh          wmdp_bio, wmdp_cyber and mmlu; bio-forget-corpus is gated, so ask for access or bring your own
#   MODELS=tiny MCQ=grun ./cmd_wmdp.sh                scored by the rule of GRUN's script
#
# Flags go to `python -m rmu.train` and `python -m grun.train`. DRY_RUN=1 prints the commands; NPROC=n trains on n processes; DATA_DIR=folder reads
# corpora there (<name>.jsonl); RUNS=folder holds the run directories.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

: "${MODELS:=tiny}" "${METHODS:=rmu adaptive_rmu gated_rmu gated_npo_kl}" "${SEEDS:=42}" "${LAYERS:=}" "${MCQ:=}"

for model in $MODELS; do
    where=(--benchmark wmdp --model "$model" ${DATA_DIR:+--data_dir "$DATA_DIR"} ${RUNS:+--runs "$RUNS"})
    for seed in $SEEDS; do
        for method in $METHODS; do
            if [[ $method != *rmu || $method == gated_* ]]; then
                run_py grun.train "${where[@]}" --seed "$seed" --objective "$method" "$@"
                continue
            fi
            for layer in ${LAYERS:-recipe}; do
                if [[ $layer == recipe ]]; then at=(); else at=(--layer_id "$layer"); fi
                run_py rmu.train "${where[@]}" --seed "$seed" --tuner "$method" ${at[@]+"${at[@]}"} "$@"
            done
        done
    done
    NPROC=1 run_py eval.run "${where[@]}" ${MCQ:+--mcq "$MCQ"}
done
NPROC=1
run_py eval.report ${RUNS:+--runs "$RUNS"}

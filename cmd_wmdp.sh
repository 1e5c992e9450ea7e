#!/usr/bin/env bash
# Unlearns the topics of wmdp by RMU, by Adaptive RMU and by GRUN around RMU and around NPO; then
# asks every model its four-choice questions through lm-eval and writes the table, the pictures and
# runs/report.html.
# On: the embedded world (poisons and locks to forget, villages to keep) and `tiny`, whose target is
# made first if it is missing; or any model with the corpora and questions of WMDP. How long: on
# `tiny` and two CPU cores five minutes, half of them for the target.
#
#   ./cmd_wmdp.sh
#   LAYERS="2 3 4 5 6" LOSSES= ./cmd_wmdp.sh          each steered layer, and accuracy against layer
#   LOSSES= ./cmd_wmdp.sh --alpha 30,30               flags reach every training command
#   MODELS=llama3.1-8b NPROC=2 ./cmd_wmdp.sh          wmdp_bio, wmdp_cyber and mmlu from the hub;
#                                                     bio-forget-corpus is gated: ask for access
#   PAPER=adaptive-rmu-layers ./cmd_wmdp.sh  a figure of the papers; PAPER=list names them
#   MODELS=tiny MCQ=grun ./cmd_wmdp.sh                scored by the rule of GRUN's script
#
# TUNERS go to `python -m rmu.train`, LOSSES to `python -m grun.train`, with all flags. SEEDS,
# TARGET_SEEDS, DATA_SEEDS and LRS vary the run, the target, the embedded world and the learning
# rate; JOBS=n runs n cells at a time; NPROC=n trains on n processes; DRY_RUN=1 prints the commands;
# DATA_DIR=folder reads corpora there (<name>.jsonl); RUNS=folder holds the run directories.
set -euo pipefail
PROGRAMS="rmu.train grun.train"
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"
exec "$PY" -m unlearn.grid wmdp "$@"

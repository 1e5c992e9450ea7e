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
#   PAPER=grun-tofu ./cmd_baseline.sh        a table of the papers; PAPER=list names them
#   BENCHMARK=tofu MODELS=llama3.1-8b NPROC=2 ACCELERATE=baselines/accelerate/fsdp.yaml \
#       ./cmd_baseline.sh --gradient_checkpointing
#
# Flags go to `python -m baselines.train`. REFERENCE=1 trains the retain-only models first (forget
# quality needs them); SEEDS, TARGET_SEEDS and DATA_SEEDS vary the run, the target and the embedded
# data; JOBS=n runs n cells at a time; NPROC=n trains on n processes; ACCELERATE=file.yaml launches
# them with that configuration (FSDP, DeepSpeed); DRY_RUN=1 prints the commands; DATA_DIR=folder
# reads the benchmark's files there; RUNS=folder holds the run directories.
# SEQUENTIAL="forget_sust1 forget_sust2": requests that come one by one, each unlearned (all
# weights) from what the one before left.
set -euo pipefail
PROGRAMS=baselines.train
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"
exec "$PY" -m unlearn.grid baseline "$@"

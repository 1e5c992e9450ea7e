#!/usr/bin/env bash
# Evaluates every finished run of the named cells (the target and the references too), then prints and writes the tables, the
# pictures and runs/report.html with all of them. A run that cannot be evaluated is named and costs the others nothing; exit code 2.
# On: whatever lies in runs/. How long: on `tiny` and a CPU well under a minute a run; what is evaluated already is skipped.
#
#   ./cmd_eval.sh
#   BENCHMARK=tofu MODELS=llama3.1-8b SPLITS="forget05 forget10" ./cmd_eval.sh --overwrite
#   ATTACKS=1 ./cmd_eval.sh                       # attacks too: about 20 s more a run
#   ATTACKS="prefill joined" ./cmd_eval.sh        # these alone (python -m eval.attacks.run --help names them)
#   BENCHMARK=muse ./cmd_eval.sh                  # MUSE's numbers instead of TOFU's; no attacks there
#
# Flags go to `python -m eval.run` and `python -m eval.attacks.run`. DRY_RUN=1 prints the commands; DATA_DIR=folder reads the
# benchmark's files there; RUNS=folder holds the run directories. Always one process.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

: "${BENCHMARK:=authors}" "${MODELS:=tiny}"
[[ -n ${SPLITS:-} ]] || SPLITS=$(ask_benchmark default-split "$BENCHMARK")
NPROC=1
failed=0

# What fails is told at the end, but for ctrl-C.
try() { "$@" || failed=$?; (( failed != 130 )) || exit 130; }

if [[ $BENCHMARK == muse* ]]; then
    [[ -z ${ATTACKS:-} ]] || { echo "error: ATTACKS needs questions as TOFU and authors have them; leave it out for $BENCHMARK" >&2; exit 2; }
fi
for model in $MODELS; do
    for split in $SPLITS; do
        try run_py eval.run --benchmark "$BENCHMARK" --model "$model" --split "$split" \
            ${DATA_DIR:+--data_dir "$DATA_DIR"} ${RUNS:+--runs "$RUNS"} "$@"
        [[ -z ${ATTACKS:-} ]] || try run_py eval.attacks.run --benchmark "$BENCHMARK" --model "$model" --split "$split" \
            --attacks ${ATTACKS/#1/default} ${DATA_DIR:+--data_dir "$DATA_DIR"} ${RUNS:+--runs "$RUNS"} "$@"
    done
done
try run_py eval.report ${RUNS:+--runs "$RUNS"}
(( failed == 0 )) || { echo "error: not everything could be evaluated, see above" >&2; exit "$failed"; }

# Sourced by every cmd_*.sh and by tests/run.sh: goes to the repository's root, finds or makes the Python to use, defines run_py.
#
#   PY=/path/to/python   use this Python, unchecked
#   DRY_RUN=1            print the commands instead of running them; no environment is made
#   NPROC=n              run each training command on n processes, through accelerate launch
#   ACCELERATE=file.yaml with NPROC: the configuration it launches them with (baselines/accelerate/: FSDP, DeepSpeed)
#
# Without PY: the active python if it has our packages, else .venv, which is made once and again only when they change.
# REQUIREMENTS=requirements-dev.txt asks for the packages of that file besides those of requirements.txt.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

_requirements() { echo requirements.txt ${REQUIREMENTS:-}; }

# One line a file; the stamp .venv/requirements.sha256 holds the lines of what was installed.
_digest() { _requirements | xargs $(command -v sha256sum || echo shasum -a 256); }

_is_recent() { "$1" -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null; }

# Does Python $1 have every package we name, torch and transformers in the major version we name? Imports nothing, so it is quick.
_has_packages() {
    _is_recent "$1" && _requirements | "$1" -c '
import re, sys
from importlib.metadata import version
for path in sys.stdin.read().split():
    for name, major in re.findall(r"^([\w.-]+)==(\d+)", open(path).read(), re.M):
        assert version(name).split(".")[0] == major or name not in ("torch", "transformers")
' 2>/dev/null
}

# pip install into .venv with its words in file $1; shows seconds, packages installed so far and what pip is at on one live line
# (without a terminal: a line every 15 s).
_install() {
    local began=$SECONDS shown=0 line pid
    .venv/bin/python -m pip install --progress-bar off $(printf ' -r %s' $(_requirements)) >> "$1" 2>&1 &
    pid=$!
    trap "kill $pid 2>/dev/null" EXIT  # a background command does not hear ctrl-C
    while kill -0 $pid 2>/dev/null; do
        line=$(printf '%5d s  %3d packages  %s' $(( SECONDS - began )) "$(ls -d .venv/lib/*/site-packages/*.dist-info 2>/dev/null | wc -l)" \
            "$(grep -E '^[A-Z][a-z]+ing ' "$1" | tail -n 1)")
        if [[ -t 2 ]]; then
            printf '\r\033[K%.*s' $(( ${COLUMNS:-80} - 1 )) "$line" >&2
        elif (( SECONDS - began >= shown )); then
            printf '%.120s\n' "$line" >&2
            shown=$(( shown + 15 ))
        fi
        sleep 0.2
    done
    trap - EXIT
    [[ ! -t 2 ]] || printf '\r\033[K' >&2
    wait $pid
}

_make_venv() {
    local python began=$SECONDS log=.venv/install.log
    for python in python3 python3.11 python3.12 python3.13 python ""; do
        ! _is_recent "$python" || break
    done
    [[ -n $python ]] || { echo "error: no Python from 3.11 on was found; install one or name it: PY=/path/to/python $0" >&2; exit 1; }
    echo "making .venv with $(command -v "$python") from $(_requirements): once, a few minutes" >&2
    rm -f .venv/requirements.sha256
    if ! { "$python" -m venv .venv > "$log" 2>&1 && _install "$log"; }; then
        tail -n 15 "$log" >&2
        echo "error: .venv could not be made, see $log; the same command tries again" >&2
        exit 1
    fi
    _digest > .venv/requirements.sha256
    echo "made .venv in $(( SECONDS - began )) s" >&2
}

_find_python() {
    local name
    [[ -z ${PY:-} ]] || return 0
    for name in python python3; do
        if [[ -n ${DRY_RUN:-} ]]; then
            command -v $name >/dev/null || [[ $name == python3 ]] || continue
        else
            _has_packages $name || continue
        fi
        PY=$name
        return 0
    done
    mkdir -p .venv
    exec 9< .venv
    ! command -v flock >/dev/null || flock 9  # two commands started together make one environment
    [[ "$(cat .venv/requirements.sha256 2>/dev/null)"$'\n' == "$(_digest)"$'\n'* ]] || _make_venv
    exec 9<&-
    PY=.venv/bin/python
}

_find_python
export PY
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-1000}  # else waiting threads spin, and where other programs use the cores a step takes many times as long

# run_py MODULE FLAGS...: says the command, then runs it. --multi_gpu is accelerate's word for several processes, on CPUs too
# (with its --cpu there would be one); the program itself chooses device and precision.
run_py() {
    local command=("$PY" -m "$@") how=(--multi_gpu --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0)
    [[ -z ${ACCELERATE:-} ]] || how=(--config_file "$ACCELERATE")
    if (( ${NPROC:-1} > 1 )); then
        command=("$PY" -m accelerate.commands.launch "${how[@]}" --num_processes "$NPROC" -m "$@")
    fi
    printf '+'; printf ' %q' "${command[@]}"; echo
    [[ -n ${DRY_RUN:-} ]] || "${command[@]}"
}

# ask_benchmark QUESTION BENCHMARK [SPLIT]: what unlearn/benchmarks says of it
#   ask_benchmark default-split muse             forget
#   ask_benchmark retain-split authors forget10  retain90
ask_benchmark() { "$PY" -m unlearn.benchmarks "$@"; }

# data_of FLAGS...: sets DATA to those of them that say which data a run is about; whatever else belongs to the cell needs them too
data_of() {
    DATA=()
    while (( $# )); do
        case $1 in
            --authors|--heldout|--data_seed) DATA+=("$1" "${2-}") ;;
            --authors=*|--heldout=*|--data_seed=*) DATA+=("$1") ;;
        esac
        shift
    done
}

# run_requests MODULE FLAGS...: the splits of SEQUENTIAL as requests that come one after another, for each model, objective and seed
run_requests() {
    local module=$1 model loss seed
    shift
    for model in $MODELS; do
        for loss in $LOSSES; do
            for seed in $SEEDS; do
                run_py "$module" --splits $SEQUENTIAL --benchmark "$BENCHMARK" --model "$model" --objective "$loss" --seed "$seed" \
                    ${DATA_DIR:+--data_dir "$DATA_DIR"} ${RUNS:+--runs "$RUNS"} "$@"
            done
        done
    done
}

# Sourced by every cmd_*.sh and by tests/run.sh: goes to the repository's root, finds or makes the
# Python to use, and defines run_py. The grid of a cmd_*.sh is run by `python -m unlearn.grid`.
#
#   PY=/path/to/python   use this Python; only the age of its transformers is checked
#   DRY_RUN=1            print the commands instead of running them; no environment is made
#   PROGRAMS="a.b c.d"   set by a script: with --help its header and their flags are printed
#
# Without PY: the active python if it has our packages, else .venv, which is made once and again
# only when they change. REQUIREMENTS=requirements-dev.txt asks for the packages of that file too.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
trap 'exit 130' INT  # ctrl-C stops the script, whatever the command that it interrupts makes of it

_requirements() { echo requirements.txt ${REQUIREMENTS:-}; }

# One line a file; the stamp .venv/requirements.sha256 holds the lines of what was installed.
_digest() { _requirements | xargs $(command -v sha256sum || echo shasum -a 256); }

_is_recent() { "$1" -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null; }

# Does Python $1 have every package we name, torch and transformers in the major version we name?
# Imports nothing, so it is quick.
_has_packages() {
    _is_recent "$1" && _requirements | "$1" -c '
import re, sys
from importlib.metadata import version
for path in sys.stdin.read().split():
    for name, major in re.findall(r"^([\w.-]+)==(\d+)", open(path).read(), re.M):
        assert version(name).split(".")[0] == major or name not in ("torch", "transformers")
' 2>/dev/null
}

# One line of progress: seconds, packages installed so far and what pip is doing.
_progress() {
    local packages
    packages=$(ls -d .venv/lib/*/site-packages/*.dist-info 2>/dev/null | wc -l)
    printf '%5d s  %3d packages  %s' "$1" "$packages" \
        "$(grep -E '^[A-Z][a-z]+ing ' "$2" | tail -n 1)"
}

# pip install into .venv with its output in file $1; shows one live line of progress, or without a
# terminal a line every 15 s.
_install() {
    local began=$SECONDS shown=0 line pid
    .venv/bin/python -m pip install --progress-bar off $(printf ' -r %s' $(_requirements)) \
        >> "$1" 2>&1 &
    pid=$!
    trap "kill $pid 2>/dev/null" EXIT  # a background command does not get ctrl-C
    while kill -0 $pid 2>/dev/null; do
        line=$(_progress $(( SECONDS - began )) "$1")
        if [[ -t 2 ]]; then
            printf '\r\033[K%.*s' $(( ${COLUMNS:-80} - 1 )) "$line" >&2
        elif (( SECONDS - began >= shown )); then
            printf '%.100s\n' "$line" >&2
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
    if [[ -z $python ]]; then
        echo "error: no Python from 3.11 on was found; install one, or name it: PY=/path $0" >&2
        exit 1
    fi
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
    # A subshell: the lock goes with it, and file descriptor 9 stays the caller's own.
    (
        ! command -v flock >/dev/null || flock 9  # commands started together make one environment
        if [[ "$(cat .venv/requirements.sha256 2>/dev/null)"$'\n' != "$(_digest)"$'\n'* ]]; then
            _make_venv
        fi
    ) 9< .venv || exit
    PY=.venv/bin/python
}

# The header of the script, then the flags of its programs, where a Python with our packages is at
# hand: help makes no environment.
_print_help() {
    local name program
    sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$1"
    for name in "${PY:-}" python python3 .venv/bin/python; do
        if [[ -n $name ]] && _has_packages "$name"; then
            for program in $PROGRAMS; do
                printf '\n'
                "$name" -m "$program" --help
            done
            return 0
        fi
    done
    printf '\nThe flags of %s are listed once a start has made .venv.\n' "${PROGRAMS// / and }"
}

if [[ -n ${PROGRAMS:-} && " $* " =~ " "(-h|--help)" " ]]; then
    _print_help "${BASH_SOURCE[1]}"
    exit
fi
_find_python
export PY
# Waiting threads would spin, and where other programs use the cores a step takes many times longer.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-1000}

# run_py MODULE FLAGS...: prints the command, then runs it.
run_py() {
    local command=("$PY" -m "$@")
    printf '+'; printf ' %q' "${command[@]}"; echo
    [[ -n ${DRY_RUN:-} ]] || "${command[@]}"
}

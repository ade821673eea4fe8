# Sourced by the run scripts, not run by itself. Leaves in the environment
#   PYTHON   the interpreter: the caller's $PYTHON, or .venv/bin/python, which is
#            created from requirements.txt and kept up to date with it;
#   root     the repository.
# A script that needs more sets dlrt_extra before: cp for CP decompositions, translation
# for the packages of the translation experiment, dev for these and the development tools.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
dlrt_extra=${dlrt_extra:-run}

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

supported='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'

environment_is_current() {
    [ -x "$root/.venv/bin/python" ] || return 1
    if [ "$dlrt_extra" = run ]; then
        cat "$root/requirements.txt"
    else
        cat "$root/requirements.txt" "$root/pyproject.toml"
    fi | cmp -s - "$root/.venv/.dlrt-$dlrt_extra"
}

set_up_environment() {
    for base in python3.11 python3 python3.12 python3.13 "$root/.venv/bin/python"; do
        if "$base" -c "$supported" 2>/dev/null; then
            "$base" "$root/run_scripts/_setup.py" "$dlrt_extra" || exit
            return
        fi
    done
    fail "No Python 3.11, 3.12 or 3.13 was found. Install one, or name one that has \
the packages of requirements.txt: PYTHON=/path/to/python sh $0"
}

check_given_python() {
    "$PYTHON" -c "$supported" 2>/dev/null ||
        fail "\`PYTHON\` must be a Python 3.11, 3.12 or 3.13. Received: $PYTHON"
    # A module has the name of its package, but for two.
    modules=$(sed -n 's/^pyyaml.*/yaml/p; t
        s/^pillow.*/PIL/p; t
        s/^\([A-Za-z]\{1,\}\).*/\1/p' "$root/requirements.txt")
    case $dlrt_extra in
    cp) modules="$modules tensorly" ;;
    translation) modules="$modules sacrebleu sentencepiece" ;;
    dev) modules="$modules sacrebleu sentencepiece ai_edge_litert jax mypy onnxruntime \
pytest ruff tensorly tf2onnx xdist" ;;
    esac
    # One word a module is what the loop in Python expects.
    # shellcheck disable=SC2086
    "$PYTHON" -c '
import importlib.util, sys
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
sys.exit(" ".join(missing) if missing else 0)
' $modules || fail "\`PYTHON\` lacks these packages. Install them, or unset \`PYTHON\`. \
Received: $PYTHON"
}

if [ -n "${PYTHON:-}" ]; then
    case $PYTHON in
    /*) ;;
    */*) PYTHON=$PWD/$PYTHON ;;
    esac
    check_given_python
else
    environment_is_current || set_up_environment
    PYTHON=$root/.venv/bin/python
fi

# The checkout is imported from any directory, and a folder of the caller's that
# happens to be called dlrt or experiments is not.
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
PYTHONSAFEPATH=1
# TensorFlow's start-up notices; errors and Python's warnings still show.
TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2}
export PYTHON PYTHONPATH PYTHONSAFEPATH TF_CPP_MIN_LOG_LEVEL

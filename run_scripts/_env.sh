# Sourced by the run scripts, not run by itself. Leaves in the environment
#   PYTHON   the interpreter: the caller's $PYTHON, or .venv/bin/python, which is
#            created from requirements.txt and kept up to date with it;
#   root     the repository;
#   help     not empty where the caller asks for --help: it installs nothing and needs
#            no package, so PYTHON may be any supported one.
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

find_base() {
    for base in python3.11 python3 python3.12 python3.13 "$root/.venv/bin/python"; do
        ! "$base" -c "$supported" 2>/dev/null || return 0
    done
    fail "No Python 3.11, 3.12 or 3.13 was found. Install one, or name one that has \
the packages of requirements.txt: PYTHON=/path/to/python sh $0"
}

check_given_python() {
    "$PYTHON" -c "$supported" 2>/dev/null ||
        fail "\`PYTHON\` must be a Python 3.11, 3.12 or 3.13. Received: $PYTHON"
    [ -z "$help" ] || return 0
    # A module has the name of its package, but for two.
    modules=$(sed -n 's/^pyyaml.*/yaml/p; t
        s/^pillow.*/PIL/p; t
        s/^\([A-Za-z]\{1,\}\).*/\1/p' "$root/requirements.txt")
    case $dlrt_extra in
    cp) modules="$modules tensorly" ;;
    translation) modules="$modules sacrebleu sentencepiece" ;;
    dev) modules="$modules sacrebleu sentencepiece ai_edge_litert jax mypy onnxruntime \
pytest ruff tensorly tf2onnx xdist hypothesis importlinter" ;;
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

# What stands at the top of the script.
print_header() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
}

help=
for word; do
    case $word in -h | --help) help=yes ;; esac
done
if [ -n "$help" ] && [ "$dlrt_extra" = dev ]; then
    print_header
    exit
fi

if [ -n "${PYTHON:-}" ]; then
    case $PYTHON in
    /*) ;;
    */*) PYTHON=$PWD/$PYTHON ;;
    esac
    check_given_python
elif environment_is_current; then
    PYTHON=$root/.venv/bin/python
else
    find_base
    PYTHON=$base
    if [ -z "$help" ]; then
        "$base" "$root/run_scripts/_setup.py" "$dlrt_extra" || exit
        PYTHON=$root/.venv/bin/python
    fi
fi

# The checkout is imported from any directory, and a folder of the caller's that
# happens to be called dlrt or experiments is not.
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
PYTHONSAFEPATH=1
# TensorFlow's start-up notices; errors and Python's warnings still show.
TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2}
export PYTHON PYTHONPATH PYTHONSAFEPATH TF_CPP_MIN_LOG_LEVEL

#!/bin/sh
# Without arguments: lint.sh, then the quick tests on TensorFlow and on JAX, in as many
# processes as there are cores.
# With --all alone: the same with the slow tests, and all that JAX has a part in.
# With other arguments: only pytest, with these arguments (paths count from the
# repository), on the backend that $KERAS_BACKEND names, TensorFlow by default:
#   KERAS_BACKEND=jax sh run_scripts/test.sh tests/test_linalg.py -k svd --all
#   sh run_scripts/test.sh --full-size        what takes minutes a test
set -eu
dlrt_extra=dev
. "$(dirname -- "$0")/_env.sh"
cd "$root"

run_pytest() {
    backend=$1
    shift
    if [ "$backend" != tensorflow ]; then
        set -- -m 'not tensorflow_only' "$@"
    fi
    if [ "$backend" = jax ]; then
        # What is compiled here runs for moments, so compiling quickly, and once for all
        # processes, is worth more than fast code. Without the emitters of fusions it
        # takes a third of the time.
        JAX_COMPILATION_CACHE_DIR=$root/.pytest_cache/jax
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.1
        XLA_FLAGS="--xla_backend_optimization_level=0 \
--xla_llvm_disable_expensive_passes=true \
--xla_cpu_use_fusion_emitters=false ${XLA_FLAGS:-}"
        export JAX_COMPILATION_CACHE_DIR JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS XLA_FLAGS
    fi
    printf '\nTests on %s\n' "$backend"
    KERAS_BACKEND=$backend "$PYTHON" -m pytest "$@"
}

if [ "$*" != --all ] && [ $# -gt 0 ]; then
    run_pytest "${KERAS_BACKEND:-tensorflow}" "$@"
    exit
fi

# Compiling models is most of the work, and one core's: a process for each. Threads of
# NumPy's that wait for cores that others have make it many times slower.
TF_NUM_INTRAOP_THREADS=1
OPENBLAS_NUM_THREADS=1
export TF_NUM_INTRAOP_THREADS OPENBLAS_NUM_THREADS

run_in_parallel() {
    run_pytest "$@" -n auto --maxprocesses 8 --dist worksteal
}

all=
[ $# -eq 0 ] || all=yes
# Every part runs, so that one look shows all that is wrong.
failed=
sh run_scripts/lint.sh || failed="$failed lint"
# TensorFlow keeps what it has compiled: a process for half of all tests grew to 10 GB.
run_in_parallel tensorflow ${all:+--all} --ignore tests/experiments \
    --ignore tests/layers --ignore tests/compression --ignore tests/surgery ||
    failed="$failed tensorflow"
run_in_parallel tensorflow ${all:+--all} tests/experiments tests/layers \
    tests/compression tests/surgery || failed="$failed tensorflow"
if [ -n "$all" ]; then
    run_in_parallel jax --all || failed="$failed jax"
else
    # Where the backends differ, and one look at the rest.
    run_in_parallel jax tests/test_linalg.py tests/test_factors.py tests/test_saving.py \
        tests/integrators tests/layers tests/training tests/regularizers \
        tests/test_examples.py::test_readme tests/experiments/test_lenet5.py ||
        failed="$failed jax"
fi
[ -z "$failed" ] || fail "Failed:$failed"

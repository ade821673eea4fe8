#!/bin/sh
# Whether the tests notice deliberate faults in the library, which
# tests/mutation/faults.py lists: a table of which test notices which.
#   sh run_scripts/mutation.sh                  all faults, the quick tests
#   sh run_scripts/mutation.sh --all            slow tests for what these don't notice
#   sh run_scripts/mutation.sh layers --jobs 2  faults in files with this in their path
set -eu
dlrt_extra=dev
. "$(dirname -- "$0")/_env.sh"
cd "$root"

TF_NUM_INTRAOP_THREADS=1
OPENBLAS_NUM_THREADS=1
export TF_NUM_INTRAOP_THREADS OPENBLAS_NUM_THREADS
PYTHONPATH=$root/tests:$PYTHONPATH exec "$PYTHON" -m mutation "$@"

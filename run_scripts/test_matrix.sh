#!/bin/sh
# Trains a grid of networks: methods, widths, ranks, noise and so on, in parallel.
# Options: --help. --dry-run lists what would be trained. EPOCHS=2 in the environment
# stands for --epochs 2.
set -eu
. "$(dirname -- "$0")/_env.sh"
exec "$PYTHON" -m experiments.test_matrix ${EPOCHS:+--epochs "$EPOCHS"} "$@"

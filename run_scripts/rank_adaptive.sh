#!/bin/sh
# Trains a low-rank network that finds its own ranks.
# Options: --help. EPOCHS=2 in the environment stands for --epochs 2.
set -eu
. "$(dirname -- "$0")/_env.sh"
exec "$PYTHON" -m experiments.mnist_dense rank-adaptive ${EPOCHS:+--epochs "$EPOCHS"} "$@"

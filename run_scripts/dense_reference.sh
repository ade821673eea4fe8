#!/bin/sh
# Trains the dense network that the low-rank ones are compared with.
# Options: --help. EPOCHS=2 in the environment stands for --epochs 2.
set -eu
. "$(dirname -- "$0")/_env.sh"
exec "$PYTHON" -m experiments.mnist_dense dense-reference ${EPOCHS:+--epochs "$EPOCHS"} "$@"

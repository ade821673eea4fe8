#!/bin/sh
# Trains a low-rank network at one fixed rank.
# Options: --help. EPOCHS=2 in the environment stands for --epochs 2.
set -eu
. "$(dirname -- "$0")/_env.sh"
exec "$PYTHON" -m experiments.mnist_dense fixed-rank ${EPOCHS:+--epochs "$EPOCHS"} "$@"

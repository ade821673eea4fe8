#!/bin/sh
# Trains with adaptive ranks until they settle, then goes on at those ranks.
# Options: --help. EPOCHS=2 in the environment stands for --epochs 2.
set -eu
. "$(dirname -- "$0")/_env.sh"
exec "$PYTHON" -m experiments.mnist_dense fine-tune ${EPOCHS:+--epochs "$EPOCHS"} "$@"

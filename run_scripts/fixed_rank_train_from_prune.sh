#!/bin/sh
# Prunes a trained dense network by SVD, then retrains it at a fixed rank.
# Options: --help. EPOCHS=2 in the environment stands for --epochs 2.
set -eu
. "$(dirname -- "$0")/_env.sh"
exec "$PYTHON" -m experiments.mnist_dense train-from-prune ${EPOCHS:+--epochs "$EPOCHS"} "$@"

#!/bin/sh
# Trains LeNet-5 with dense layers.
# Options: --help. EPOCHS=2 in the environment stands for --epochs 2.
set -eu
. "$(dirname -- "$0")/_env.sh"
exec "$PYTHON" -m experiments.lenet5 dense-reference ${EPOCHS:+--epochs "$EPOCHS"} "$@"

#!/bin/sh
# Trains the dense transformer that the low-rank ones are compared with.
# Options: --help. EPOCHS=2 in the environment stands for --epochs 2.
set -eu
dlrt_extra=translation
. "$(dirname -- "$0")/_env.sh"
exec "$PYTHON" -m experiments.transformer reference ${EPOCHS:+--epochs "$EPOCHS"} "$@"

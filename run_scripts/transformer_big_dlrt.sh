#!/bin/sh
# Trains a big transformer that finds the ranks of its projections.
# Options: --help. EPOCHS=2 in the environment stands for --epochs 2.
set -eu
dlrt_extra=translation
. "$(dirname -- "$0")/_env.sh"
exec "$PYTHON" -m experiments.transformer rank-adaptive --preset big ${EPOCHS:+--epochs "$EPOCHS"} "$@"

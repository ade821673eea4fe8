#!/bin/sh
# Trains a big transformer whose projections have one fixed rank.
# Options: --help. EPOCHS=2 in the environment stands for --epochs 2.
set -eu
dlrt_extra=translation
. "$(dirname -- "$0")/_env.sh"
exec "$PYTHON" -m experiments.transformer fixed-rank --preset big ${EPOCHS:+--epochs "$EPOCHS"} "$@"

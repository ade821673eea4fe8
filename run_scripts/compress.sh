#!/bin/sh
# Makes a trained network smaller by a low-rank method.
# Options: --help. EPOCHS=2 in the environment stands for --epochs 2.
set -eu
# CP decompositions have a package of their own.
dlrt_extra=cp
. "$(dirname -- "$0")/_env.sh"
exec "$PYTHON" -m experiments.compression ${EPOCHS:+--epochs "$EPOCHS"} "$@"

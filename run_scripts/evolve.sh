#!/bin/sh
# Trains a network that finds its own widths, from a million parameters to 12,500.
# Options: --help. EPOCHS=6 in the environment stands for --epochs 6.
set -eu
. "$(dirname -- "$0")/_env.sh"
exec "$PYTHON" -m experiments.evolve ${EPOCHS:+--epochs "$EPOCHS"} "$@"

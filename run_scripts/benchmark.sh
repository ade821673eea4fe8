#!/bin/sh
# Times training and prediction and measures memory, against dense and two-factor networks.
# Options: --help. --quick takes two minutes.
set -eu
. "$(dirname -- "$0")/_env.sh"
exec "$PYTHON" -m benchmarks "$@"

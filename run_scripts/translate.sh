#!/bin/sh
# Translates standard input, a sentence a line, with a trained network.
# Options: --help. For example: sh run_scripts/translate.sh --model RUN_FOLDER < text
set -eu
dlrt_extra=translation
. "$(dirname -- "$0")/_env.sh"
exec "$PYTHON" -m experiments.translate "$@"

#!/bin/sh
# Draws every figure from the reference logs, and the graphics that explain the method,
# into history_logs/figures/reference. With options (--help), only the figures that they
# name. Other logs: .venv/bin/python -m evaluation figures LOGS.
set -eu
. "$(dirname -- "$0")/_env.sh"
output=$root/history_logs/figures/reference
"$PYTHON" -m evaluation figures --output "$output" "$@" \
    "$root/evaluation/reference_logs"
[ $# -gt 0 ] || exec "$PYTHON" -m evaluation.graphics --output "$output"

#!/bin/sh
# Checks formatting, lint rules, types and imports; --fix repairs what can be repaired.
set -eu
dlrt_extra=dev
. "$(dirname -- "$0")/_env.sh"
cd "$root"

case ${1:-} in
--fix)
    "$PYTHON" -m ruff check --fix-only .
    "$PYTHON" -m ruff format .
    ;;
'') ;;
*) fail "lint.sh takes no argument but --fix. Received: $1" ;;
esac

status=0
"$PYTHON" -m ruff check . || status=1
"$PYTHON" -m ruff format --check . || status=1
"$PYTHON" -m mypy || status=1
"$PYTHON" -c "from importlinter.cli import lint_imports_command as lint; lint()" ||
    status=1
exit "$status"

#!/bin/sh
# Times training and prediction and measures memory, against dense and two-factor networks.
# Options: --help. --quick takes two minutes.
set -eu
. "$(dirname -- "$0")/_env.sh"
# Its options are those of what it measures, which only the packages tell.
if [ -n "$help" ] && ! "$PYTHON" -c 'import keras' 2>/dev/null; then
    print_header
    exec "$PYTHON" -c 'import ast, sys; print(ast.get_docstring(ast.parse(open(sys.argv[1]).read())))' \
        "$root/benchmarks/__main__.py"
fi
exec "$PYTHON" -m benchmarks "$@"

#!/usr/bin/env bash
# All tests, in two runs side by side: those that wait (real nodes, namespaces) and those that compute. Each takes about
# half of the time, and the first leaves its core idle for most of it. With arguments: one run of what they name.
#
#   tools/tests.sh PYTHON [PYTEST ARGUMENTS]
set -u
python=$1
shift
if [ $# -gt 0 ]; then
    exec "$python" -m pytest "$@"
fi

waits=(tests/netns tests/process)
told=$(mktemp)
"$python" -m pytest "${waits[@]}" >"$told" 2>&1 &
other=$!
trap 'kill "$other" 2>/dev/null; rm -f "$told"' EXIT
trap 'exit 130' INT TERM

"$python" -m pytest "${waits[@]/#/--ignore=}"
computed=$?
wait "$other"
waited=$?
printf '\n== %s\n' "${waits[*]}"
cat "$told"
exit $((computed || waited))

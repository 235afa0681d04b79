#!/usr/bin/env bash
# All tests, in two runs side by side: those that wait (real nodes, namespaces) and those that compute; the releases of real
# nodes go with the latter, so that each takes about half of the time. With arguments: one run of what they name.
#
#   tools/tests.sh PYTHON [PYTEST ARGUMENTS]
set -u
python=$1
shift
if [ $# -gt 0 ]; then
    exec "$python" -m pytest "$@"
fi

waits=(tests/netns)
for file in tests/process/test_*.py; do
    case $file in */test_release*) ;; *) waits+=("$file") ;; esac
done
told=$(mktemp)
"$python" -m pytest "${waits[@]}" >"$told" 2>&1 &
other=$!
trap 'kill "$other" 2>/dev/null; rm -f "$told"' EXIT
trap 'exit 130' INT TERM

"$python" -m pytest "${waits[@]/#/--ignore=}"
computed=$?
wait "$other"
waited=$?
printf '\n== those that wait\n'
cat "$told"
exit $((computed || waited))

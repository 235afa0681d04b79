#!/bin/sh
# install.sh install|uninstall: the program in an environment of its own, independent of this tree, and a link on the path.
# Root: /opt/overlay and /usr/local/bin; others: ~/.local/share/overlay/program and ~/.local/bin. PREFIX and BINDIR change that.
set -eu
if test "$(id -u)" = 0; then
    prefix=${PREFIX:-/opt/overlay} bin=${BINDIR:-/usr/local/bin}
else
    prefix=${PREFIX:-${XDG_DATA_HOME:-$HOME/.local/share}/overlay/program} bin=${BINDIR:-$HOME/.local/bin}
fi
link=$bin/overlay
ours() { test -L "$link" && test "$(readlink "$link")" = "$prefix/bin/overlay"; }

case $1 in
install)
    if test -e "$link" && ! ours; then
        echo "$link is there already and is not ours." >&2
        echo "Move it away, or choose another place: make install BINDIR=..." >&2
        exit 1
    fi
    mkdir -p "$bin" "$(dirname "$prefix")"
    tools/environment.sh "$prefix" requirements.lock copy
    ln -sfn "$prefix/bin/overlay" "$link"
    "$link" version
    case :$PATH: in *:"$bin":*) ;; *) echo "$bin is not on your PATH: add it, or call $link" >&2 ;; esac ;;
uninstall)
    if ours; then rm -f "$link"; fi
    if test -f "$prefix/pyvenv.cfg"; then rm -rf "$prefix"; fi ;;
esac

#!/bin/sh
# The real programs that judge this one in tests and benchmarks: installed where this is root on Debian, otherwise named,
# with what is skipped for want of them. Never starts a daemon: a name server that begins to run unasked takes port 53.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
missing= lost=
want() { # PROGRAM PACKAGE WHAT-IS-SKIPPED
    command -v "$1" >/dev/null && return 0
    missing="$missing $2"
    lost="$lost
  $1 ($2): $3"
}
want ip iproute2 "everything in network namespaces"
want unbound unbound "everything in network namespaces (it is the public DNS there)"
want dig bind9-dnsutils "dig as judge"
want nft nftables "NATs in network namespaces"
want curl curl "HTTP asked by a stranger"
want dnsperf dnsperf "the benchmark of names"
want dnsmasq dnsmasq-base "the benchmark of names, its yardstick"
want nsd nsd "the benchmark of names, its second yardstick"

if test "$(id -u)" != 0; then
    echo "Not root: the tests in network namespaces are skipped (they make hosts of their own; run 'sudo make test' for them)." >&2
fi
test -n "$missing" || exit 0

if test "$(id -u)" = 0 && command -v apt-get >/dev/null; then
    echo "Installing$missing ..." >&2
    policy=/usr/sbin/policy-rc.d
    if ! test -e $policy; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        trap 'rm -f $policy' EXIT INT TERM
    fi
    # The lists may be old or absent, a single package may not be had here: what can be installed is.
    apt-get -qq update >/dev/null 2>&1 </dev/null || true
    for package in $missing; do
        if DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$package" >/dev/null 2>&1 </dev/null; then
            case $package in unbound | nsd)
                if test -d /run/systemd/system; then systemctl -q disable --now "$package" || true; fi ;;
            esac
        else
            echo "Could not install $package." >&2
        fi
    done
    missing= lost=
    want ip iproute2 "everything in network namespaces"
    want unbound unbound "everything in network namespaces (it is the public DNS there)"
    want dig bind9-dnsutils "dig as judge"
fi
test -z "$lost" || echo "Not here, so skipped:$lost" >&2

#!/bin/sh
# The real programs that judge this one in tests and benchmarks: installed where this is root on Debian, otherwise named,
# with what is skipped for want of them. Never starts a daemon: a name server that begins to run unasked takes port 53.
set -eu
PATH="$PATH:/usr/sbin:/sbin"

want() { # PROGRAM PACKAGE WHAT-IS-SKIPPED
    command -v "$1" >/dev/null && return 0
    missing="$missing $2"
    lost="$lost
  $1 ($2): $3"
}
look() {
    missing= lost=
    want ip iproute2 "all tests in network namespaces"
    want unbound unbound "all tests in network namespaces (it is the public DNS there)"
    want dig bind9-dnsutils "all tests in network namespaces, and dig as judge elsewhere"
    want named bind9 "BIND as a validating resolver, in network namespaces"
    want drill ldnsutils "drill's chase of signatures, and ldns-verify-zone over exported zones"
    want dnssec-verify bind9-utils "dnssec-verify and named-checkzone over exported zones"
    want nft nftables "closed ways in network namespaces"
    # The router alone: no package of a service, and its binary runs in a test's own namespace only.
    want miniupnpd miniupnpd-nftables "ports mapped at a real router, in network namespaces"
    want turnutils_natdiscovery coturn "kinds of NAT, judged by a standard STUN client"
    want curl curl "HTTP asked by a stranger"
    want whois whois "WHOIS asked by its usual client"
    want zsh zsh "completion in zsh"
    want fish fish "completion in fish"
    want kdig knot-dnsutils "signed transfers, judged by a second client"
    want knotd knot "zones given to a real secondary"
    want dnsperf dnsperf "the benchmark of names"
    want dnsmasq dnsmasq-base "the benchmark of names, its yardstick"
    want nsd nsd "the benchmark of names, its second yardstick"
}

# systemd-resolved judges from a folder: installed it would take this machine's resolv.conf over.
unpack() {
    folder=$(cd "$(dirname "$0")/.." && pwd)/build/resolved
    test -e "$folder/lib/systemd/systemd-resolved" && return 0
    if test "$(id -u)" = 0 && command -v apt-get >/dev/null; then
        there=$(mktemp -d)
        chmod 755 "$there"
        (
            cd "$there" && apt-get -qq download systemd-resolved libsystemd-shared dbus-daemon libapparmor1 >/dev/null 2>&1 </dev/null &&
                mkdir -p "$folder" && for package in *.deb; do dpkg-deb -x "$package" "$folder"; done
        ) || true
        rm -rf "$there"
    fi
    test -e "$folder/lib/systemd/systemd-resolved" || echo "Not here, so skipped: systemd-resolved as a judge of signed names." >&2
}

if test "$(id -u)" != 0; then
    echo "Not root, so skipped: all tests in network namespaces (they make hosts of their own; sudo make test runs them)." >&2
fi
look
test -n "$missing" || { unpack; exit 0; }

if test "$(id -u)" = 0 && command -v apt-get >/dev/null; then
    echo "Installing$missing ..." >&2
    policy=/usr/sbin/policy-rc.d
    if ! test -e $policy; then
        trap 'rm -f $policy' EXIT INT TERM
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
    fi
    # Lists of packages may be old or absent; what cannot be had here is named below, and the rest goes on.
    apt-get -qq update >/dev/null 2>&1 </dev/null || true
    for package in $missing; do
        DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$package" >/dev/null 2>&1 </dev/null || continue
        case $package in unbound | nsd | knot | bind9)
            if test -d /run/systemd/system; then systemctl -q disable --now "$(test "$package" = bind9 && echo named || echo "$package")" || true; fi ;;
        esac
    done
    look
fi
unpack
test -z "$lost" || echo "Not here, so skipped:$lost" >&2

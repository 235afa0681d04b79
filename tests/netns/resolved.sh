#!/bin/sh
# systemd-resolved on a machine without systemd: its own message bus, user, configuration and trust anchor, seen by nobody else.
# Runs until killed, in the mount namespace that `ip netns exec` makes.
#   resolved.sh UNPACKED SERVER ANCHOR-FILE
set -eu
unpacked=$1 server=$2 anchor=$3
libraries=$(find "$unpacked" -name 'libsystemd-shared-*.so' -printf '%h:')$unpacked/usr/lib/x86_64-linux-gnu:$unpacked/usr/lib/aarch64-linux-gnu
mount -t tmpfs none /run
mkdir -p /run/dbus /run/systemd/resolve
cp /etc/passwd /etc/group /run
grep -q '^systemd-resolve:' /run/passwd || echo 'systemd-resolve:x:996:996::/:/usr/sbin/nologin' >>/run/passwd
grep -q '^systemd-resolve:' /run/group || echo 'systemd-resolve:x:996:' >>/run/group
mount --bind /run/passwd /etc/passwd
mount --bind /run/group /etc/group
chown systemd-resolve:systemd-resolve /run/systemd/resolve
mkdir -p /etc/systemd /etc/dnssec-trust-anchors.d
mount -t tmpfs none /etc/systemd
printf '[Resolve]\nDNS=%s\nDomains=~.\nDNSSEC=yes\nFallbackDNS=\nLLMNR=no\nMulticastDNS=no\nCache=no\n' "$server" >/etc/systemd/resolved.conf
mount -t tmpfs none /etc/dnssec-trust-anchors.d
cp "$anchor" /etc/dnssec-trust-anchors.d/overlay.positive
export LD_LIBRARY_PATH=$libraries
"$unpacked/usr/bin/dbus-daemon" --system --nofork --nopidfile --address=unix:path=/run/dbus/system_bus_socket &
for _ in 1 2 3 4 5 6 7 8 9 10; do test -S /run/dbus/system_bus_socket && break; sleep 0.1; done
exec "$unpacked/lib/systemd/systemd-resolved"

"""Real NATs: sites behind routers of every kind that RFC 4787 tells apart, on a small internet. Nothing leads out.

    public hosts ---- internet (a bridge that routes) ---- router ---- a host of the site      192.168.N.2 behind 203.0.113.M

The internet is 203.0.113.0/24, each of its hosts with a /32 of its own, so that nobody there is anybody's neighbour. Kinds
are made of nftables (``KINDS``); a full-cone NAT and a restricted one learn ports and far ends from the packets that
leave. What is sent to a router unasked is dropped before its connection is confirmed: otherwise the tuple is taken, and
the site's next packet to that peer leaves from another port. The judge of all of them is coturn's client.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Self

import pytest

from tests.netns.hosts import RESOLVERS, V4, V6, Host, Net, _ip
from tests.netns.publicdns import SERVER_V4

GATEWAY = f"{V4.network_address + 1}"
DNS = "; ".join(f'iifname "eth1" ip daddr %(inner)s.1 {proto} dport 53 dnat to {SERVER_V4}' for proto in ("udp", "tcp"))
# A NAT that lets strangers in keeps the ports that it gave out, and with them whom they belong to.
RULES = """
table ip nat {
    set given { type inet_service; flags dynamic, timeout; timeout %(timeout)ss; }
    set asked { type ipv4_addr; flags dynamic, timeout; timeout %(timeout)ss; }
    chain pre { type nat hook prerouting priority -100; %(dns)s; iifname "eth0" %(inward)s; }
    chain post { type nat hook postrouting priority 100; oifname "eth0" masquerade%(random)s; }
    chain learn {
        type filter hook postrouting priority 150;
        oifname "eth0" meta l4proto udp update @given { udp sport };
        oifname "eth0" meta l4proto udp update @asked { ip daddr };
    }
    chain in { type filter hook input priority 0; policy accept; iifname "eth0" ct state new drop; }
    chain through {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept;
        iifname "eth0" %(strangers)s;
        ip daddr %(server)s accept;
        iifname "eth1" %(outward)s;
    }
}
"""
ASKED = "meta l4proto udp ip saddr @asked udp dport @given"
ANY = "meta l4proto udp udp dport @given"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of NAT: what it does with strangers' packets, with ports, with what the site sends."""

    inward: str = ""  # whose packets are passed on to the site unasked
    random: str = ""
    outward: str = "accept"
    mapping: str = "endpoint-independent"
    filtering: str = "address-and-port-dependent"


KINDS = {
    "full-cone": Kind(ANY, filtering="endpoint-independent"),
    "restricted": Kind(ASKED, filtering="address-dependent"),
    "port-restricted": Kind(),
    "symmetric": Kind(random=" fully-random", mapping="address-and-port-dependent"),
    "udp-blocked": Kind(outward="meta l4proto tcp accept"),
    "tcp443-only": Kind(outward="tcp dport { 80, 443 } accept"),
}


def unable() -> str | None:
    """Why no NATs can be made here."""
    return None if shutil.which("nft") else "nft is not installed (as root, make test installs it)"


class Nats(Net):
    """An internet with sites; a context manager that takes everything away again."""

    def __enter__(self) -> Self:
        if reason := unable():
            shutil.rmtree(self.folder, ignore_errors=True)
            pytest.skip(f"NO NAT: {reason}")
        super().__enter__()
        self._sites = 0
        self._kinds: dict[str, tuple[str, str, int]] = {}
        return self

    def _bridge(self) -> None:
        super()._bridge()
        _ip("-n", self._middle, "addr", "add", f"{GATEWAY}/{V4.prefixlen}", "dev", "br0")
        quiet = "echo 1 >/proc/sys/net/ipv4/ip_forward; for f in /proc/sys/net/ipv4/conf/*/send_redirects; do echo 0 >$f; done"
        _ip("netns", "exec", self._middle, "sh", "-c", quiet)

    def plug_in(self, host: Host) -> None:
        """A /32 by way of the internet's router: nobody is on-link."""
        _ip("-n", host.namespace, "link", "set", "eth0", "up")
        _ip("-n", host.namespace, "addr", "replace", f"{host.v4}/32", "dev", "eth0")
        _ip("-n", host.namespace, "route", "replace", GATEWAY, "dev", "eth0")
        _ip("-n", host.namespace, "route", "replace", "default", "via", GATEWAY)
        if host.v6:
            _ip("-n", host.namespace, "addr", "replace", f"{host.v6}/{V6.prefixlen}", "dev", "eth0", "nodad")

    def middle(self, *command: str) -> None:
        """Run a command on the internet's own router."""
        _ip("netns", "exec", self._middle, *command)

    def public(self, name: str, number: int | None = None) -> Host:
        """A host that everybody reaches."""
        return self.host(name, number=number, v6=False)

    def site(self, name: str, kind: str, *, behind: Host | None = None, timeout: int = 120) -> Host:
        """A host behind a NAT of its own (for a carrier's NAT in a row: ``behind`` another router); kind ``none``: a public host."""
        if kind == "none":
            return self.public(name)
        self._sites += 1
        router = self.public(f"{name}-r")
        inner = f"192.168.{self._sites}"
        host = Host(self, name, self._prefix + name, f"{inner}.2", None, self.folder / name)
        resolvers = RESOLVERS / host.namespace
        resolvers.mkdir(parents=True)
        (resolvers / "resolv.conf").write_text(f"nameserver {inner}.1\noptions timeout:2 attempts:2\n")
        _ip("netns", "add", host.namespace)
        self.hosts[name] = host
        _ip("link", "add", "eth1", "netns", router.namespace, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
        for namespace, device, address in ((router.namespace, "eth1", f"{inner}.1/24"), (host.namespace, "eth0", f"{inner}.2/24")):
            _ip("-n", namespace, "addr", "add", address, "dev", device)
            _ip("-n", namespace, "link", "set", device, "up")
        _ip("-n", host.namespace, "link", "set", "lo", "up")
        _ip("-n", host.namespace, "route", "add", "default", "via", f"{inner}.1")
        router.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward").ok()
        self._kinds[name] = (kind, inner, timeout)
        self._filter(name)
        return host

    def _filter(self, name: str) -> None:
        kind, inner, timeout = self._kinds[name]
        rule = KINDS[kind]
        text = RULES % {
            "timeout": timeout, "dns": DNS % {"inner": inner}, "inward": f"{rule.inward or 'meta l4proto 255'} dnat to {inner}.2",
            "random": rule.random, "server": SERVER_V4, "outward": rule.outward,
            "strangers": f"ct status dnat {'accept' if rule.inward else 'drop'}",
        }  # fmt: skip
        if kind == "restricted":
            text = text.replace("ct status dnat accept", "ct status dnat ip saddr @asked accept")
        router = self.hosts[f"{name}-r"]
        router.run("nft", "flush ruleset").ok()
        router.run("nft", "-f", "-", stdin=text).ok()

    def reboot(self, name: str, *, move: bool = True) -> str:
        """The router of that site forgets everything, and comes back at another address unless it is told to stay; the address."""
        router = self.hosts[f"{name}-r"]
        _ip("-n", router.namespace, "link", "set", "eth0", "down")
        _ip("-n", router.namespace, "addr", "flush", "dev", "eth0")
        if move:
            number = next(free for free in range(150, 250) if free not in self._numbers)
            self._numbers.add(number)
            router.v4 = f"{V4.network_address + number}"
        self._filter(name)
        self.plug_in(router)
        return router.v4 or ""

    def judge(self, name: str, server: str) -> tuple[str, str]:
        """(mapping, filtering) of a site, as a standard client finds them: coturn's, by RFC 5780, against a server of two addresses."""
        found = []
        for test, word in (("-m", "Mapping"), ("-f", "Filtering")):
            self.reboot(name, move=False)  # what one test taught the router must not help the other
            said = self.hosts[name].run("turnutils_natdiscovery", test, server, timeout=60).out
            words = re.search(rf"NAT with ([A-Za-z ]+) {word}!", said)
            found.append(words[1].lower().replace(" ", "-") if words else said)
        return found[0], found[1]

    def stun_server(self) -> subprocess.Popen[str]:
        """coturn on two public addresses."""
        if shutil.which("turnserver") is None:
            pytest.skip("NO STUN SERVER: coturn is not installed (as root, make test installs it)")
        first, second = self.public("stun1"), "203.0.113.99"
        self._numbers.add(99)
        _ip("-n", first.namespace, "addr", "add", f"{second}/32", "dev", "eth0")
        return first.popen(
            "turnserver", "-n", "--stun-only", "-L", first.v4 or "", "-L", second, "--no-tls", "--no-dtls", "--log-file", "stdout", "--no-cli",
            "--pidfile", str(self.folder / "turn.pid"),
        )

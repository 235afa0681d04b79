"""LANs for tests: a bridge in a namespace of its own each, hosts on it with addresses that others use too, no router, no DNS.

What a LAN is missing can be arranged: ``Lans.deafen`` lets no multicast and broadcast through to a host, as some access
points do. Everything else is as in ``hosts.py``, whose hosts these are.
"""

from __future__ import annotations

import shutil
from ipaddress import ip_address, ip_interface
from typing import Self

import pytest

from tests.netns.hosts import RESOLVERS, Host, Net, _ip, clear_after_crashes, unable


class Lans(Net):
    """Some LANs, cut off from each other and from the world; a context manager that takes everything away again."""

    def __enter__(self) -> Self:
        if reason := unable():
            shutil.rmtree(self.folder, ignore_errors=True)
            pytest.skip(reason)
        clear_after_crashes()
        _ip("netns", "add", self._middle)
        quiet = "for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do test -e $f && echo 0 >$f; done; true"
        _ip("netns", "exec", self._middle, "sh", "-c", quiet)
        return self

    def lan(self, name: str) -> None:
        """A bridge. It forwards multicast to all, as a cheap switch does."""
        _ip("-n", self._middle, "link", "add", name, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        _ip("-n", self._middle, "link", "set", name, "up")

    def on(self, lan: str, name: str, v4: str = "", *, v6: bool = True) -> Host:
        """A host on that LAN: an address such as 192.168.1.2/24, and with ``v6`` a link-local one."""
        namespace = self._prefix + name
        host = Host(self, name, namespace, v4.partition("/")[0] or None, None, self.folder / name)
        resolvers = RESOLVERS / namespace
        resolvers.mkdir(parents=True)
        (resolvers / "resolv.conf").write_text("options timeout:1 attempts:1\n")  # nobody to ask
        _ip("netns", "add", namespace)
        self.hosts[name] = host
        inward = f"p{len(self.hosts)}"
        _ip("link", "add", inward, "netns", self._middle, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("-n", self._middle, "link", "set", inward, "master", lan, "up")
        settle = f"for k in all default eth0; do cd /proc/sys/net/ipv6/conf/$k; echo 0 >accept_dad; echo {int(not v6)} >disable_ipv6; done"
        _ip("netns", "exec", namespace, "sh", "-c", settle)
        _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", namespace, "link", "set", "eth0", "up")
        if v4:
            _ip("-n", namespace, "addr", "add", v4, "dev", "eth0")
        return host

    def route(self, **lans: str) -> None:
        """Let these LANs reach each other by way of a router that has that address on each, such as 10.1.0.1/24. Call it when the hosts are there."""
        _ip("netns", "exec", self._middle, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        for lan, address in lans.items():
            _ip("-n", self._middle, "addr", "add", address, "dev", lan)
            router = address.partition("/")[0]
            for host in self.hosts.values():
                if host.v4 is not None and ip_address(host.v4) in ip_interface(address).network:
                    _ip("-n", host.namespace, "route", "add", "default", "via", router)

    def deafen(self, host: Host) -> None:
        """From now on nothing reaches that host but what is for it alone."""
        rules = "add table inet deaf; add chain inet deaf in { type filter hook input priority 0; }; "
        rules += "add rule inet deaf in meta pkttype { broadcast, multicast } udp dport 7654 drop"
        host.run("nft", rules, timeout=20).ok()

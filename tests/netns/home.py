"""A home: two machines on a LAN behind a real router (nftables NAT and miniupnpd), and a stranger outside. Nothing leads out.

The outside is 192.0.33.0/24, which belongs to IANA itself: miniupnpd maps nothing where its external address is of a private,
shared or documentation network, so that the usual 203.0.113.0/24 would not do.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from tests.netns.hosts import Host, Net, _ip, clear_after_crashes, unable, wait_until

OUTSIDE, ROUTER_OUT = "192.0.33.9", "192.0.33.1"
ROUTER, ALICE, BOB = "192.168.1.1", "192.168.1.2", "192.168.1.3"
MAPPING = Path(__file__).with_name("mapping.py")

CHAINS = """
table inet home {
    chain input {
        type filter hook input priority 0; policy accept
        %(closed)s
    }
    chain forward {
        type filter hook forward priority 0; policy drop
        ct state established,related accept
        iifname "eth1" accept
        jump miniupnpd
    }
    chain miniupnpd { }
    chain prerouting { type nat hook prerouting priority -100; policy accept; iifname "eth0" jump prerouting_miniupnpd; }
    chain prerouting_miniupnpd { }
    chain postrouting { type nat hook postrouting priority 100; policy accept; jump postrouting_miniupnpd; oifname "eth0" masquerade; }
    chain postrouting_miniupnpd { }
}
"""
NO_PCP = "udp dport 5351 @th,64,8 2 drop"  # the first octet behind the UDP header is the version: 2 is PCP's
CONFIG = """
ext_ifname=eth0
listening_ip=eth1
http_port=0
enable_upnp=%(upnp)s
enable_natpmp=%(natpmp)s
secure_mode=yes
min_lifetime=8
lease_file=
notify_interval=30
upnp_table_name=home
upnp_nat_table_name=home
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
uuid=00000000-0000-4000-8000-000000000001
serial=1
model_number=1
allow 1024-65535 192.168.1.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


@dataclass(slots=True)
class Mapper:
    """``mapping.py`` on a host, and all that it has said."""

    child: subprocess.Popen[str]
    said: list[dict[str, Any]] = field(default_factory=list)
    reader: threading.Thread | None = None

    def read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.said.append(json.loads(line))

    def mapped(self) -> list[dict[str, Any]]:
        return [one for one in self.said if "external" in one]

    def end(self) -> None:
        """End it in order; what it said last is read."""
        self.child.terminate()
        assert self.child.wait(10) == 0, self.child.stderr.read() if self.child.stderr is not None else ""
        assert self.reader is not None
        self.reader.join(10)


class Home(Net):
    """The home; ``protocol`` says what its router speaks: with ``pcp`` all three, with ``nat-pmp`` not PCP, with ``upnp`` that alone."""

    def __init__(self, protocol: str) -> None:
        super().__init__()
        self.protocol = protocol
        self.daemon: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        missing = [word for word in ("nft", "miniupnpd") if shutil.which(word) is None]
        if reason := unable() or (f"{' and '.join(missing)} not installed (as root, make test installs it)" if missing else ""):
            shutil.rmtree(self.folder, ignore_errors=True)
            pytest.skip(f"NO ROUTER: {reason}")
        clear_after_crashes()
        try:
            self._bridge()
            for name, v4 in (("outside", OUTSIDE), ("router", ROUTER_OUT), ("alice", ALICE), ("bob", BOB)):
                self._host(name, v4)
            self._cable("eth0", self.hosts["outside"].namespace, "eth0", self.hosts["router"].namespace)
            for name in ("router", "alice", "bob"):
                inner = "eth1" if name == "router" else "eth0"
                self._cable(f"p-{name}", self._middle, inner, self.hosts[name].namespace)
                _ip("-n", self._middle, "link", "set", f"p-{name}", "master", "br0", "up")
            for name, device, address in (
                ("outside", "eth0", OUTSIDE), ("router", "eth0", ROUTER_OUT), ("router", "eth1", ROUTER),
                ("alice", "eth0", ALICE), ("bob", "eth0", BOB),
            ):  # fmt: skip
                _ip("-n", self.hosts[name].namespace, "addr", "add", f"{address}/24", "dev", device)
                _ip("-n", self.hosts[name].namespace, "link", "set", device, "up")
            for name in ("alice", "bob"):
                _ip("-n", self.hosts[name].namespace, "route", "add", "default", "via", ROUTER)
            self.hosts["router"].run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward").ok()
            _ip("-n", self.hosts["router"].namespace, "route", "add", "default", "via", OUTSIDE)
            self.start_router()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _host(self, name: str, v4: str) -> None:
        namespace = self._prefix + name
        _ip("netns", "add", namespace)
        self.hosts[name] = Host(self, name, namespace, v4, None, self.folder / name)
        _ip("-n", namespace, "link", "set", "lo", "up")

    @staticmethod
    def _cable(device: str, namespace: str, other: str, there: str) -> None:
        _ip("link", "add", device, "netns", namespace, "type", "veth", "peer", "name", other, "netns", there)

    # -- the router

    def start_router(self) -> None:
        """Its firewall as after a start, without any mapping, and its daemon."""
        router = self.hosts["router"]
        router.run("nft", "flush", "ruleset").ok()
        router.run("nft", "-f", "-", stdin=CHAINS % {"closed": NO_PCP if self.protocol == "nat-pmp" else ""}).ok()
        config = self.folder / "miniupnpd.conf"
        config.write_text(CONFIG % {"upnp": "yes", "natpmp": "no" if self.protocol == "upnp" else "yes"})
        # -d: in the foreground, so that it ends with the test; its pid file stays in the test's folder too.
        self.daemon = router.popen("miniupnpd", "-d", "-f", str(config), "-P", str(self.folder / "miniupnpd.pid"))
        for stream in (self.daemon.stdout, self.daemon.stderr):
            threading.Thread(target=stream.read if stream is not None else None, daemon=True).start()

    def kill_router(self) -> None:
        """The daemon dies at once; the packets' paths are forgotten with the next start."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait(10)
        (self.folder / "miniupnpd.pid").unlink(missing_ok=True)

    def mappings(self) -> list[str]:
        """The lines of the router's firewall that lead inside."""
        listed = self.hosts["router"].run("nft", "list", "chain", "inet", "home", "prerouting_miniupnpd").ok()
        return [line.strip() for line in listed.lines if "dnat" in line]

    # -- the others

    def map(self, name: str, *ports: int, life: int = 7200) -> Mapper:
        mapper = Mapper(self.hosts[name].popen(sys.executable, str(MAPPING), str(life), *map(str, ports)))
        mapper.reader = threading.Thread(target=mapper.read, daemon=True)
        mapper.reader.start()
        wait_until(lambda: mapper.said or mapper.child.poll() is not None, 20, f"{name} runs", 0.01)
        return mapper

    def reaches(self, port: int) -> bool:
        """Whether a datagram from outside to that port of the router is answered from inside."""
        knock = (
            "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.5)\n"
            "s.connect((sys.argv[1], int(sys.argv[2]))); s.send(b'knock')\n"
            "sys.exit(s.recv(100) != b'knock')"
        )
        return self.hosts["outside"].run(sys.executable, "-c", knock, ROUTER_OUT, str(port)).status == 0

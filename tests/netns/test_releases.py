"""Three clusters behind NATs take a release from one `publish`, each one copy over its uplink; strangers fetch it by name (issue "Releases").

One story, told as chapters. The publisher stands in the public; each site has two machines on 192.168.1.0/24 behind a router
of its own, which translates addresses and lets nothing in that nobody asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import pytest

from tests.netns.hosts import RESOLVERS, Host, Net, _ip, wait_until
from tests.netns.publicdns import SERVER_V4
from tests.netns.story import ZONE, Story, founded, joined

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

SIZE = 3 * 1_048_576
DATA = Random(7).randbytes(SIZE)
DIGEST = hashlib.sha256(DATA).hexdigest()
NAT = "add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; }; add rule ip nat out oifname eth0 masquerade; " \
    "add table ip wall; add chain ip wall pass { type filter hook forward priority 0; policy drop; }; " \
    "add rule ip wall pass ct state established,related accept; add rule ip wall pass iifname eth1 accept"
TAKEN = 60.0  # seconds for all to have it, on a machine that does other things as well


@dataclass
class Site:
    """A router and the machines behind it."""

    router: Host
    machines: list[Host]

    def came(self) -> int:
        """Octets that came in over its uplink."""
        return int(self.router.run("cat", "/sys/class/net/eth0/statistics/rx_bytes").ok().out)


@dataclass
class Told:
    """What happened, for the tests to look at."""

    story: Story
    sites: list[Site]
    held: dict[str, str] = field(default_factory=dict)  # host -> digest of what it holds
    copies: list[float] = field(default_factory=list)  # that came in over each uplink

    @property
    def machines(self) -> list[Host]:
        return [machine for site in self.sites for machine in site.machines]


def site(net: Net, number: int) -> Site:
    router = net.host(f"router{number}", v6=False)
    bridge = f"site{number}"
    _ip("-n", net._middle, "link", "add", bridge, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
    _ip("-n", net._middle, "link", "set", bridge, "up")
    router.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward").ok()
    router.run("nft", NAT, timeout=20).ok()
    machines = []
    for place in (1, 2, 3):
        host = router
        if place > 1:
            name = f"site{number}n{place - 1}"
            namespace = net._prefix + name
            host = net.hosts[name] = Host(net, name, namespace, f"192.168.1.{place}", None, net.folder / name)
            (RESOLVERS / namespace).mkdir(parents=True)
            (RESOLVERS / namespace / "resolv.conf").write_text(f"nameserver {SERVER_V4}\noptions timeout:2 attempts:2\n")
            _ip("netns", "add", namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
            machines.append(host)
        inner, inward = "eth1" if place == 1 else "eth0", f"s{number}p{place}"
        _ip("link", "add", inward, "netns", net._middle, "type", "veth", "peer", "name", inner, "netns", host.namespace)
        _ip("-n", net._middle, "link", "set", inward, "master", bridge, "up")
        _ip("netns", "exec", host.namespace, "sh", "-c", f"echo 1 >/proc/sys/net/ipv6/conf/{inner}/disable_ipv6")
        _ip("-n", host.namespace, "link", "set", inner, "up")
        _ip("-n", host.namespace, "addr", "add", f"192.168.1.{place}/24", "dev", inner)
        if place > 1:
            _ip("-n", host.namespace, "route", "add", "default", "via", "192.168.1.1")
    return Site(router, machines)


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    with Net() as net:
        story = founded(net)
        hub = story.founder
        told = Told(story, [site(net, number) for number in (1, 2, 3)])
        for number, place in enumerate(told.sites, 1):
            for machine in place.machines:
                joined(machine, "--cluster", f"eu/site{number}")
                machine.overlay("subscribe", "app").ok()
        hub.overlay("release", "init", "app").ok()
        path = net.folder / "app.bin"
        path.write_bytes(DATA)
        path.chmod(0o644)
        before = [place.came() for place in told.sites]
        hub.overlay("release", "publish", "app", str(path)).ok()

        def all_hold() -> bool:
            for machine in told.machines:
                file = machine.home / "releases" / "app" / "r1"
                if machine.name not in told.held and file.exists():
                    told.held[machine.name] = hashlib.sha256(file.read_bytes()).hexdigest()
            return len(told.held) == len(told.machines)

        wait_until(all_hold, TAKEN, "all hold the release", 0.2)
        told.copies = [(place.came() - start) / SIZE for place, start in zip(told.sites, before, strict=True)]
        yield told


def test_every_machine_behind_every_nat_holds_what_was_published(told: Told) -> None:
    assert set(told.held.values()) == {DIGEST} and len(told.held) == 6


def test_one_copy_came_in_over_each_uplink(told: Told) -> None:
    assert all(0.9 < copies < 1.5 for copies in told.copies), told.copies  # with headers, acknowledgements and all else that was said


def test_a_stranger_fetches_it_by_its_name_with_curl(told: Told) -> None:
    story = told.story
    stranger = story.net.host("stranger")
    (address, *_) = story.founder.dig("app.download.cloud").data
    assert address == story.founder.v4
    url = f"http://app.download.{ZONE}/app/r1"
    out = story.net.folder / "curled"
    stranger.run("curl", "-sSf", "--resolve", f"app.download.{ZONE}:80:{address}", "-o", str(out), url, timeout=60).ok()
    assert hashlib.sha256(out.read_bytes()).hexdigest() == DIGEST
    stranger.run("curl", "-sSf", "-r", "100-199", "--resolve", f"app.download.{ZONE}:80:{address}", "-o", str(out), url, timeout=60).ok()
    assert out.read_bytes() == DATA[100:200]


def test_a_forged_a_truncated_and_a_rolled_back_one_are_refused(told: Told) -> None:
    story, machine = told.story, told.machines[0]
    folder = story.net.folder
    for name, data in (("forged", bytes([DATA[0] ^ 1]) + DATA[1:]), ("truncated", DATA[:-1])):
        (folder / name).write_bytes(data)
        machine.overlay("release", "verify", str(folder / name)).exits(4)
    (folder / "app2.bin").write_bytes(DATA[: SIZE // 2])
    story.founder.overlay("release", "publish", "app", str(folder / "app2.bin")).ok()
    wait_until(lambda: all(m.json("release", "status", "app")["revision"] == 2 for m in told.machines), TAKEN, "all run the second", 0.5)
    back = story.founder.overlay("release", "publish", "app", str(folder / "app.bin"), "--revision", "1").exits(2)
    assert "revision" in back.err
    assert {m.json("release", "status", "app")["revision"] for m in told.machines} == {2}


def test_a_fresh_machine_joins_by_the_hint_with_dns_dead(told: Told) -> None:
    story = told.story
    fresh = story.net.host("fresh")
    overlay_id = story.founder.json("status")["overlay_id"]
    fresh.overlay("release", "fetch", str(story.founder.v4), "app", "--id", overlay_id).ok()
    (RESOLVERS / fresh.namespace / "resolv.conf").write_text("nameserver 203.0.113.250\noptions timeout:1 attempts:1\n")  # nobody
    assert joined(fresh, "--no-lan", where=None).startswith("fresh.")

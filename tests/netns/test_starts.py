"""Starts without a network, and networks that change under a node: listeners, records and sessions follow (DESIGN 3.7, 3.13)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.netns.hosts import Host, Net, wait_until
from tests.netns.story import SOON, ZONE, everywhere, founded, join, joined

pytestmark = [pytest.mark.netns, pytest.mark.timeout(150)]


@pytest.fixture
def net() -> Iterator[Net]:
    with Net() as net:
        yield net


def ip(host: Host, *words: str) -> None:
    """Change something about a host's network."""
    host.run("ip", *words, timeout=20).ok()


def unplugged(host: Host) -> None:
    """No network at all: the interface is down and has no address."""
    ip(host, "addr", "flush", "dev", "eth0")
    ip(host, "link", "set", "eth0", "down")


def without_v6(host: Host, interface: str) -> None:
    """No link-local address either: sessions move to any way that is as good."""
    host.run("sh", "-c", f"echo 1 >/proc/sys/net/ipv6/conf/{interface}/disable_ipv6").ok()


def cabled(one: Host, other: Host, network: str) -> None:
    """A cable between two hosts, for IPv4 alone: eth1 of each, addresses .1 and .2 of the network."""
    words = ["ip", "link", "add", "eth1", "netns", one.namespace, "type", "veth", "peer", "name", "eth1", "netns", other.namespace]
    subprocess.run(words, check=True, timeout=20, stdin=subprocess.DEVNULL)
    for host, number in ((one, 1), (other, 2)):
        without_v6(host, "eth1")
        ip(host, "addr", "add", f"{network}.{number}/24", "dev", "eth1")
        ip(host, "link", "set", "eth1", "up")


def bound(host: Host, kind: str) -> set[str]:
    return {address.rpartition(":")[0].strip("[]") for address in host.json("status")["listen"][kind]}


def since(host: Host) -> float:
    """For how long a host's one session has been open."""
    (peer,) = host.json("peers")
    return float(peer["since_s"])


def test_who_starts_without_any_network_serves_itself_and_is_there_when_one_comes(net: Net) -> None:
    story = founded(net)
    alice = net.host("alice")
    joined(alice, "--cluster", "eu/home")
    alice.overlay("name", "set", "motd.home.eu", "TXT", "at home").ok()
    alice.overlay("down").ok()
    unplugged(alice)

    alice.overlay("up", "--detach").ok()
    assert alice.dig("motd.home.eu.cloud", "TXT").data == ['"at home"']
    assert bound(alice, "dns") == set()
    alice.overlay("name", "set", "motd.home.eu", "TXT", "all alone").ok()

    ip(alice, "link", "set", "eth0", "up")
    ip(alice, "addr", "add", "203.0.113.77/24", "dev", "eth0")  # another one than before
    wait_until(lambda: bound(alice, "dns") == {"203.0.113.77"}, SOON, "it listens at the new address")
    assert bound(alice, "http") == {"127.0.0.1", "203.0.113.77"}
    wait_until(lambda: len(alice.json("peers")) == 1, SOON, "alice has found the founder")
    both = (alice, story.founder)
    everywhere(both, "its new address", lambda host: host.dig("alice.home.eu.cloud").data == ["203.0.113.77"])
    everywhere(both, "what it said alone", lambda host: host.dig("motd.home.eu.cloud", "TXT").data == ['"all alone"'])
    assert story.founder.dig("alice.home.eu.cloud", at="203.0.113.77", options=("+norecurse",)).data == ["203.0.113.77"]
    assert story.founder.run("curl", "-s", "http://203.0.113.77/?IP").out.strip() == story.founder.v4


def test_a_newcomer_without_a_network_gets_in_as_soon_as_one_comes(net: Net) -> None:
    founded(net)
    alice = net.host("alice")
    unplugged(alice)
    joining = alice.popen(sys.executable, "-m", "overlay", "join", ZONE, "--name", "alice")
    alice.run("sleep", "4", timeout=30)  # it has tried and failed
    net.plug_in(alice)
    assert joining.stdout is not None
    said: list[str] = []
    for line in joining.stdout:
        said.append(line)
        if line.startswith("joined as "):
            break
    assert said[-1].startswith("joined as alice."), said
    assert joining.poll() is None


def test_an_address_that_changes_under_a_node_takes_listeners_records_and_sessions_along(net: Net) -> None:
    story = founded(net)
    alice, bob = net.host("alice", v6=False), net.host("bob")
    without_v6(alice, "eth0")
    joined(alice, "--cluster", "eu/home")
    joined(bob, "--cluster", "us/office")
    alice.overlay("service", "add", "www.home.eu", "--port", "8000").ok()
    everyone = (alice, bob, story.founder)
    everywhere(everyone, "its service", lambda host: host.dig("www.home.eu.cloud").data == [alice.v4])
    session = {peer["name"]: peer["since_s"] for peer in alice.json("peers")}

    ip(alice, "addr", "del", f"{alice.v4}/24", "dev", "eth0")
    ip(alice, "addr", "add", "203.0.113.78/24", "dev", "eth0")
    ip(alice, "route", "replace", "default", "via", "203.0.113.1")
    everywhere(everyone, "its new address", lambda host: host.dig("alice.home.eu.cloud").data == ["203.0.113.78"])
    everywhere(everyone, "its service's", lambda host: host.dig("www.home.eu.cloud").data == ["203.0.113.78"])
    everywhere(everyone, "its cluster's", lambda host: "203.0.113.78" in host.dig("clusters.cloud").data)
    everywhere(everyone, "not the old one", lambda host: alice.v4 not in host.dig("clusters.cloud").data)
    assert bound(alice, "dns") == {"203.0.113.78"}
    assert story.founder.dig("alice.home.eu.cloud", at="203.0.113.78", options=("+norecurse",)).data == ["203.0.113.78"]
    peers = {peer["name"]: peer["since_s"] for peer in alice.json("peers")}
    assert set(session) <= set(peers)
    assert all(peers[name] > session[name] for name in session), "the sessions are the same ones"
    moved = lambda: any(peer["address"].startswith("203.0.113.78:") for peer in story.founder.json("peers"))  # noqa: E731
    wait_until(moved, SOON, "the founder's session has moved")
    alice.overlay("name", "set", "motd.home.eu", "TXT", "moved").ok()
    everywhere(everyone, "a change", lambda host: host.dig("motd.home.eu.cloud", "TXT").data == ['"moved"'])


def test_a_node_on_two_networks_is_known_on_both_and_on_the_one_that_is_left(net: Net) -> None:
    story = founded(net)
    alice, bob = net.host("alice"), net.host("bob")
    cabled(alice, bob, "192.0.2")
    unplugged(bob)  # but for the cable
    joined(alice, "--cluster", "eu/home")
    assert bound(alice, "dns") == {alice.v4, "192.0.2.1"}
    assert join(bob, "--cluster", "eu/home", where="192.0.2.1").ok().out.startswith("joined as bob.home.eu.cloud ")
    assert bob.json("peers")[0]["address"] == "192.0.2.1:7653"
    both = sorted(["192.0.2.1", str(alice.v4)])
    everywhere((alice, bob, story.founder), "both addresses", lambda host: host.dig("alice.home.eu.cloud").data == both)
    everywhere((alice, bob, story.founder), "bob's", lambda host: host.dig("bob.home.eu.cloud").data == ["192.0.2.2"])

    ip(alice, "link", "set", "eth1", "down")
    everywhere((alice, story.founder), "the one that is left", lambda host: host.dig("alice.home.eu.cloud").data == [alice.v4])
    assert bound(alice, "dns") == {alice.v4}
    assert bob.dig("alice.home.eu.cloud").data == both  # the last that it has heard

    ip(alice, "link", "set", "eth1", "up")
    everywhere((alice, bob, story.founder), "both again", lambda host: host.dig("alice.home.eu.cloud").data == both)
    assert bound(alice, "dns") == {alice.v4, "192.0.2.1"}


def test_an_address_named_in_the_configuration_may_come_after_the_node(net: Net) -> None:
    story = founded(net)
    alice = net.host("alice")
    joined(alice, "--cluster", "eu/home")
    alice.overlay("down").ok()
    unplugged(alice)
    (alice.home / "overlay.toml").write_text(f'[listen]\noverlay = ["{alice.v4}:7653"]\ndns = ["{alice.v4}:53"]\n')
    up = alice.overlay("up", "--detach").ok()
    assert f"{alice.v4}:7653 is not an address of this machine yet" in up.err
    net.plug_in(alice)
    wait_until(lambda: len(alice.json("peers")) == 1, SOON, "alice has found the founder")
    everywhere((alice, story.founder), "its address", lambda host: host.dig("alice.home.eu.cloud").data == [alice.v4])
    assert story.founder.dig("alice.home.eu.cloud", at=str(alice.v4), options=("+norecurse",)).data == [alice.v4]


def test_without_any_dns_an_enrolled_node_finds_its_peers_and_a_newcomer_joins_by_address(net: Net) -> None:
    story = founded(net)
    alice, bob = net.host("alice"), net.host("bob")
    joined(alice, "--cluster", "eu/home")
    alice.overlay("down").ok()
    net.dns.host.switch_off()
    alice.overlay("up", "--detach").ok()
    wait_until(lambda: len(alice.json("peers")) == 1, SOON, "alice has found the founder")
    everywhere((alice, story.founder), "its name", lambda host: host.dig("alice.home.eu.cloud").data == [alice.v4])
    vain = join(bob, "--timeout", "4").exits(5)
    assert "DNS" in vain.err.splitlines()[-2]
    assert joined(bob, "--cluster", "us/office", where=story.founder.v4) == "bob.office.us.cloud"

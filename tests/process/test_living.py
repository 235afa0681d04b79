"""A running node as its person meets it: what it reports, how it stops, how it leaves (CONTRACT, the commands)."""

from __future__ import annotations

import signal

import pytest

from tests.process.machines import ZONE, Machine, Village, until

STATUS = {
    "zone": str, "tld": str, "overlay_id": str, "name": str, "node_id": str, "cluster": str, "gateway": bool, "standby": bool,
    "gateway_name": (str, type(None)), "public_address": (str, type(None)), "owns_public_address": bool, "nat": str, "revision": int,
    "incarnation": int, "pid": int, "peers": int, "clusters": int, "records": int, "uptime_s": (int, float), "load": (int, float),
    "listen": dict, "grants": list,
}  # fmt: skip
NATS = {"none", "full-cone", "restricted", "port-restricted", "symmetric", "udp-blocked", "unknown"}


@pytest.fixture(scope="module")
def pair(shared: Village) -> tuple[Machine, Machine]:
    founder, alice = shared.founded(), shared.machine()
    founder.up()
    alice.join(founder, "--name", "alice", "--cluster", "eu/home")
    alice.done("service", "add", "www.home.eu", "--port", "8000")
    alice.done("name", "set", "motd.home.eu", "TXT", "hello, world", "a;b \"c\"")
    return founder, alice


def test_status_has_the_contracts_keys(pair: tuple[Machine, Machine]) -> None:
    founder, alice = pair
    status = alice.done("status", "--json").json
    assert set(status) == set(STATUS)
    for key, kind in STATUS.items():
        assert isinstance(status[key], kind), (key, status[key])
        assert isinstance(status[key], bool) is (kind is bool), key
    assert status["zone"] == ZONE
    assert (status["name"], status["cluster"], status["tld"]) == ("alice.home.eu.cloud", "eu/home", "cloud")
    assert status["nat"] in NATS
    assert status["incarnation"] == 1
    assert status["pid"] == alice.running[0].process.pid
    assert status["overlay_id"] == founder.done("status", "--json").json["overlay_id"]
    assert status["listen"] == {
        "overlay": [alice.listener], "tls": [], "http": [f"{alice.address}:8053"], "dns": [], "stub": [f"{alice.address}:5300"],
    }  # fmt: skip
    assert all(set(grant) == {"path", "rights", "expires"} for grant in status["grants"])
    assert {grant["path"] for grant in status["grants"]} == {"eu/home", "eu/home/alice"}


def test_reading_commands_have_the_contracts_keys(pair: tuple[Machine, Machine]) -> None:
    founder, alice = pair
    until(lambda: founder.ask("www.home.eu.cloud") == [alice.address], "the founder knows the service")
    (peer,) = founder.done("peers", "--json").json
    assert set(peer) == {"name", "node_id", "cluster", "path", "address", "rtt_ms", "revision", "since_s"}
    assert (peer["name"], peer["path"], peer["address"]) == ("alice.home.eu.cloud", "direct", alice.listener)
    clusters = {one["cluster"]: one for one in founder.done("clusters", "--json").json}
    assert set(clusters) == {"hq", "eu/home"}
    keys = {"cluster", "public_addresses", "gateways", "nodes", "revision", "stable", "development", "load", "seen_s"}
    assert all(set(one) == keys for one in clusters.values())
    ping = founder.done("ping", "alice.home.eu", "-c", "2", "--json").json
    assert set(ping) == {"name", "path", "sent", "received", "rtt_ms"}
    assert (ping["name"], ping["sent"], ping["received"], len(ping["rtt_ms"])) == ("alice.home.eu.cloud", 2, 2, 2)
    for written in ("www.home.eu", "eu/home/www", "www.home.eu.cloud.", f"www.home.eu.{ZONE}"):
        (carrier,) = founder.done("expand", written, "--json").json
        assert set(carrier) == {"name", "node_id", "cluster", "addresses", "port", "healthy", "load", "distance_ms"}
        assert (carrier["name"], carrier["addresses"], carrier["port"]) == ("alice.home.eu.cloud", [alice.address], 8000)
    resolved = founder.done("resolve", "motd.home.eu", "TXT", "--json").json
    assert set(resolved) == {"name", "type", "rcode", "world", "answers", "records", "chain", "reason"}
    assert (resolved["name"], resolved["rcode"], resolved["world"]) == ("motd.home.eu.cloud", "NOERROR", "overlay")
    assert founder.ask("motd.home.eu.cloud", "TXT") == ['"a;b \\"c\\""', '"hello, world"']
    services = founder.done("service", "list", "--json").json
    assert [service["name"] for service in services] == ["www.home.eu.cloud"]
    names = founder.done("name", "list", "eu/home", "--json").json
    assert [(one["name"], one["type"]) for one in names] == [("motd.home.eu.cloud", "TXT")]
    assert sorted(names[0]["values"]) == ['a;b "c"', "hello, world"]
    assert founder.done("name", "tree").out.startswith("cloud")
    assert '"children"' in founder.done("name", "tree", "--json").out


def test_what_does_not_exist_and_what_is_not_allowed(pair: tuple[Machine, Machine]) -> None:
    founder, alice = pair
    cases = [
        (["ping", "nobody.home.eu"], 1), (["expand", "nothing.home.eu"], 1), (["service", "remove", "nothing.home.eu"], 1),
        (["name", "remove", "nothing.home.eu"], 1), (["name", "set", "x.hq", "A", "192.0.2.1"], 4),
        (["name", "set", "x.home.eu", "A", "no"], 2),
        (["name", "set", "x.home.eu", "NS", "a.b."], 2), (["name", "set", "clusters", "TXT", "x"], 2),
        (["name", "set", "a..b", "TXT", "x"], 2),
        (["service", "add", "alice.home.eu", "--port", "0"], 2), (["name", "set", "x.home.eu", "NONSENSE", "x"], 2),
        (["name", "set", "x.home.eu", "TXT", "y" * 2000], 2), (["invite", "hq"], 4),
    ]  # fmt: skip
    for words, status in cases:
        refused = alice.overlay(*words)
        assert refused.status == status, (words, refused)
        assert len(refused.err.splitlines()) == 2, (words, refused.err)
        assert refused.out == "", words
    assert alice.done("resolve", "nothing.home.eu", "--json").json["rcode"] == "NXDOMAIN"


def test_signals_stop_it_cleanly_and_peers_are_told_at_once(village: Village) -> None:
    founder, alice, bob = village.founded(), village.machine(), village.machine()
    founder.up()
    nodes = alice.join(founder, "--name", "alice", "--cluster", "eu/home"), bob.join(founder, "--name", "bob", "--cluster", "eu/barn")
    until(lambda: len(founder.done("peers", "--json").json) == 2, "they are peers")
    nodes[0].signal(signal.SIGTERM)
    nodes[1].signal(signal.SIGINT)
    assert until(lambda: not founder.done("peers", "--json").json, "the founder has heard") < 3
    assert [node.end() for node in nodes] == [0, 0]
    assert alice.ask("alice.home.eu.cloud") == ["silent"]
    assert alice.overlay("status").complaint == [f"overlay: no node is running on {alice.home}", "start it with `overlay up`"]
    assert alice.overlay("down").status == 3
    again = alice.up()
    assert alice.done("status", "--json").json["incarnation"] == 2
    alice.done("down")
    assert again.end() == 0


def test_leaving_asks_takes_names_away_and_lets_go_of_the_overlay(village: Village) -> None:
    founder, alice = village.founded(), village.machine()
    founder.up()
    node = alice.join(founder, "--name", "alice", "--cluster", "eu/home")
    alice.done("name", "set", "motd.home.eu", "TXT", "hello")
    until(lambda: founder.ask("motd.home.eu.cloud", "TXT") == ['"hello"'], "the founder knows the name")
    assert alice.overlay("leave").status == 2  # nobody is there to be asked
    assert alice.overlay("leave", stdin="y\n").status == 2  # a pipe is not a terminal
    alice.done("leave", "--yes")
    assert node.end() == 0
    until(lambda: founder.ask("alice.home.eu.cloud") == ["NXDOMAIN"], "the founder has forgotten the node")
    until(lambda: founder.ask("motd.home.eu.cloud", "TXT") == ["NXDOMAIN"], "and what it said")
    assert not (alice.home / "identity").exists()
    assert alice.overlay("up").status == 1
    assert alice.overlay("leave", "--yes").status == 3
    node = alice.join(founder, "--name", "alice", "--cluster", "eu/home")  # name and cluster were given back
    assert alice.ask("alice.home.eu.cloud") == [alice.address]


def test_without_a_node_every_command_that_asks_one_ends_with_3(village: Village) -> None:
    machine = village.machine()
    for words in (["status"], ["peers", "--json"], ["resolve", "x"], ["name", "set", "x.y", "A", "192.0.2.1"], ["invite"], ["down"]):
        refused = machine.overlay(*words)
        assert refused.status == 3, refused
        assert refused.complaint == [f"overlay: no node is running on {machine.home}", "start it with `overlay up`"]

"""A running node as its person meets it: what it reports, how it stops, how it leaves (CONTRACT, the commands)."""

from __future__ import annotations

import signal

import pytest

from tests.process.machines import ZONE, Machine, Village, until

STATUS = {
    "zone": str, "tld": str, "overlay_id": str, "name": str, "node_id": str, "cluster": str, "gateway": bool, "standby": bool,
    "gateway_name": (str, type(None)), "public_address": (str, type(None)), "owns_public_address": bool, "nat": str, "revision": int,
    "incarnation": int, "pid": int, "peers": int, "clusters": int, "records": int, "uptime_s": (int, float), "load": (int, float),
    "listen": dict, "grants": list, "problems": list, "warnings": list,
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
    peers = {peer["name"]: peer for peer in founder.done("peers", "--json").json}
    assert all(set(peer) == {"name", "node_id", "cluster", "path", "address", "rtt_ms", "revision", "since_s"} for peer in peers.values())
    peer = peers["alice.home.eu.cloud"]
    assert (peer["path"], peer["address"]) == ("lan", alice.listener)  # the same machine
    clusters = {one["cluster"]: one for one in founder.done("clusters", "--json").json}
    assert set(clusters) >= {"hq", "eu/home"}
    keys = {"cluster", "public_addresses", "gateways", "nodes", "revision", "stable", "development", "load", "seen_s"}
    assert all(set(one) >= keys for one in clusters.values())  # adding is free
    for asking in (founder, alice):
        assert [(row["name"], set(row)) for row in asking.done("clusters", "eu/home", "--json").json] == [
            ("alice.home.eu.cloud", {"name", "node_id", "revision"}),
        ]
    assert founder.overlay("clusters", "no/where").status == 1
    assert founder.done("clusters", "eu/home").out.split()[:5] == ["NAME", "NODE", "ID", "REVISION", "alice.home.eu.cloud"]
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


def named(founder: Machine) -> set[str]:
    """Labels of the founder's peers."""
    return {peer["name"].split(".")[0] for peer in founder.done("peers", "--json").json}


def test_signals_stop_it_cleanly_and_peers_are_told_at_once(pair: tuple[Machine, Machine], village: Village) -> None:
    founder, carol, bob = pair[0], village.machine(), village.machine()
    nodes = [machine.start("join", founder.listener, "--name", name) for machine, name in ((carol, "carol"), (bob, "bob"))]
    assert [node.line().split()[2] for node in nodes] == ["carol.carol.cloud", "bob.bob.cloud"]  # a new cluster, named after the node
    until(lambda: named(founder) >= {"carol", "bob"}, "they are peers")
    nodes[0].signal(signal.SIGTERM)
    nodes[1].signal(signal.SIGINT)
    assert until(lambda: not named(founder) & {"carol", "bob"}, "the founder has heard") < 3
    assert [node.end() for node in nodes] == [0, 0]
    assert carol.ask("carol.carol.cloud") == ["silent"]
    assert carol.overlay("status").complaint == [f"overlay: no node is running on {carol.home}", "start it with `overlay up`"]
    assert carol.overlay("down").status == 3
    again = carol.up()
    assert carol.done("status", "--json").json["incarnation"] == 2
    carol.done("down")
    assert again.end() == 0


def test_leaving_asks_takes_names_away_and_lets_go_of_the_overlay(pair: tuple[Machine, Machine], village: Village) -> None:
    founder, dave = pair[0], village.machine()
    node = dave.join(founder, "--name", "dave", "--cluster", "us/lab")
    dave.done("name", "set", "motd.lab.us", "TXT", "hello")
    until(lambda: founder.ask("motd.lab.us.cloud", "TXT") == ['"hello"'], "the founder knows the name")
    assert dave.overlay("leave").status == 2  # nobody is there to be asked
    assert dave.overlay("leave", stdin="y\n").status == 2  # a pipe is not a terminal
    dave.done("leave", "--yes")
    assert node.end() == 0
    until(lambda: founder.ask("dave.lab.us.cloud") == ["NXDOMAIN"], "the founder has forgotten the node")
    until(lambda: founder.ask("motd.lab.us.cloud", "TXT") == ["NXDOMAIN"], "and what it said")
    assert not (dave.home / "identity").exists()
    assert dave.overlay("leave", "--yes").status == 3
    dave.join(founder, "--name", "dave", "--cluster", "us/lab")  # name and cluster were given back
    assert dave.ask("dave.lab.us.cloud") == [dave.address]


def test_without_a_node_every_command_that_asks_one_ends_with_3(village: Village) -> None:
    machine = village.machine()
    for words in (["peers", "--json"], ["name", "set", "x.y", "A", "192.0.2.1"], ["invite"], ["down"]):
        refused = machine.overlay(*words)
        assert refused.status == 3, refused
        assert refused.complaint == [f"overlay: no node is running on {machine.home}", "start it with `overlay up`"]

"""The transcript across real hosts: found, join, name, resolve. One overlay of three nodes, asked by `dig` and by its own commands."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.hosts import Host, Net, wait_until
from tests.netns.publicdns import EXAMPLE_V4, SERVER_V4
from tests.netns.story import SOON, ZONE, Story, everywhere, founded, joined

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

MASTER_LINE = re.compile(r"^\S+\. \d+ IN (A|AAAA|NS|DS|TXT) \S.*$")


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    with Net() as net:
        story = founded(net)
        assert joined(net.host("alice"), "--cluster", "eu/home") == "alice.home.eu.cloud"
        assert joined(net.host("bob"), "--cluster", "us/office") == "bob.office.us.cloud"
        net.hosts["alice"].overlay("service", "add", "www.home.eu", "--port", "8000").ok()
        net.hosts["alice"].overlay("name", "set", "motd.home.eu", "TXT", "hello from home").ok()
        yield story


@pytest.fixture
def nodes(story: Story) -> dict[str, Host]:
    """Full name -> host."""
    hosts = story.net.hosts
    return {"hub.hub.cloud": hosts["hub"], "alice.home.eu.cloud": hosts["alice"], "bob.office.us.cloud": hosts["bob"]}


def query(name: str, rtype: int, number: int = 0x2A17) -> bytes:
    wire = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return number.to_bytes(2, "big") + bytes.fromhex("01000001000000000000") + wire + b"\0" + rtype.to_bytes(2, "big") + b"\0\1"


# -- founding and joining


def test_init_prints_nothing_but_records_to_publish_and_ends_with_the_line_to_run_elsewhere(story: Story) -> None:
    records = [line for line in story.init.lines if line.strip() and not line.startswith(";")]
    assert len(records) >= 4
    assert [line for line in records if not MASTER_LINE.match(line)] == []
    assert any(line.startswith(f"_overlay.{ZONE}. ") and '"v=overlay1;id=' in line for line in records)
    assert any(line.startswith(f"_node._overlay.{ZONE}. ") and ";key=" in line for line in records)
    assert f"overlay join {ZONE}" in story.init.err.splitlines()[-1]


# -- names, judged by dig


def test_every_node_answers_for_every_node(story: Story, nodes: dict[str, Host]) -> None:
    for name, host in nodes.items():
        everywhere(nodes.values(), f"{name} A", lambda asker: asker.dig(name).data == [host.v4])
        everywhere(nodes.values(), f"{name} AAAA", lambda asker: asker.dig(name, "AAAA").data == [host.v6])


def test_a_service_has_its_port_and_its_addresses_everywhere(nodes: dict[str, Host]) -> None:
    alice = nodes["alice.home.eu.cloud"]
    where = ["8000", "alice.home.eu.cloud."]
    everywhere(nodes.values(), "SRV", lambda host: [data.split()[2:] for data in host.dig("www.home.eu.cloud", "SRV").data] == [where])
    everywhere(nodes.values(), "A", lambda host: host.dig("www.home.eu.cloud").data == [alice.v4])


def test_plain_data_is_the_same_everywhere_in_any_spelling_over_udp_and_tcp(nodes: dict[str, Host]) -> None:
    everywhere(nodes.values(), "TXT", lambda host: host.dig("motd.home.eu.cloud", "TXT").data == ['"hello from home"'])
    for host in nodes.values():
        assert host.dig("MoTD.Home.EU.cloud", "TXT").data == ['"hello from home"']
        assert host.dig("motd.home.eu.cloud", "TXT", options=("+tcp",)).data == ['"hello from home"']
        assert host.dig("motd.home.eu.cloud", "MX").status == "NOERROR"
        assert host.dig("nobody.home.eu.cloud").status == "NXDOMAIN"


@pytest.mark.parametrize("who", ["hub.hub.cloud", "alice.home.eu.cloud", "bob.office.us.cloud"])
def test_a_change_made_on_any_node_is_seen_on_all(nodes: dict[str, Host], who: str) -> None:
    name = "note." + who.split(".", 1)[1]
    for value in ("first", "second"):
        nodes[who].overlay("name", "set", name, "TXT", value).ok()
        everywhere(nodes.values(), f"{name} is {value}", lambda host: host.dig(name, "TXT").data == [f'"{value}"'])
    nodes[who].overlay("name", "remove", name).ok()
    everywhere(nodes.values(), f"{name} is gone", lambda host: host.dig(name, "TXT").status == "NXDOMAIN", within=35)


def test_whoami_is_the_asker_to_the_world_and_the_node_to_its_own_machine(nodes: dict[str, Host]) -> None:
    alice, hub = nodes["alice.home.eu.cloud"], nodes["hub.hub.cloud"]
    assert alice.dig("whoami.cloud").data == [alice.v4]
    assert alice.dig("whoami.cloud", at=hub.v4).data == [alice.v4]


def test_clusters_names_the_public_addresses_of_all(nodes: dict[str, Host]) -> None:
    wanted = sorted(str(host.v4) for host in nodes.values())
    everywhere(nodes.values(), "clusters.cloud", lambda host: host.dig("clusters.cloud").data == wanted)


def test_every_node_has_a_name_that_certifies_itself(nodes: dict[str, Host]) -> None:
    for host in nodes.values():
        raw = base64.urlsafe_b64decode(host.json("status")["node_id"] + "=")
        name = base64.b32encode(raw).decode().lower().rstrip("=") + ".id.cloud"
        everywhere(nodes.values(), name, lambda asker: asker.dig(name).data == [host.v4])


def test_the_world_gets_authoritative_answers_from_a_node_and_nothing_else(nodes: dict[str, Host]) -> None:
    hub, bob = nodes["hub.hub.cloud"], nodes["bob.office.us.cloud"]
    for transport in ("+notcp", "+tcp"):
        answer = bob.dig("hub.hub.cloud", at=hub.v4, options=("+norecurse", transport))
        assert (answer.status, answer.data) == ("NOERROR", [hub.v4])
        assert "aa" in answer.flags
        assert bob.dig("example.org", at=hub.v4, options=(transport,)).status == "REFUSED"
    assert bob.dig("cloud", "SOA", at=hub.v4).answers[0][1] == "SOA"


# -- the other world


def test_names_of_the_other_world_are_passed_on_octet_for_octet(nodes: dict[str, Host]) -> None:
    cases = [("example.org", 1), ("example.org", 16), ("www.example.org", 28), ("nothing.example.org", 1), ("example.org", 65280)]
    for host in nodes.values():
        for name, rtype in cases:
            asked = query(name, rtype)
            assert host.ask(asked, "127.0.0.1") == host.ask(asked, SERVER_V4), (host.name, name, rtype)
        assert len(host.dig("big.example.org", "TXT").data) == 20


def test_a_second_level_name_belongs_wholly_to_one_world(nodes: dict[str, Host]) -> None:
    for host in nodes.values():
        assert host.dig("www.public.cloud").data == ["192.0.2.82"]
        assert host.json("resolve", "www.public.cloud")["world"] == "public"
        assert host.dig("nothing.eu.cloud").status == "NXDOMAIN"
        assert host.json("resolve", "nothing.eu.cloud")["world"] == "overlay"


def test_resolvers_of_the_host_still_work(nodes: dict[str, Host]) -> None:
    assert nodes["alice.home.eu.cloud"].dig("example.org").data == [EXAMPLE_V4]


# -- what the commands say


def keys(value: Any) -> set[str]:
    assert isinstance(value, dict), value
    return set(value)


STATUS = {
    *("zone", "tld", "overlay_id", "name", "node_id", "cluster", "gateway", "standby", "gateway_name", "public_address"),
    *("owns_public_address", "nat", "revision", "incarnation", "pid", "peers", "clusters", "records", "uptime_s", "load", "listen"),
    "grants",
}


def test_status_says_who_and_where_this_node_is(nodes: dict[str, Host]) -> None:
    seen = set()
    for name, host in nodes.items():
        wait_until(lambda: host.json("status")["peers"] == 2, SOON, f"{name} has two peers")
        status = host.json("status")
        assert keys(status) >= STATUS
        assert (status["zone"], status["tld"], status["name"]) == (ZONE, "cloud", name)
        assert status["cluster"] == "/".join(reversed(name.split(".")[1:-1]))
        assert status["public_address"] in (host.v4, host.v6)
        assert status["owns_public_address"] is True
        assert (status["peers"], status["clusters"], status["incarnation"] >= 1) == (2, 3, True)
        assert (status["gateway"], status["gateway_name"]) == (True, name)
        assert status["pid"] in host.pids()
        assert status["records"] > 5
        assert status["uptime_s"] > 0
        assert status["nat"] in ("none", "unknown")
        assert set(status["listen"]) == {"overlay", "tls", "http", "dns", "stub"}
        assert status["listen"]["overlay"] == ["0.0.0.0:7653", "[::]:7653"]
        assert "127.0.0.1:53" in status["listen"]["stub"]
        assert f"{host.v4}:53" in status["listen"]["dns"]
        assert status["grants"]
        assert all(keys(grant) >= {"path", "rights", "expires"} for grant in status["grants"])
        seen.add(status["overlay_id"])
    assert len(seen) == 1


def test_peers_are_the_other_two(nodes: dict[str, Host]) -> None:
    for name, host in nodes.items():
        wait_until(lambda: len(host.json("peers")) == 2, SOON, f"{name} has two peers")
        peers = host.json("peers")
        assert {peer["name"] for peer in peers} == set(nodes) - {name}
        for peer in peers:
            assert keys(peer) >= {"name", "node_id", "cluster", "path", "address", "rtt_ms", "revision", "since_s"}
            assert peer["path"] in ("direct", "lan")


def test_clusters_are_listed_with_their_gateways(nodes: dict[str, Host]) -> None:
    for host in nodes.values():
        rows = {row["cluster"]: row for row in host.json("clusters")}
        assert set(rows) >= {"hub", "eu/home", "us/office"}
        home = rows["eu/home"]
        wanted = {"cluster", "public_addresses", "gateways", "nodes", "revision", "stable", "development", "load", "seen_s"}
        assert keys(home) >= wanted
        assert home["gateways"] == ["alice.home.eu.cloud"]
        assert nodes["alice.home.eu.cloud"].v4 in home["public_addresses"]


@pytest.mark.parametrize("spelling", ["www.home.eu", "www.home.eu.cloud", "www.home.eu.cloud.", "eu/home/www", f"www.home.eu.{ZONE}"])
def test_resolve_takes_a_name_in_every_spelling_and_says_why(nodes: dict[str, Host], spelling: str) -> None:
    told = nodes["bob.office.us.cloud"].json("resolve", spelling)
    assert keys(told) >= {"name", "type", "rcode", "world", "answers", "records", "chain", "reason"}
    assert (told["name"], told["type"], told["rcode"], told["world"]) == ("www.home.eu.cloud", "A", "NOERROR", "overlay")
    assert str(nodes["alice.home.eu.cloud"].v4) in str(told["answers"])
    assert told["records"]
    assert told["chain"]
    assert told["reason"]


def test_expand_tells_who_carries_a_name(nodes: dict[str, Host]) -> None:
    for host in nodes.values():
        rows = host.json("expand", "www.home.eu")
        assert len(rows) == 1
        assert keys(rows[0]) >= {"name", "node_id", "cluster", "addresses", "port", "healthy", "load", "distance_ms"}
        assert (rows[0]["name"], rows[0]["cluster"], rows[0]["port"], rows[0]["healthy"]) == ("alice.home.eu.cloud", "eu/home", 8000, True)


def test_ping_reaches_every_node_by_name_and_by_id(nodes: dict[str, Host]) -> None:
    for asker in nodes.values():
        for name, host in nodes.items():
            if host is not asker:
                told = asker.json("ping", name, "-c", "2")
                assert (told["name"], told["sent"], told["received"], len(told["rtt_ms"])) == (name, 2, 2, 2)
    alice, bob = nodes["alice.home.eu.cloud"], nodes["bob.office.us.cloud"]
    assert bob.json("ping", alice.json("status")["node_id"], "-c", "1")["name"] == "alice.home.eu.cloud"
    assert bob.overlay("ping", "nobody.home.eu").exits(1).err.count("\n") <= 2


def test_name_tree_and_lists_hold_what_was_said(nodes: dict[str, Host]) -> None:
    for host in nodes.values():
        tree = host.json("name", "tree")
        assert keys(tree) >= {"label", "name", "kinds", "children"}
        flat: dict[str, list[str]] = {}

        def walk(branch: dict[str, Any], flat: dict[str, list[str]]) -> None:
            flat[branch["name"]] = branch["kinds"]
            for child in branch["children"]:
                walk(child, flat)

        walk(tree, flat)
        assert set(flat) >= {*nodes, "www.home.eu.cloud", "motd.home.eu.cloud"}
        assert "├── " in host.overlay("name", "tree").ok().out
        assert [row["values"] for row in host.json("name", "list", "eu/home") if row["type"] == "TXT"] == [["hello from home"]]
        services = [(row["name"], row["port"], row["node"]) for row in host.json("service", "list")]
        assert services == [("www.home.eu.cloud", 8000, "alice.home.eu.cloud")]


def test_every_reading_command_also_speaks_to_people(nodes: dict[str, Host]) -> None:
    alice = nodes["alice.home.eu.cloud"]
    for command in ("status", "peers", "clusters", "resolve www.home.eu", "expand www.home.eu", "service list", "name list"):
        done = alice.overlay(*command.split()).ok()
        assert done.out.strip(), command
        assert "Traceback" not in done.err, (command, done.err)


def test_a_machine_without_a_node_says_so(story: Story) -> None:
    empty = story.net.hosts["dns"]
    for command in (["status"], ["peers"], ["resolve", "www.home.eu"], ["down"]):
        done = empty.overlay(*command).exits(3)
        assert done.out == ""
        assert 1 <= len(done.err.splitlines()) <= 2

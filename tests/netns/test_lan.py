"""LANs of real nodes without DNS: found by beacons, let in by presence, kept apart where they are two (DESIGN 3.6, 3.2; CONTRACT, `join lan`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.hosts import Done, Host, wait_until
from tests.netns.lans import Lans
from tests.netns.story import JOINED, SOON

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

MEMBER = {"member", "carry", "speak"}


@pytest.fixture
def lans() -> Iterator[Lans]:
    with Lans() as lans:
        yield lans


def founded(host: Host, zone: str, *args: str, config: str = "", up: bool = True) -> str:
    """An overlay on that host, its node up: the overlay's id."""
    host.home.mkdir(exist_ok=True)
    (host.home / "overlay.toml").write_text(config)
    host.overlay("init", zone, "--name", host.name, *args).ok()
    if up:
        host.overlay("up", "--detach").ok()
        return str(host.json("status")["overlay_id"])
    return ""


def join(host: Host, *args: str, timeout: float = 15) -> Done:
    return host.overlay("join", "lan", "--name", host.name, "--detach", "--timeout", f"{timeout:g}", *args, timeout=timeout + 30)


def joined(host: Host, *args: str) -> str:
    done = join(host, *args).ok()
    match = JOINED.match(done.out.strip())
    assert match is not None, done
    return match[1]


def rights(host: Host) -> dict[str, set[str]]:
    return {grant["path"]: set(grant["rights"]) for grant in host.json("status")["grants"]}


def peers(host: Host) -> set[str]:
    return {peer["name"] for peer in host.json("peers")}


def test_two_homes_on_the_same_private_range_are_two_clusters_each_found_without_dns(lans: Lans) -> None:
    for home in ("here", "there"):
        lans.lan(home)
    hubs = [lans.on(home, f"{home}-hub", "192.168.1.2/24") for home in ("here", "there")]
    alices = [lans.on(home, f"{home}-alice", "192.168.1.3/24") for home in ("here", "there")]
    bobs = [lans.on(home, f"{home}-bob", "192.168.1.4/24") for home in ("here", "there")]
    ids = [founded(hub, f"{hub.name}.example.org", "--admission", "open") for hub in hubs]
    for home, hub, alice, bob, overlay_id in zip(("here", "there"), hubs, alices, bobs, ids, strict=True):
        done = join(alice).ok()
        assert f"belongs to overlay {overlay_id} (cloud); first contact, pinned" in done.err
        assert JOINED.match(done.out.strip())
        assert joined(bob) == f"{home}-bob.{home}-hub.cloud"
        assert rights(alice) == {f"{home}-hub": MEMBER, f"{home}-hub/{home}-alice": {"own"}}
        assert (alice.json("status")["overlay_id"], bob.json("status")["cluster"]) == (overlay_id, f"{home}-hub")
        for one, others in ((hub, (alice, bob)), (alice, (hub, bob)), (bob, (hub, alice))):
            wanted = {f"{other.name}.{home}-hub.cloud" for other in others}
            wait_until(lambda one=one, wanted=wanted: peers(one) == wanted, SOON, f"{one.name} knows both")  # type: ignore[misc]
            assert one.dig(f"{others[0].name}.{home}-hub.cloud").data == [others[0].v4]


def test_presence_lets_into_an_invite_overlay_only_where_its_node_says_so(lans: Lans) -> None:
    lans.lan("home")
    hub, alice, bob = (lans.on("home", name, f"10.0.0.{n}/24") for n, name in enumerate(("hub", "alice", "bob"), 2))
    founded(hub, "cloud.example.org", config="[lan]\nadmit = false\n")
    refused = join(alice).exits(4)
    assert "by invite only" in refused.err
    hub.overlay("down").ok()
    (hub.home / "overlay.toml").write_text("[lan]\nadmit = true\n")
    hub.overlay("up", "--detach").ok()
    assert joined(bob) == "bob.hub.cloud"
    assert rights(bob) == {"hub": MEMBER, "hub/bob": {"own"}}
    lives = {grant["path"]: grant["expires"] for grant in bob.json("status")["grants"]}
    assert all(29.9 * 86_400 < expires - bob.json("status")["uptime_s"] - _now(bob) < 30.1 * 86_400 for expires in lives.values())


def _now(host: Host) -> float:
    return float(host.run("date", "+%s").out)


def test_of_two_overlays_on_one_lan_a_person_chooses_and_they_ignore_each_other(lans: Lans) -> None:
    lans.lan("home")
    one, two, alice, bob = (lans.on("home", name, f"10.0.0.{n}/24") for n, name in enumerate(("one", "two", "alice", "bob"), 2))
    first, second = founded(one, "one.example.org", "--admission", "open"), founded(two, "two.example.org", "--admission", "open")
    done = join(alice).exits(1)
    assert first in done.err and second in done.err and "--id" in done.err
    assert joined(alice, "--id", first) == "alice.one.cloud"
    assert joined(bob, "--id", second) == "bob.two.cloud"
    assert (peers(one), peers(two)) == ({"alice.one.cloud"}, {"bob.two.cloud"})
    assert (peers(alice), peers(bob)) == ({"one.one.cloud"}, {"two.two.cloud"})


def test_a_taken_name_gets_a_number_and_a_member_sends_newcomers_to_who_may_let_them_in(lans: Lans) -> None:
    lans.lan("home")
    hub, alice, other = (lans.on("home", name, f"10.0.0.{n}/24") for n, name in enumerate(("hub", "alice", "other"), 2))
    founded(hub, "cloud.example.org", "--admission", "open")
    joined(alice)
    lans.deafen(hub)  # it is asked by nobody who does not know it: the newcomer comes in by the member
    host = other.overlay("join", "lan", "--detach", "--timeout", "15", timeout=45).ok()
    again = JOINED.match(host.out.strip())
    assert again is not None and again[1].endswith(".hub.cloud")
    assert set(rights(other)) >= {"hub"} and rights(other)["hub"] == MEMBER
    taken = lans.on("home", "third", "10.0.0.9/24").overlay("join", "lan", "--detach", "--timeout", "15", timeout=45).ok()
    match = JOINED.match(taken.out.strip())
    assert match is not None and match[1] == again[1].replace(".hub.cloud", "-2.hub.cloud")


@pytest.mark.parametrize("deaf", ["the newcomer", "the node"])
def test_both_find_each_other_where_multicast_works_one_way_only(lans: Lans, deaf: str) -> None:
    lans.lan("home")
    hub, alice = lans.on("home", "hub", "10.0.0.2/24"), lans.on("home", "alice", "10.0.0.3/24")
    lans.deafen(alice if deaf == "the newcomer" else hub)
    founded(hub, "cloud.example.org", "--admission", "open")
    assert join(alice, timeout=60).ok().out.startswith("joined as alice.hub.cloud")


def test_a_lan_without_any_address_but_link_local_ones_is_enough(lans: Lans) -> None:
    lans.lan("home")
    hub, alice = lans.on("home", "hub"), lans.on("home", "alice")
    founded(hub, "cloud.example.org", "--admission", "open")
    assert joined(alice) == "alice.hub.cloud"
    assert [peer["address"].startswith("[fe80::") for peer in alice.json("peers")] == [True]


def test_neighbours_with_new_addresses_meet_also_where_an_interface_comes_late(lans: Lans) -> None:
    """What they remember of each other is no longer true. yggdrasil-go#405: discovery was off for good where the interface came after the program."""
    lans.lan("home")
    hub, alice = lans.on("home", "hub", "10.0.0.2/24", v6=False), lans.on("home", "alice", "10.0.0.3/24", v6=False)
    founded(hub, "cloud.example.org", "--admission", "open")
    joined(alice)
    for host in (hub, alice):
        host.overlay("down").ok()
        host.run("ip", "addr", "flush", "dev", "eth0").ok()
    alice.run("ip", "link", "set", "eth0", "down").ok()
    hub.run("ip", "addr", "add", "10.0.0.77/24", "dev", "eth0").ok()
    hub.overlay("up", "--detach").ok()
    alice.overlay("up", "--detach").ok()
    alice.run("ip", "link", "set", "eth0", "up").ok()
    alice.run("ip", "addr", "add", "10.0.0.78/24", "dev", "eth0").ok()
    wait_until(lambda: peers(alice) == {"hub.hub.cloud"}, SOON, "alice has found the hub at its new address")


def test_no_lan_neither_speaks_nor_counts_anybody_as_near(lans: Lans) -> None:
    lans.lan("home")
    hub, alice = lans.on("home", "hub", "10.0.0.2/24"), lans.on("home", "alice", "10.0.0.3/24")
    founded(hub, "cloud.example.org", "--admission", "open", config="[lan]\ndiscovery = false\n")
    assert join(alice, "--no-lan").exits(2).err.startswith("overlay: neighbours on the LAN are not looked for")
    assert "no node of an overlay answers on this LAN" in join(alice, timeout=3).exits(5).err
    done = alice.overlay("join", "10.0.0.2", "--name", "alice", "--detach", timeout=60).ok()
    assert done.out.startswith("joined as alice.alice.cloud")


def test_an_ordinary_join_goes_by_a_neighbour_too_into_its_cluster(lans: Lans) -> None:
    """The DNS is dead, the token's ways are dead, the neighbour is there."""
    lans.lan("home")
    hub, alice, bob = (lans.on("home", name, f"10.0.0.{n}/24") for n, name in enumerate(("hub", "alice", "bob"), 2))
    overlay_id = founded(hub, "cloud.example.org")
    token = hub.overlay("invite", "hub").ok().out.strip()
    hub.run("ip", "addr", "add", "10.0.0.50/24", "dev", "eth0").ok()
    hub.run("ip", "addr", "del", "10.0.0.2/24", "dev", "eth0").ok()
    done = alice.overlay("join", "--invite", token, "--name", "alice", "--detach", "--timeout", "20", timeout=60).ok()
    assert done.out.startswith("joined as alice.hub.cloud")
    assert alice.json("status")["overlay_id"] == overlay_id
    second = hub.overlay("invite", "eu/home").ok().out.strip()
    done = bob.overlay("join", "cloud.example.org", "--invite", second, "--name", "bob", "--detach", "--timeout", "20", timeout=60).ok()
    assert done.out.startswith("joined as bob.home.eu.cloud"), "the token's cluster counts before the neighbour's"

"""What happens to an overlay on real hosts: its founder dies, nodes crash, strangers knock, ways are closed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.netns.hosts import Done, Host, Net, wait_until
from tests.netns.publicdns import kept_block
from tests.netns.story import SOON, ZONE, address_of, everywhere, founded, join, joined

pytestmark = [pytest.mark.netns, pytest.mark.timeout(150)]


@pytest.fixture
def net() -> Iterator[Net]:
    with Net() as net:
        yield net


SAME = ("name", "node_id", "cluster", "overlay_id")  # what a node keeps over any restart


def txt(host: Host, name: str) -> list[str]:
    return host.dig(name, "TXT").data


def refused(done: Done) -> None:
    """Trust refused: exit 4, nothing on stdout, two lines and no traceback on stderr's end."""
    done.exits(4)
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err.strip()


def test_without_its_founder_names_resolve_changes_spread_and_nodes_restart(net: Net) -> None:
    story = founded(net)
    alice, bob = net.host("alice"), net.host("bob")
    joined(alice, "--cluster", "eu/home")
    joined(bob, "--cluster", "us/office")
    everywhere([alice, bob], "both know both", lambda host: host.dig("alice.home.eu.cloud").data and host.dig("bob.office.us.cloud").data)

    story.founder.switch_off()
    net.dns.withdraw(ZONE)

    assert alice.dig("bob.office.us.cloud").data == [bob.v4]
    assert bob.dig("alice.home.eu.cloud").data == [alice.v4]
    alice.overlay("name", "set", "motd.home.eu", "TXT", "the founder is gone").ok()
    bob.overlay("service", "add", "shop.office.us", "--port", "8080").ok()
    everywhere([alice, bob], "a change made after the death", lambda host: txt(host, "motd.home.eu.cloud") == ['"the founder is gone"'])
    everywhere([alice, bob], "a service added after the death", lambda host: host.dig("shop.office.us.cloud").data == [bob.v4])
    assert alice.dig("example.org").data == ["192.0.2.80"]

    # Started again with founder and domain gone: remembered peers are enough.
    bob.overlay("down").ok()
    wait_until(lambda: not bob.pids(), SOON, "bob has stopped")
    bob.overlay("up", "--detach").ok()
    wait_until(lambda: len(bob.json("peers")) >= 1, 20, "bob has found alice again")
    alice.overlay("name", "set", "motd.home.eu", "TXT", "and we go on").ok()
    everywhere([alice, bob], "a change after the restart", lambda host: txt(host, "motd.home.eu.cloud") == ['"and we go on"'])


def test_two_hosts_with_nothing_but_ipv6(net: Net) -> None:
    story = founded(net, v4=False)
    six = net.host("six", v4=False)
    assert joined(six, "--cluster", "eu/home") == "six.home.eu.cloud"
    six.overlay("name", "set", "motd.home.eu", "TXT", "all in six").ok()
    for host in (six, story.founder):
        wait_until(lambda: host.dig("six.home.eu.cloud", "AAAA").data == [six.v6], SOON, "the AAAA of six")
        wait_until(lambda: txt(host, "motd.home.eu.cloud") == ['"all in six"'], SOON, "the TXT of six")
        answer = host.dig("six.home.eu.cloud", "A")
        assert (answer.status, answer.data) == ("NOERROR", [])
    assert six.json("peers")[0]["address"].startswith(("[2001:db8:113::10]", "[fe80:"))  # they share a link, and found each other there as well
    assert six.json("status")["public_address"] == six.v6


def test_who_has_no_grant_does_not_get_in(net: Net) -> None:
    story = founded(net, admission="invite")
    alice, eve = net.host("alice"), net.host("eve")
    before = story.founder.json("grants")

    bare = join(eve)
    refused(bare)
    assert "admit" in bare.err or "invite" in bare.err

    token = story.founder.overlay("invite", "eu/home").ok().out.strip()
    for place in (len(token) // 4, len(token) // 2, len(token) - 2):
        altered = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        refused(join(eve, "--invite", altered, where=None))

    assert story.founder.json("grants") == before
    assert joined(alice, "--invite", token, where=None) == "alice.home.eu.cloud"
    refused(join(eve, "--invite", token, where=None))

    brief = story.founder.overlay("invite", "eu/home", "--expires", "1s").ok().out.strip()
    eve.run("sleep", "1.5").ok()
    refused(join(eve, "--invite", brief, where=None))

    assert story.founder.dig("eve.home.eu.cloud").status == "NXDOMAIN"
    assert [peer["name"] for peer in story.founder.json("peers")] == ["alice.home.eu.cloud"]
    assert "eve" not in str(alice.json("name", "tree"))


def test_a_token_for_two_lets_exactly_two_in(net: Net) -> None:
    story = founded(net, admission="invite")
    token = story.founder.overlay("invite", "eu/home", "--uses", "2").ok().out.strip()
    assert joined(net.host("alice"), "--invite", token, where=None) == "alice.home.eu.cloud"
    assert joined(net.host("bob"), "--invite", token, where=None) == "bob.home.eu.cloud"
    refused(join(net.host("eve"), "--invite", token, where=None))


def test_a_node_killed_at_once_comes_back_as_the_same_with_its_records(net: Net) -> None:
    story = founded(net)
    alice = net.host("alice")
    joined(alice, "--cluster", "eu/home")
    alice.overlay("name", "set", "motd.home.eu", "TXT", "kept").ok()
    alice.overlay("service", "add", "www.home.eu", "--port", "8000").ok()
    before = alice.json("status")

    alice.kill()
    alice.overlay("status").exits(3)
    alice.overlay("up", "--detach").ok()

    after = alice.json("status")
    assert {key: after[key] for key in SAME} == {key: before[key] for key in SAME}
    assert after["incarnation"] == before["incarnation"] + 1
    both = (alice, story.founder)
    everywhere(both, "its TXT", lambda host: txt(host, "motd.home.eu.cloud") == ['"kept"'])
    everywhere(both, "its service", lambda host: host.dig("www.home.eu.cloud").data == [alice.v4])
    wait_until(lambda: len(alice.json("peers")) == 1 and len(story.founder.json("peers")) == 1, 20, "one session, not two")
    story.founder.overlay("name", "set", "note.hub", "TXT", "after the crash").ok()
    everywhere(both, "a change after it", lambda host: txt(host, "note.hub.cloud") == ['"after the crash"'])


def test_a_home_runs_one_node_and_down_stops_it(net: Net) -> None:
    story = founded(net)
    hub = story.founder
    second = hub.overlay("up", "--detach").exits(1)
    assert len(second.err.strip().splitlines()) <= 3
    hub.overlay("down").ok()
    wait_until(lambda: not hub.pids(), SOON, "nothing runs")
    hub.overlay("status").exits(3)
    hub.overlay("up", "--detach").ok()
    assert hub.json("status")["incarnation"] == 2


def test_a_taken_name_is_refused_and_the_next_free_one_told(net: Net) -> None:
    founded(net)
    alice, other = net.host("alice"), net.host("other")
    joined(alice, "--cluster", "eu/home")
    done = join(other, "--cluster", "eu/home", name="alice")
    refused(done)
    assert "alice-2" in done.err
    assert joined(other, "--cluster", "eu/home", name="alice-2") == "alice-2.home.eu.cloud"


def test_join_needs_no_dns(net: Net) -> None:
    story = founded(net, publish=False)
    assert joined(net.host("alice"), "--cluster", "eu/home", where=address_of(story.founder)) == "alice.home.eu.cloud"
    assert joined(net.host("bob"), "--cluster", "us/office", where=f"{story.founder.v4}:7653") == "bob.office.us.cloud"


def test_a_domain_with_nothing_but_an_address_is_enough(net: Net) -> None:
    story = founded(net, publish=False)
    net.dns.serve(ZONE, [f"{ZONE}. 300 IN A {story.founder.v4}"])
    assert joined(net.host("alice"), "--cluster", "eu/home") == "alice.home.eu.cloud"


def test_where_udp_is_blocked_tcp_carries_the_session(net: Net) -> None:
    if shutil.which("nft") is None:
        pytest.skip("nft is not installed: nothing here can block UDP")
    founded(net)
    alice = net.host("alice")
    chain = "add table inet shut; add chain inet shut out { type filter hook output priority 0; }"
    alice.run("nft", f"{chain}; add rule inet shut out udp dport 7653 drop").ok()
    assert joined(alice, "--cluster", "eu/home") == "alice.home.eu.cloud"
    assert [peer["path"] for peer in alice.json("peers")] == ["tcp"]


def test_a_domain_that_comes_to_name_another_overlay_is_refused(net: Net) -> None:
    founded(net)
    alice, other = net.host("alice"), net.host("other", number=66)
    joined(alice, "--cluster", "eu/home")
    init = other.overlay("init", ZONE, "--name", "hub", "--admission", "open", "--address", address_of(other)).ok()
    other.overlay("up", "--detach").ok()
    net.dns.serve(ZONE, kept_block(init.out))
    alice.overlay("down").ok()
    wait_until(lambda: not alice.pids(), SOON, "alice has stopped")
    refused(join(alice))
    alice.overlay("up", "--detach").ok()
    assert alice.json("status")["name"] == "alice.home.eu.cloud"


def test_who_starts_without_a_network_gets_in_when_it_is_there(net: Net) -> None:
    story = founded(net)
    alice = net.host("alice")
    joined(alice, "--cluster", "eu/home")
    alice.switch_off()
    alice.overlay("up", "--detach").ok()
    assert alice.dig("alice.home.eu.cloud").status != "NO-ANSWER"
    alice.net.plug_in(alice)
    wait_until(lambda: len(alice.json("peers")) == 1, 30, "alice has found the founder")
    alice.overlay("name", "set", "motd.home.eu", "TXT", "back").ok()
    everywhere((alice, story.founder), "its change", lambda host: txt(host, "motd.home.eu.cloud") == ['"back"'])


def test_a_name_that_exists_publicly_is_claimed_with_shadow_only(net: Net) -> None:
    """`public.cloud` belongs to the other world."""
    story = founded(net)
    founder, alice = story.founder, net.host("alice")
    refused(founder.overlay("name", "set", "motd.public", "TXT", "mine"))
    refused(founder.overlay("service", "add", "public", "--port", "80"))
    refused(join(alice, "--cluster", "public/site"))
    assert founder.dig("public.cloud").data == ["192.0.2.81"], "the public name is as it was"
    founder.overlay("name", "set", "motd.private", "TXT", "ours").ok()
    founder.overlay("name", "set", "motd.public", "TXT", "mine", "--shadow").ok()
    everywhere((founder,), "the claim", lambda host: txt(host, "motd.public.cloud") == ['"mine"'])
    assert joined(alice, "--cluster", "public/site", "--shadow") == "alice.site.public.cloud"

"""What each way of joining gives, and what it refuses (DESIGN 3.2, 3.3), end to end between real nodes."""

from __future__ import annotations

import pytest

from overlay.errors import TrustError
from overlay.identity.keys import Signer
from overlay.lab.world import Host, World, name_of, refusal_of
from overlay.name import parse_path
from overlay.raised import AdmissionAsked
from overlay.records import rights
from tests.lab.scenes import enter, invite, node, say, text


def held(world: World, host: Host, path: str) -> set[str]:
    """The rights that the host's node holds on exactly that path."""
    grants = node(host).book.grants_of(host.identity.node_id, world.at(host))
    return {right for grant in grants if grant.name == parse_path(path) for right in grant.body[1]}


def refused(world: World, name: str, **how: object) -> TrustError:
    """A newcomer that is refused within 10 seconds: the words it gets."""
    host = world.join(name, **how)  # type: ignore[arg-type]
    assert world.run_until(lambda: refusal_of(host) is not None, 10) is not None, f"{name} was not refused"
    refusal = refusal_of(host)
    assert refusal is not None and isinstance(refusal.error, TrustError) and len(refusal.error.lines()) == 2
    assert not world.joined(host)
    return refusal.error


def open_world(seed: int = 1) -> tuple[World, Host]:
    world = World(seed)
    founder = world.found("hq/founder")
    world.run(1)
    return world, founder


def invite_world() -> tuple[World, Host]:
    world = World(2)
    founder = world.found("hq/founder", admission="invite")
    world.run(1)
    return world, founder


# -- open admission


def test_the_first_of_a_path_owns_it() -> None:
    world, _ = open_world()
    (alice,) = enter(world, "eu/home/alice", limit=2)
    assert name_of(alice) == parse_path("eu/home/alice")
    assert held(world, alice, "eu/home") == {rights.OWN, rights.GRANT, rights.SIGN, rights.SPEAK, rights.ATTEST}
    assert held(world, alice, "eu/home/alice") == {rights.OWN}


def test_who_joins_a_taken_path_openly_gets_its_own_name_and_by_the_gateways_signature() -> None:
    world, _ = open_world()
    alice, bob = enter(world, "eu/home/alice", "eu/home/bob")
    assert held(world, bob, "eu/home") == set()
    assert held(world, bob, "eu/home/bob") == {rights.OWN}
    (grant,) = node(bob).book.grants_of(bob.identity.node_id, world.at(bob))
    assert grant.signer == alice.identity.node_id
    say(world, bob, "eu/home/bob/motd", "mine")
    with pytest.raises(TrustError):
        say(world, bob, "eu/home/other", "not mine")
    world.run(1)
    assert text(alice, "eu/home/bob/motd") == ("mine",)


def test_two_who_come_at_the_same_moment_to_a_new_path_both_get_in_and_one_owns_it() -> None:
    world, _ = open_world()
    hosts = [world.join("eu/home/alice"), world.join("eu/home/bob")]
    assert world.run_until(lambda: all(map(world.joined, hosts)), 20) is not None
    assert sorted(len(held(world, host, "eu/home")) for host in hosts) == [0, 5]


def test_into_a_taken_path_nobody_comes_while_its_gateway_is_away_and_in_when_it_is_back() -> None:
    world, _ = open_world()
    (alice,) = enter(world, "eu/home/alice")
    world.stop(alice)
    host = world.join("eu/home/bob")
    world.run(45)
    assert not world.joined(host) and refusal_of(host) is None
    world.start(alice)
    assert world.run_until(lambda: world.joined(host), 30) is not None
    assert held(world, host, "eu/home/bob") == {rights.OWN}


def test_a_name_that_is_taken_is_refused_with_the_next_free_one() -> None:
    world, _ = open_world()
    enter(world, "eu/home/alice")
    error = refused(world, "eu/home/alice")
    assert "taken" in error.what and "alice-2" in error.todo


def test_a_name_that_nobody_insists_on_gets_a_number() -> None:
    world, _ = open_world()
    enter(world, "eu/home/alice", "eu/home/alice-2")
    other = world.join("eu/home/alice", exact=False, host=world.host("other"))
    assert world.run_until(lambda: world.joined(other), 10) is not None
    assert name_of(other) == parse_path("eu/home/alice-3")


def test_nobody_becomes_owner_above_what_others_own() -> None:
    world, _ = open_world()
    enter(world, "eu/home/alice")
    assert "eu" in refused(world, "eu/bob").what


@pytest.mark.parametrize("name", ["clusters/x", "id/x", "ns1/x", "download/x"])
def test_reserved_paths_are_given_to_nobody(name: str) -> None:
    world, _ = open_world()
    refused(world, name)


@pytest.mark.parametrize("asked", range(4))
def test_whichever_member_a_newcomer_asks_first_it_is_sent_to_one_that_may_give_a_new_path(asked: int) -> None:
    world = World(20 + asked)
    world.found("hq/founder")
    world.run(1)
    members = enter(world, "a/n1", "b/n2", "c/n3", "d/n4")
    late = world.join("new/place", through=members[asked])
    assert world.run_until(lambda: world.joined(late), 20) is not None, refusal_of(late)


def test_with_the_founder_away_nobody_takes_a_free_path_and_who_waits_for_it_is_in_when_it_is_back() -> None:
    world, founder = open_world()
    (alice,) = enter(world, "eu/home/alice")
    world.crash(founder)
    host = world.join("us/office/carol", through=alice)
    world.run(45)
    assert not world.joined(host) and refusal_of(host) is None
    world.start(founder)
    assert world.run_until(lambda: world.joined(host), 30) is not None


def test_where_nobody_who_may_give_a_free_path_is_known_a_newcomer_is_told_so() -> None:
    world, founder = open_world()
    (alice,) = enter(world, "eu/home/alice")
    world.stop(founder)
    world.run(7_500)  # its records have ended
    error = refused(world, "us/office/carol", through=alice)
    assert error.what == "nobody who may let newcomers in below office.us can be asked now"
    assert error.todo


def test_with_the_founder_dead_a_gateway_still_lets_newcomers_into_its_path() -> None:
    world, founder = open_world()
    (alice,) = enter(world, "eu/home/alice")
    world.crash(founder)
    bob = world.join("eu/home/bob", through=alice)
    assert world.run_until(lambda: world.joined(bob), 20) is not None
    assert held(world, bob, "eu/home/bob") == {rights.OWN}


def test_a_newcomer_that_lost_the_answer_asks_again_and_gets_the_same_name() -> None:
    world, founder = open_world()
    host = world.join("eu/home/alice", exact=False)
    world.run_until(lambda: any(g.item == host.identity.node_id for g in node(founder).book.grants.values()), 5, 0.001)
    world.crash(host)  # granted there, unknown here
    host.disk.clear()
    world.run(1)
    world.join("eu/home/alice", exact=False, host=host)
    assert world.run_until(lambda: world.joined(host), 10) is not None
    assert name_of(host) == parse_path("eu/home/alice")
    names = [g for g in node(founder).book.grants.values() if g.item == host.identity.node_id and g.body[1] == [rights.OWN]]
    assert len(names) == 1


# -- invites


def test_an_invite_overlay_takes_nobody_without_a_token() -> None:
    world, founder = invite_world()
    alice = world.join("eu/home/alice")
    world.run(60)
    asked = [event for event in alice.events if isinstance(event, AdmissionAsked)]
    assert [event.where for event in asked] == [node(founder).name], "it is told once where a person has to say yes"
    assert not world.joined(alice) and not node(founder).book.grants_of(alice.identity.node_id, world.at(founder))


def test_an_invited_member_may_create_names_carry_and_speak() -> None:
    world, founder = invite_world()
    alice = world.join("hq/alice", seed=invite(world, founder, "hq"))
    assert world.run_until(lambda: world.joined(alice), 5) is not None
    assert held(world, alice, "hq") == {rights.MEMBER, rights.CARRY, rights.SPEAK}
    say(world, alice, "hq/wiki", "claimed")
    world.run(1)
    assert text(founder, "hq/wiki") == ("claimed",)


def test_an_invite_into_a_path_that_nobody_holds_makes_its_owner() -> None:
    world, founder = invite_world()
    alice = world.join("eu/home/alice", seed=invite(world, founder, None))
    assert world.run_until(lambda: world.joined(alice), 5) is not None
    assert {rights.OWN, rights.GRANT, rights.SIGN, rights.MEMBER} <= held(world, alice, "eu/home")


def test_a_token_for_one_is_spent_by_one() -> None:
    world, founder = invite_world()
    seed = invite(world, founder, None)
    alice = world.join("hq/alice", seed=seed)
    assert world.run_until(lambda: world.joined(alice), 5) is not None
    assert "spent" in refused(world, "hq/bob", seed=seed).what


def test_a_token_for_two_lets_two_in_who_come_at_once_and_no_third() -> None:
    world, founder = invite_world()
    seed = invite(world, founder, None, uses=2)
    hosts = [world.join(f"hq/n{number}", seed=seed) for number in range(3)]
    world.run(10)
    assert sum(map(world.joined, hosts)) == 2
    assert sum(refusal_of(host) is not None for host in hosts) == 1


def test_a_token_past_its_date_is_refused() -> None:
    world, founder = invite_world()
    seed = invite(world, founder, None, life=60)
    world.run(61)
    assert "expired" in refused(world, "hq/alice", seed=seed).what


def test_a_token_with_another_seed_opens_nothing() -> None:
    world, founder = invite_world()
    invite(world, founder, None)
    refused(world, "hq/alice", seed=Signer.from_seed(bytes(32)))


def test_a_token_lets_nobody_out_of_its_path() -> None:
    world, founder = invite_world()
    seed = invite(world, founder, "hq")
    assert "hq" in refused(world, "eu/home/alice", seed=seed).what


def test_a_spent_token_asked_again_by_who_spent_it_gives_the_same_name() -> None:
    world, founder = invite_world()
    seed = invite(world, founder, None)
    host = world.join("hq/alice", seed=seed)
    assert world.run_until(lambda: world.joined(host), 5) is not None
    world.crash(host)
    host.disk.clear()
    host.events.clear()
    world.join("hq/alice", seed=seed, host=host)
    assert world.run_until(lambda: world.joined(host), 10) is not None
    assert name_of(host) == parse_path("hq/alice")


# -- ways


def test_where_udp_is_blocked_a_newcomer_comes_in_over_tcp() -> None:
    world, _ = open_world()
    host = world.host("eu/home/alice")
    world.network.udp_blocked.add(host.address)
    world.join("eu/home/alice", host=host)
    assert world.run_until(lambda: world.joined(host), 10) is not None
    assert {peer.way.proto for peer in node(host).peers.admitted()} == {"tcp"}
    (bob,) = enter(world, "us/office/bob")
    say(world, bob, "us/office/bob/motd", "over tcp")
    assert world.run_until(lambda: text(host, "us/office/bob/motd") == ("over tcp",), 5) is not None

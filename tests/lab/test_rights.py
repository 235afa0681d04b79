"""Rights over time, between real nodes: renewed in band, lapsing without a cliff, revoked in every session (DESIGN 3.2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from overlay import acts, limits
from overlay.errors import Absent, TrustError
from overlay.lab.world import Host, World, name_of
from overlay.name import ROOT, parse_path
from overlay.raised import AdmissionAsked
from overlay.records import rights
from overlay.records.record import Record
from overlay.units import DAY
from tests.lab.scenes import invite, node, say, text


def days_pass(world: World, days: float, *, step: float = 1.0) -> None:
    """All clocks go on by so many days; in between the nodes live for a little more than a minute each time."""
    for _ in range(round(days / step)):
        for host in world.hosts.values():
            host.clock_offset += step * DAY
        world.run(70)


def lasts(world: World, host: Host) -> float:
    """For how many days the host's own name is still good, by its passport."""
    own = node(host).peers.own
    assert own is not None
    return (own.chain[0].expires - world.at(host)) / DAY


def home(seed: int = 3) -> tuple[World, Host, list[Host]]:
    """An invite overlay: the founder, and three machines invited into its cluster for 30 days."""
    world = World(seed)
    founder = world.found("hq/founder", admission="invite")
    world.run(1)
    token = invite(world, founder, "hq", uses=3)
    invited = [world.join(f"hq/{name}", seed=token) for name in ("alice", "bob", "carol")]
    assert world.run_until(lambda: all(map(world.joined, invited)), 20) is not None
    return world, founder, invited


def act(world: World, host: Host, what: Callable[[], object]) -> None:
    world.do(host, lambda _node, _at: what())
    world.run(1)


def test_invited_nodes_are_renewed_while_they_live() -> None:
    world, _, invited = home()
    before = [node(host).peers.own for host in invited]
    days_pass(world, 26)
    assert all(lasts(world, host) > 14 for host in invited), [lasts(world, host) for host in invited]
    for host, old in zip(invited, before, strict=True):
        own = node(host).peers.own
        assert own is not None and old is not None and own.digest != old.digest and own.name == old.name
    assert all(len(node(host).peers.admitted()) == 3 for host in invited), "no session was lost over it"


def test_with_the_founder_gone_for_forty_days_the_others_renew_each_other() -> None:
    world, founder, invited = home()
    say(world, invited[0], "hq/alice", "hello")
    world.crash(founder)
    days_pass(world, 40)
    assert all(lasts(world, host) > 5 for host in invited), [lasts(world, host) for host in invited]
    assert text(invited[2], "hq/alice") == ("hello",), "what they said before is still served"
    say(world, invited[1], "hq/bob", "still here")
    world.run(2)
    assert text(invited[2], "hq/bob") == ("still here",)
    world.start(founder)
    world.run(60)
    assert text(founder, "hq/bob") == ("still here",), "and the founder believes it when it comes back"
    assert len(node(founder).peers.admitted()) == 3


def test_a_node_that_was_away_past_its_date_comes_back_is_renewed_and_kept_its_name() -> None:
    world, founder, (alice, *_) = home()
    world.crash(alice)
    days_pass(world, 45)
    world.start(alice)
    assert world.run_until(lambda: len(node(alice).peers.admitted()) >= 1, 30) is not None, "a lapsed grant still connects"
    assert world.run_until(lambda: lasts(world, alice) > 20, 300, 5.0) is not None, "and is renewed"
    say(world, alice, "hq/alice", "back")
    world.run(2)
    assert text(founder, "hq/alice") == ("back",)


def test_a_node_that_was_away_for_longer_has_lost_its_name_and_is_told_so() -> None:
    world, _, (alice, *_) = home()
    world.crash(alice)
    days_pass(world, 62, step=2)
    with pytest.raises(TrustError) as told:
        world.start(alice)
    assert told.value.rule == "R13"


def test_what_a_person_dated_ends_on_its_day() -> None:
    world, founder, (alice, bob, _) = home()
    given = acts.Given(path=parse_path("hq"), subject=alice.identity.node_id, rights=frozenset({rights.SIGN}), life=10 * DAY, final=True)
    act(world, founder, lambda: acts.grant(node(founder), given, world.at(founder)))
    days_pass(world, 12)
    held = [g for g in node(bob).book.grants_of(alice.identity.node_id, world.at(bob)) if rights.SIGN in g.body[1]]
    assert held == []


def name_grant(host: Host, of: Host) -> Record:
    """The newest grant of that host's name, as another knows it."""
    name = name_of(of)
    assert name is not None
    return max((g for g in node(host).book.grants_on(name) if g.item == of.identity.node_id), key=lambda g: g.expires)


def test_a_revoked_node_is_out_of_every_session_within_seconds_and_does_not_come_back() -> None:
    world, founder, (alice, bob, carol) = home()
    days_pass(world, 22)  # its name has been renewed: all of it must end
    act(world, founder, lambda: acts.revoke(node(founder), name_grant(founder, alice).digest, world.at(founder)))
    world.run(1)
    for host in (founder, bob, carol):
        assert node(host).peers.by_node(alice.identity.node_id) is None
    days_pass(world, 10)
    for host in (founder, bob, carol):
        assert node(host).peers.by_node(alice.identity.node_id) is None
        assert node(host).book.grants_on(parse_path("hq/alice"), world.at(host)) == [], "nobody renews what was revoked"
    assert alice.logs["own-name-revoked"] >= 1
    world.crash(alice)
    with pytest.raises(TrustError) as told:
        world.start(alice)
    assert told.value.rule == "R12"


def test_who_stands_beside_a_grant_does_not_revoke_it() -> None:
    world, _, (alice, bob, _) = home()
    with pytest.raises(TrustError):
        acts.revoke(node(alice), name_grant(alice, bob).digest, world.at(alice))
    with pytest.raises(Absent):
        acts.revoke(node(alice), bytes(32), world.at(alice))


def test_a_second_registrar_lets_others_in_when_the_founder_is_dead() -> None:
    world, founder, (alice, *_) = home()
    given = acts.Given(path=ROOT, subject=alice.identity.node_id, rights=rights.FOUNDER, life=rights.NAME_LIFE)
    act(world, founder, lambda: acts.grant(node(founder), given, world.at(founder)))
    world.crash(founder)
    world.run(5)
    dave = world.join("us/office/dave", seed=invite(world, alice, "us"), through=alice)
    assert world.run_until(lambda: world.joined(dave), 20) is not None


def test_a_newcomer_without_a_token_comes_in_by_a_persons_yes() -> None:
    world, founder, _ = home()
    dave = world.join("eu/home/dave")
    assert world.run_until(lambda: any(isinstance(event, AdmissionAsked) for event in dave.events), 10) is not None
    asked = next(event for event in dave.events if isinstance(event, AdmissionAsked))
    assert asked.where == parse_path("hq/founder")
    registrar = node(founder).registrar
    assert registrar is not None
    assert [one.code for one in registrar.room.listed(world.at(founder))] == [asked.code], "both sides show the same"
    act(world, founder, lambda: acts.admit(node(founder), asked.code, world.at(founder)))
    assert world.run_until(lambda: world.joined(dave), 10) is not None
    assert name_of(dave) == parse_path("eu/home/dave")
    with pytest.raises(Absent):
        acts.admit(node(founder), asked.code, world.at(founder))


def test_who_gave_up_waiting_is_not_admitted() -> None:
    world, founder, _ = home()
    dave = world.join("eu/home/dave")
    assert world.run_until(lambda: any(isinstance(event, AdmissionAsked) for event in dave.events), 10) is not None
    world.stop(dave)
    world.run(1)
    registrar = node(founder).registrar
    assert registrar is not None and registrar.room.listed(world.at(founder)) == []


def test_lapse_has_no_cliff() -> None:
    """A node that nobody can renew: its old names are served for 30 days after its date, and it makes nothing new."""
    world, founder, (alice, bob, carol) = home()
    say(world, alice, "hq/alice", "old")
    world.run(10)  # members of a cluster meet one after the other
    for host in (founder, bob, carol):
        world.crash(host)
    days_pass(world, 31)
    assert lasts(world, alice) < 0
    with pytest.raises(TrustError):
        acts.set_data(node(alice), parse_path("hq/alice/new"), "TXT", ("x",), 30, world.at(alice))
    world.start(bob)
    assert world.run_until(lambda: node(bob).peers.by_node(alice.identity.node_id) is not None, 60) is not None


def test_who_was_renewed_by_a_neighbour_that_is_then_revoked_stays() -> None:
    """All that the neighbour said again ends with its right; what was given before it stands."""
    world, founder, (alice, bob, carol) = home()
    for host in (founder, carol):
        world.crash(host)
    days_pass(world, 40)
    own = node(alice).peers.own
    assert own is not None and own.chain[0].signer == bob.identity.node_id, "renewed by who was left"
    for host in (founder, carol):
        world.start(host)
    world.run(20)
    theirs = [g.digest for g in node(founder).book.grants_of(bob.identity.node_id, world.at(founder) - limits.LAPSED)]
    for digest in theirs:
        act(world, founder, lambda digest=digest: acts.revoke(node(founder), digest, world.at(founder)))  # type: ignore[misc]
    assert world.run_until(lambda: world.joined(alice) and len(node(alice).peers.admitted()) >= 2, 60) is not None
    assert bob.identity.node_id not in {p.passport.node_id for p in node(founder).peers.admitted() if p.passport is not None}
    assert world.run_until(lambda: lasts(world, alice) > 20, 300, 5.0) is not None, "and is renewed by others"
    say(world, alice, "hq/alice", "still here")
    world.run(2)
    assert text(founder, "hq/alice") == ("still here",)
    world.crash(alice)
    world.start(alice)
    assert world.run_until(lambda: len(node(alice).peers.admitted()) >= 2, 60) is not None

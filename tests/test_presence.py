"""Presence: proved addresses, what is due when, who builds a head, whom to dial (DESIGN 3.5, 3.7, 3.8)."""

from __future__ import annotations

from overlay.cluster.outputs import Role
from overlay.directory.machine import Directory
from overlay.name import ROOT
from overlay.presence import COUNT_PAUSE, HEAD_EVERY, HEAD_TURN, REDIAL, Presence
from overlay.records import rights
from overlay.records.record import Record
from overlay.records.rights import Joining
from overlay.statements import Statements
from overlay.units import HOUR
from overlay.wire.address import Address
from tests.directory.books import HOME, book_of, directory_of
from tests.records.actors import AT, Actor, Overlay, found

MINE = "203.0.113.77"


def presence_of(
    overlay: Overlay, who: Actor, *more: Record, advertised: tuple[str, ...] = (), interfaces: tuple[str, ...] = (MINE,),
) -> tuple[Presence, Directory]:
    """That actor's presence, with everything that was granted so far in its book."""
    book = book_of(overlay, *more)
    directory = directory_of(book, who)
    assert who.name is not None
    statements = Statements(identity=who.identity, overlay_id=overlay.overlay_id, book=book)
    presence = Presence(
        name=who.name, statements=statements, directory=directory, port=7653, advertised=frozenset(advertised), interfaces=frozenset(interfaces),
    )
    return presence, directory


def say(presence: Presence, directory: Directory, now: float, load: int = 0) -> list[str]:
    """The kinds of what is due then; it is published, as the node does."""
    records = presence.due(now, AT + now, load)
    for record in records:
        directory.publish(record, AT + now)
    directory.take()
    return [record.kind for record in records]


# -- addresses


def test_an_own_address_counts_once_a_peer_has_seen_it_and_a_named_one_at_once() -> None:
    overlay = found()
    presence, _ = presence_of(overlay, overlay.first, advertised=("198.51.100.9",))
    assert presence.addresses == (Address("198.51.100.9", 7653),)
    presence.witnessed(MINE)
    assert presence.addresses == (Address("198.51.100.9", 7653), Address(MINE, 7653))


def test_what_was_proved_in_an_earlier_run_counts_where_the_machine_still_has_it() -> None:
    overlay = found()
    before, directory = presence_of(overlay, overlay.first)
    before.witnessed(MINE)
    told = next(record for record in before.due(0.0, AT, 0) if record.kind == "host")
    again, _ = presence_of(overlay, overlay.first, told)
    assert again.addresses == (Address(MINE, 7653),)
    moved, _ = presence_of(overlay, overlay.first, told, interfaces=("203.0.113.78",))
    assert moved.addresses == ()


def test_a_peers_word_alone_makes_nothing_ours() -> None:
    overlay = found()
    presence, _ = presence_of(overlay, overlay.first)
    presence.witnessed("192.0.2.66")
    assert presence.addresses == ()


def test_what_cannot_leave_a_lan_is_not_said_and_an_address_that_went_is_forgotten() -> None:
    overlay = found()
    presence, _ = presence_of(overlay, overlay.first, interfaces=(MINE, "fe80::1", "169.254.1.1"))
    for host in ("fe80::1%eth0", "169.254.1.1", MINE):
        presence.witnessed(host)
    assert presence.addresses == (Address(MINE, 7653),)
    presence.on_interfaces(["203.0.113.78"])
    assert presence.addresses == ()


# -- what is due


def test_a_new_node_says_host_cluster_and_head_once_and_again_at_half_of_their_lives() -> None:
    overlay = found()
    presence, directory = presence_of(overlay, overlay.first, advertised=(MINE,))
    assert sorted(say(presence, directory, 0.0)) == ["cluster", "head", "host"]
    while (kinds := say(presence, directory, presence.wake_at())) != []:
        assert kinds == ["head"], "its own statements changed the zone"
    assert sorted(set(say(presence, directory, HOUR))) == ["cluster", "head", "host"]


def test_a_node_without_speak_lists_no_cluster_and_one_without_an_address_says_who_leads_to_it() -> None:
    overlay = found()
    presence, directory = presence_of(overlay, overlay.own_only, advertised=(MINE,))
    assert "cluster" not in say(presence, directory, 0.0)
    presence, directory = presence_of(overlay, overlay.first)
    presence.relays = (b"12345678", b"abcdefgh")
    assert "cluster" in say(presence, directory, 0.0)
    (gateway,) = directory.holdings.view(ROOT).gateways
    assert (gateway.cluster.addresses, gateway.cluster.relays) == ((), presence.relays)
    assert directory.holdings.ring() == []


def test_an_address_of_a_lan_is_no_public_one_until_somebody_elsewhere_has_seen_it_and_a_filter_takes_it_back() -> None:
    overlay = found()
    presence, _ = presence_of(overlay, overlay.first)
    presence.witnessed(MINE)
    presence.set_outside(None, shut=True)
    assert presence.addresses == ()
    presence.set_outside(Address("198.51.100.7", 61_000), shut=True)
    assert presence.addresses == (Address("198.51.100.7", 61_000),)


def test_an_address_that_is_proved_is_said_at_once_and_a_count_at_leisure() -> None:
    overlay = found()
    presence, directory = presence_of(overlay, overlay.first, advertised=("198.51.100.9",))
    say(presence, directory, 0.0)
    assert "cluster" not in say(presence, directory, 3.0, load=500)
    presence.witnessed(MINE)
    assert presence.wake_at() == 0.0
    assert "cluster" in say(presence, directory, 4.0, load=500)
    assert "cluster" not in say(presence, directory, 4.0 + COUNT_PAUSE - 1, load=900)
    assert "cluster" in say(presence, directory, 4.0 + COUNT_PAUSE, load=900)


def test_a_right_that_is_missing_leaves_out_its_statement_and_no_other() -> None:
    overlay = found()
    first = overlay.first
    presence, directory = presence_of(overlay, first, advertised=(MINE,))
    revoked = next(g for g in first.grants if g.name == HOME)
    directory.publish(overlay.revoke(overlay.founder, revoked), AT)
    assert say(presence, directory, 0.0) == ["host"]


def test_one_builder_makes_a_zones_head_at_most_once_a_second_and_every_five_minutes() -> None:
    overlay = found()
    first = overlay.first
    presence, directory = presence_of(overlay, first, advertised=(MINE,))
    say(presence, directory, 0.0)
    say(presence, directory, 1.0)
    directory.publish(overlay.data(first, "eu/home/motd", "TXT", "x", at=AT + 1), AT + 1)
    assert "head" not in say(presence, directory, 1.5)
    assert "head" in say(presence, directory, 2.0)
    assert "head" not in say(presence, directory, 2.0 + HEAD_EVERY - 1)
    assert "head" in say(presence, directory, 2.0 + HEAD_EVERY)


def test_of_two_that_may_the_lower_id_builds_and_who_may_not_never_does() -> None:
    overlay = found()
    first, member, own_only = overlay.first, overlay.member, overlay.own_only
    records = [overlay.cluster(first), overlay.cluster(member)]
    builders = []
    for who in (first, member, own_only):
        presence, directory = presence_of(overlay, who, *records, advertised=(MINE,))
        presence.role = Role.STANDBY  # no gateway yet
        if any(r.kind == "head" and r.name == HOME for r in presence.due(0.0, AT, 0)):
            builders.append(who)
    assert builders == [min((first, member), key=lambda who: who.node_id)]


def test_a_builder_that_is_silent_is_succeeded_long_before_its_cluster_record_ends() -> None:
    overlay = found()
    lower, upper = sorted((overlay.first, overlay.member), key=lambda who: who.node_id)
    head = overlay.head(lower, HOME, via=lower.holds(rights.SPEAK, HOME))
    presence, _ = presence_of(overlay, upper, overlay.cluster(lower), overlay.cluster(upper), head, advertised=(MINE,))
    presence.role = Role.STANDBY

    def builds(after: float) -> bool:
        return any(r.kind == "head" and r.name == HOME for r in presence.due(after, AT + after, 0))

    assert not builds(HEAD_EVERY * (1 + HEAD_TURN) - 1)
    assert builds(HEAD_EVERY * (1 + HEAD_TURN) + 1)


def test_the_gateway_builds_its_clusters_zone_whatever_its_id() -> None:
    overlay = found()
    upper = max((overlay.first, overlay.member), key=lambda who: who.node_id)
    presence, _ = presence_of(overlay, upper, overlay.cluster(overlay.first), overlay.cluster(overlay.member), advertised=(MINE,))
    presence.role = Role.GATEWAY
    assert any(r.kind == "head" and r.name == HOME for r in presence.due(0.0, AT, 0))


def test_a_node_that_no_longer_speaks_for_its_cluster_takes_its_record_out_of_the_table() -> None:
    overlay = found()
    presence, directory = presence_of(overlay, overlay.first, advertised=(MINE,))
    for record in presence.due(0.0, AT, 0):
        directory.publish(record, AT)
    assert overlay.first.node_id in directory.holdings.listed()
    presence.role = Role.MEMBER
    presence.hurry()
    for record in presence.due(1.0, AT + 1, 0):
        directory.publish(record, AT + 1)
    assert overlay.first.node_id not in directory.holdings.listed()
    assert not [r for r in presence.due(100.0, AT + 100, 0) if r.kind == "cluster"]


def test_the_root_is_built_by_who_signs_there() -> None:
    overlay = found()
    assert overlay.first
    presence, _ = presence_of(overlay, overlay.founder, advertised=(MINE,))
    assert {r.name for r in presence.due(0.0, AT, 0) if r.kind == "head"} >= {ROOT}


# -- dialling


def test_a_neighbour_that_does_not_answer_is_dialled_ever_more_rarely_and_at_once_after_it_was_connected() -> None:
    overlay = found()
    presence, _ = presence_of(overlay, overlay.first, overlay.cluster(overlay.founder))
    founder = overlay.founder.node_id
    dialled = [now for now in range(400) if presence.to_dial(set(), float(now))]
    pauses = [b - a for a, b in zip(dialled, dialled[1:], strict=False)]
    assert pauses[:4] == [1, 2, 4, 8] and max(pauses) == REDIAL[1]
    assert presence.to_dial({founder}, 400.0) == []
    assert [n.node_id for n in presence.to_dial(set(), 400.0)] == [founder]


def test_in_place_of_silent_neighbours_as_many_others_are_dialled() -> None:
    overlay = found()
    first = overlay.first
    others = [overlay.join(f"n{number}", f"c{number}", Joining.FIRST) for number in range(30)]
    presence, directory = presence_of(overlay, first, overlay.cluster(first), *(overlay.cluster(who) for who in others))
    usual = {n.node_id for n in directory.holdings.wanted()}
    alive: set[bytes] = set()  # the usual neighbours are dead, all others answer
    for now in range(200):
        alive |= {n.node_id for n in presence.to_dial(alive, float(now))} - usual
    assert len(usual) - 1 <= len(alive) <= 2 * len(usual), "neither alone nor with everybody"

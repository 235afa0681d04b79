"""Whom a change is told at once, to whom it is only offered, and what an offer leads to (DESIGN 3.5)."""

from __future__ import annotations

import pytest

from overlay import limits
from overlay.directory import neighbours
from overlay.directory.book import TABLE
from overlay.directory.machine import Directory
from overlay.directory.outputs import Ask
from overlay.directory.pushing import ALL_PEERS, OFFER_AFTER
from overlay.errors import Malformed
from overlay.name import parse_path
from overlay.records.record import Record
from overlay.records.rights import Joining
from overlay.wire.messages import Method
from tests.directory.books import book_of, directory_of
from tests.records.actors import AT, Actor, Overlay, found

GATEWAYS, MEMBERS = 12, 8


def town() -> tuple[Overlay, list[Actor], list[Actor], list[Record]]:
    """Gateways of a cluster each, and members of the first's cluster that are not in the table; the cluster records."""
    overlay = found()
    gateways = [overlay.join(f"gate{n}", f"c{n}", Joining.FIRST, name=f"gate{n}") for n in range(GATEWAYS)]
    members = [overlay.join(f"member{n}", "c0", Joining.OPEN_TAKEN, by=gateways[0], name=f"member{n}") for n in range(MEMBERS)]
    return overlay, gateways, members, [overlay.cluster(gateway) for gateway in gateways]


def connected(overlay: Overlay, me: Actor, peers: list[Actor], table: list[Record]) -> Directory:
    """That actor's directory, with sessions 1 .. to those peers and nothing left to say."""
    directory = directory_of(book_of(overlay, *table), me, small=4)
    for number, peer in enumerate(peers, start=1):
        assert peer.name is not None
        directory.joined(number, peer.node_id, peer.name.parent, initiator=False, now=1.0)
    directory.take()
    return directory


def pushed(directory: Directory) -> set[int]:
    return {output.session for output in directory.take() if isinstance(output, Ask) and output.method is Method.PUSH}


def offers(directory: Directory) -> list[Ask]:
    return [output for output in directory.take() if isinstance(output, Ask) and output.method is Method.OFFER]


def test_few_peers_are_all_told_at_once() -> None:
    overlay, gateways, members, table = town()
    peers = [*gateways[1:4], *members[:3]]
    assert len(peers) == ALL_PEERS
    here = connected(overlay, gateways[0], peers, table)
    here.publish(overlay.cluster(gateways[0], at=AT + 1), AT + 1)
    assert pushed(here) == set(range(1, ALL_PEERS + 1))


def test_of_many_the_fan_out_and_those_who_hear_it_from_us_first_are_told_at_once() -> None:
    overlay, gateways, members, table = town()
    peers = [*gateways[1:], *members]
    here = connected(overlay, gateways[0], peers, table)
    here.publish(overlay.cluster(gateways[0], at=AT + 1), AT + 1)
    told = {peers[session - 1] for session in pushed(here)}
    assert told >= set(members), "the gateway of their own cluster is the first that they want a session with"
    assert len(told - set(members)) == limits.FANOUT


def test_who_hears_it_first_from_another_is_offered_it_a_moment_later_and_in_turn() -> None:
    overlay, gateways, members, table = town()
    ring = neighbours.neighbours(book_of(overlay, *table).outline.gateways())
    wanted = [n.node_id for n in neighbours.wanted(members[0].node_id, parse_path("c0"), ring)]
    assert wanted[0] == gateways[0].node_id
    for rank, node_id in enumerate(wanted[1:], start=1):
        me = next(gateway for gateway in gateways if gateway.node_id == node_id)
        peers = [*(gateway for gateway in gateways if gateway is not me), members[0]]
        here = connected(overlay, me, peers, table)
        news = overlay.cluster(me, at=AT + 1)
        here.publish(news, AT + 1)
        assert len(peers) not in pushed(here)
        here.wake(1.0 + OFFER_AFTER * rank - 0.01, AT + 2)
        assert not offers(here)
        here.wake(1.0 + OFFER_AFTER * rank, AT + 2)
        (offer,) = offers(here)
        assert (offer.session, offer.body) == (len(peers), {1: TABLE, 2: [news.key + news.mark]})


def test_what_a_peer_was_heard_to_have_is_neither_pushed_nor_offered_to_it() -> None:
    overlay, gateways, members, table = town()
    peers = [*gateways[1:], members[0]]
    me = gateways[0]
    here = connected(overlay, me, peers, table)
    first, second = (overlay.cluster(me, at=AT + n) for n in (1, 2))
    here.publish(first, AT + 2)
    told = pushed(here)
    here.publish(second, AT + 2)  # waits its moment
    for session in told:
        here.called(session, 1, Method.PUSH, {1: [second.raw]}, 1.01, AT + 2)
    here.wake(2.0, AT + 3)
    assert not pushed(here) & told


def test_an_offer_leads_to_a_question_for_what_is_lacking_and_for_nothing_else() -> None:
    overlay, gateways, _, table = town()
    here = connected(overlay, gateways[0], gateways[1:3], table)
    news = overlay.cluster(gateways[1], at=AT + 1)
    listing = [record.key + record.mark for record in (*table[2:5], news)]
    here.called(1, 1, Method.OFFER, {1: TABLE, 2: listing}, 1.0, AT + 2)
    (fetch,) = [output for output in here.take() if isinstance(output, Ask)]
    assert (fetch.method, fetch.body) == (Method.FETCH, {2: TABLE, 3: [news.key]})
    here.answered(fetch.context, 1, [news.raw], 1.1, AT + 2)
    assert here.book.held(news.raw) == news
    assert not pushed(here), "what was asked for may be old news to the others: it is offered"
    here.wake(1.2 + OFFER_AFTER, AT + 3)
    assert [offer.session for offer in offers(here)] == [2]


@pytest.mark.parametrize("listing", [[b"short"], [bytes(17)], [7], "no list", [bytes(16)] * 65])
def test_an_offer_of_another_form_is_malformed(listing: object) -> None:
    overlay, gateways, _, table = town()
    here = connected(overlay, gateways[0], gateways[1:3], table)
    with pytest.raises(Malformed):
        here.called(1, 1, Method.OFFER, {1: TABLE, 2: listing}, 1.0, AT + 2)


def test_offers_of_units_that_are_not_held_are_let_go() -> None:
    overlay, gateways, _, table = town()
    here = connected(overlay, gateways[0], gateways[1:3], table)
    for unit in ("zone:c9/none", "zone:c2", "nothing"):
        here.called(1, 1, Method.OFFER, {1: unit, 2: [bytes(16)]}, 1.0, AT + 2)
        assert not [output for output in here.take() if isinstance(output, Ask)]

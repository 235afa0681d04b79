"""Views: which statements about a zone count, merged over signers (DESIGN 3.1; R20)."""

from __future__ import annotations

import itertools
from collections.abc import Collection

from overlay.directory import views
from overlay.directory.book import Book
from overlay.name import ROOT, parse_path
from overlay.records import rights
from overlay.records.kinds import Cluster
from overlay.records.record import Record
from overlay.records.rights import Joining
from tests.directory.books import HOME, book_of
from tests.records.actors import AT, Overlay, found


def book_of_some(overlay: Overlay, *, skip: Collection[Record]) -> Book:
    """A book with what was granted, without some."""
    book = Book(overlay.trust())
    for record in (overlay.root, *(grant for grant in overlay.records.values() if grant not in skip)):
        book.add(record, AT)
    return book


def test_a_zone_is_shown_beside_a_table_that_holds_heads_and_clusters() -> None:
    overlay = found()
    first = overlay.first
    book = book_of(overlay)
    for record in (overlay.cluster(first), overlay.head(first, "eu/home"), overlay.host(first)):
        book.add(record, AT)
    shown = views.view(book, parse_path("eu/home"))
    assert [host.name for host in shown.hosts] == [first.name]
    assert views.view(book, ROOT).cuts == (parse_path("eu/home"), parse_path("hq"))


# -- unions, the highest seq, tombstones


def test_services_are_unions_over_carriers_and_a_withdrawn_one_is_not_shown() -> None:
    overlay = found()
    first, member = overlay.first, overlay.member
    book = book_of(overlay)
    for who in (first, member):
        book.add(overlay.host(who), AT)
    via = {"via": first.holds(rights.OWN, HOME)}
    for record in (overlay.carry(first, "eu/home/www", **via), overlay.carry(member, "eu/home/www")):
        book.add(record, AT)
    assert {c.node_id for c in views.view(book, HOME).carries} == {first.node_id, member.node_id}
    back = book.records[parse_path("eu/home/www"), "carry", b"tcp", member.node_id]
    body = {**back.body, 7: True}
    via = {"via": member.holds(rights.CARRY, HOME)}
    book.add(overlay.statement(member, "carry", back.name, {key: body[key] for key in sorted(body)}, item=b"tcp", **via), AT)
    assert {c.node_id for c in views.view(book, HOME).carries} == {first.node_id}


def test_plain_data_is_the_highest_seq_of_any_rightful_signer_in_every_order() -> None:
    overlay = found()
    first, founder = overlay.first, overlay.founder
    said = ((first, "one"), (founder, "two"), (first, "three"), (founder, "four"))
    records = [overlay.data(who, "eu/home/motd", "TXT", word) for who, word in said]
    for order in itertools.permutations(records):
        book = book_of(overlay)
        for record in order:
            book.add(record, AT)
        assert [d.data.values for d in views.view(book, HOME).data] == [("four",)]


def test_a_tombstone_buries_what_others_said_before_it_and_nothing_after() -> None:
    overlay = found()
    first, founder = overlay.first, overlay.founder
    before = overlay.data(first, "eu/home/motd", "TXT", "before")
    grave = overlay.data(founder, "eu/home/motd", "TXT")
    after = overlay.data(first, "eu/home/motd", "TXT", "after")
    book = book_of(overlay)
    for record in (grave, before):
        book.add(record, AT)
    assert views.view(book, HOME).data == ()
    book.add(after, AT)
    assert [d.data.values for d in views.view(book, HOME).data] == [("after",)]


def test_types_at_one_name_stand_beside_each_other() -> None:
    overlay = found()
    first = overlay.first
    book = book_of(overlay)
    for rtype, value in (("TXT", "x"), ("MX", "10 mail"), ("A", "192.0.2.1")):
        book.add(overlay.data(first, "eu/home/motd", rtype, value), AT)
    assert {d.rtype for d in views.view(book, HOME).data} == {"TXT", "MX", "A"}


# -- contests for names (R20)


def test_of_two_members_who_took_one_name_the_earlier_is_shown_wherever_one_looks() -> None:
    overlay = found()
    first = overlay.first
    early, late = (overlay.join(label, HOME, Joining.INVITED, by=first) for label in ("early", "late"))
    claims = [overlay.claim(early, "eu/home/wiki", at=AT + 10), overlay.claim(late, "eu/home/wiki", at=AT + 50)]
    said = [overlay.data(who, "eu/home/wiki", "TXT", who.label, via=claim, at=AT + 60) for who, claim in zip((early, late), claims, strict=True)]
    for order in ((0, 1), (1, 0)):
        book = book_of_some(overlay, skip=claims)
        for index in order:
            book.add(claims[index], AT + 60)
            book.add(said[index], AT + 60)
        assert [d.data.values for d in views.view(book, HOME).data] == [("early",)]


def test_what_a_member_took_below_anothers_name_is_not_shown() -> None:
    overlay = found()
    first = overlay.first
    owner, thief = (overlay.join(label, HOME, Joining.INVITED, by=first) for label in ("owner", "thief"))
    claim = overlay.grant(thief, thief, "eu/home/owner/secret", {"own"}, via=thief.holds(rights.MEMBER, HOME))
    book = book_of(overlay)
    book.add(overlay.data(thief, "eu/home/owner/secret", "TXT", "stolen", via=claim), AT)
    book.add(overlay.data(owner, "eu/home/owner/motd", "TXT", "mine", via=owner.own), AT)
    assert [d.data.values for d in views.view(book, HOME).data] == [("mine",)]


# -- serial and digest


def test_two_nodes_with_the_same_records_show_the_same_view_whatever_their_order_of_arrival() -> None:
    overlay = found()
    first, member = overlay.first, overlay.member
    more = [
        overlay.host(first), overlay.host(member), overlay.cluster(first), overlay.carry(member, "eu/home/www"), overlay.head(first, HOME),
        overlay.data(first, "eu/home/motd", "TXT", "x"),
    ]
    shown = []
    for order in (more, list(reversed(more)), more[3:] + more[:3]):
        book = book_of(overlay)
        for record in order:
            book.add(record, AT)
        shown.append((views.view(book, HOME), views.view(book, ROOT)))
    assert shown[0] == shown[1] == shown[2]


def test_a_change_changes_the_digest_and_does_not_lower_the_serial() -> None:
    overlay = found()
    first = overlay.first
    book = book_of(overlay)
    before = views.view(book, HOME)
    book.add(overlay.data(first, "eu/home/motd", "TXT", "x", at=AT + 5), AT + 5)
    after = views.view(book, HOME)
    assert after.digest != before.digest and after.serial == AT + 5 > before.serial
    assert views.view(book, parse_path("hq")).digest == views.view(book, parse_path("hq")).digest


def test_the_root_shows_all_cuts_and_gateways_and_a_zone_its_own() -> None:
    overlay = found()
    first = overlay.first
    book = book_of(overlay)
    book.add(overlay.cluster(first), AT)
    book.add(overlay.cluster(overlay.founder), AT)
    assert views.view(book, ROOT).cuts == (HOME, parse_path("hq"))
    assert [g.node_id for g in views.view(book, HOME).gateways] == [overlay.first.node_id]
    assert len(views.view(book, ROOT).gateways) == 2


def test_a_withdrawn_cluster_record_lists_nobody() -> None:
    overlay = found()
    first = overlay.first
    book = book_of(overlay)
    book.add(overlay.cluster(first), AT)
    body = Cluster(exchange=first.identity.exchange_public, addresses=(), node=parse_path("eu/home/first"), withdrawn=True).body()
    book.add(overlay.statement(first, "cluster", HOME, body, via=first.holds(rights.SPEAK, HOME)), AT)
    assert views.gateways(book) == []


def test_an_empty_unknown_zone_is_shown_as_empty() -> None:
    shown = views.view(book_of(found()), parse_path("no/where"))
    assert (shown.hosts, shown.data, shown.cuts) == ((), (), ())

"""A member that lies about names: what it says of itself, of others, above and below what others hold (DESIGN 3.2, 3.8; R20)."""

from __future__ import annotations

from collections import Counter

import pytest

from overlay.directory import views
from overlay.directory.book import Book
from overlay.name import ROOT, Path, parse_path
from overlay.records import rights
from overlay.records.kinds import Carry, Cluster
from overlay.records.record import Record
from overlay.records.rights import Joining
from overlay.wire.address import Address
from tests.directory.books import HOME, book_of
from tests.records.actors import AT, Actor, Overlay, found, path
from tld import codes
from tld.delegation import build
from tld.engine import lookup
from tld.label import Name, from_text
from tld.zone import Zones

EVIL = Address("198.51.100.66", 7653)
CLOUD = from_text("cloud")


@pytest.fixture
def overlay() -> Overlay:
    overlay = found()
    assert overlay.first and overlay.member
    return overlay


@pytest.fixture
def mallory(overlay: Overlay) -> Actor:
    """Owner of a cluster of its own, got openly: own, grant, sign, speak there."""
    return overlay.join("mallory", "evil", Joining.FIRST)


@pytest.fixture
def guest(overlay: Overlay) -> Actor:
    """A second member of eu/home, invited like the first."""
    return overlay.join("guest", HOME, Joining.INVITED, by=overlay.first)


def speaks(overlay: Overlay, who: Actor, node: Path | str, cluster: Path | str) -> Record:
    """A cluster record that says the gateway's name is ``node``."""
    body = Cluster(exchange=who.identity.exchange_public, addresses=(EVIL,), node=path(node), dns=True).body()
    return overlay.statement(who, "cluster", cluster, body, via=who.holds(rights.SPEAK, cluster))


def carries(overlay: Overlay, who: Actor, name: Path | str, node: Path | str) -> Record:
    """A carry record that says the carrier's name is ``node``."""
    body = Carry(port=80, node=path(node), addresses=(EVIL.host,)).body()
    return overlay.statement(who, "carry", name, body, item=b"tcp", via=who.holds(rights.CARRY, name))


def zones(book: Book) -> Zones:
    """All zones of that book, as DNS."""
    held = Zones()
    for cut in (ROOT, *book.cuts):
        held.put(build(views.view(book, cut), suffix=CLOUD))
    return held


def everything(book: Book, name: str, rtype: int) -> list[bytes]:
    """All data of that type in the answer and beside it."""
    found = lookup(zones(book), from_text(name), rtype)
    return [rdata for rrset in (*found.answer, *found.additional) if rrset.type == rtype for rdata in rrset.rdatas]


def texts(book: Book, zone: Path, name: Path | str) -> list[tuple[str, ...]]:
    """The TXT sets shown at a name."""
    return [d.data.values for d in views.view(book, zone).data if d.name == path(name) and d.rtype == "TXT"]


# -- whom a gateway says it is


@pytest.mark.parametrize("node", ["eu/home/first", "www", "hq/founder", "", "eu/home", "evil/x/y", "evil/*", "evil"])
def test_a_gateway_is_listed_under_its_own_name_or_not_at_all(overlay: Overlay, mallory: Actor, node: str) -> None:
    """Else whoever speaks for any cluster puts addresses of its choice under any name, glue of other zones included."""
    book = book_of(overlay)
    book.add(overlay.cluster(overlay.first), AT)
    book.add(overlay.cluster(overlay.founder), AT)
    book.add(speaks(overlay, mallory, node, "evil"), AT)
    assert mallory.node_id not in {gateway.node_id for gateway in views.gateways(book)}
    for name in ("www.cloud", "first.home.eu.cloud", "founder.hq.cloud", "cloud", "x.evil.cloud"):
        assert bytes(map(int, EVIL.host.split("."))) not in everything(book, name, codes.A), name


def test_a_gateway_does_not_take_the_name_of_a_mate(overlay: Overlay, guest: Actor) -> None:
    book = book_of(overlay)
    book.add(speaks(overlay, guest, "eu/home/member", HOME), AT)
    assert views.gateways(book) == []
    book.add(speaks(overlay, guest, "eu/home/guest", HOME), AT)
    assert [gateway.cluster.node for gateway in views.gateways(book)] == [guest.name]


# -- whom a carrier says it is, and where it carries


def test_a_carrier_is_shown_under_its_own_name_or_not_at_all(overlay: Overlay, guest: Actor) -> None:
    for said, hosted in (("eu/home/member", False), ("eu/home/member", True), ("", True), ("eu/home/*", False), ("hq/founder", True)):
        book = book_of(overlay)
        if hosted:
            book.add(overlay.host(guest), AT)
        book.add(carries(overlay, guest, "eu/home/www", said), AT)
        assert views.view(book, HOME).carries == (), said
    book.add(carries(overlay, guest, "eu/home/www", "eu/home/guest"), AT)
    assert [c.carry.node for c in views.view(book, HOME).carries] == [guest.name]


@pytest.mark.parametrize("name", ["eu/home/member", "eu/home/member/www", "eu/home/member/*"])
def test_nobody_carries_at_or_below_a_nodes_name_but_the_node(overlay: Overlay, guest: Actor, name: str) -> None:
    """Also where the node holds other names beside its own."""
    overlay.claim(overlay.member, "eu/home/zz-last")
    book = book_of(overlay)
    book.add(carries(overlay, guest, name, "eu/home/guest"), AT)
    assert views.view(book, HOME).carries == ()


# -- names above and below others'


def test_who_takes_the_name_above_does_not_speak_for_what_another_took_before(overlay: Overlay, guest: Actor) -> None:
    mine = overlay.claim(overlay.member, "eu/home/app/db", at=AT)
    above = overlay.claim(guest, "eu/home/app", at=AT + 5)
    book = book_of(overlay, at=AT + 10)
    book.add(overlay.data(overlay.member, "eu/home/app/db", "TXT", "mine", via=mine, at=AT + 6), AT + 10)
    for name in ("eu/home/app/db", "eu/home/app/db/x"):
        book.add(overlay.data(guest, name, "TXT", "stolen", via=above, at=AT + 9), AT + 10)
    book.add(overlay.data(guest, "eu/home/app/web", "TXT", "its own", via=above, at=AT + 9), AT + 10)
    assert texts(book, HOME, "eu/home/app/db") == [("mine",)]
    assert texts(book, HOME, "eu/home/app/db/x") == []
    assert texts(book, HOME, "eu/home/app/web") == [("its own",)]


def test_who_took_the_name_above_first_keeps_what_is_below(overlay: Overlay, guest: Actor) -> None:
    above = overlay.claim(overlay.member, "eu/home/app", at=AT)
    below = overlay.claim(guest, "eu/home/app/db", at=AT + 5)
    book = book_of(overlay, at=AT + 10)
    book.add(overlay.data(overlay.member, "eu/home/app/db", "TXT", "mine", via=above, at=AT + 6), AT + 10)
    book.add(overlay.data(guest, "eu/home/app/db", "TXT", "stolen", via=below, at=AT + 9), AT + 10)
    assert texts(book, HOME, "eu/home/app/db") == [("mine",)]


def test_a_name_taken_above_a_cluster_does_not_reach_into_it(overlay: Overlay) -> None:
    wide = overlay.join("wide", "eu", Joining.INVITED, by=overlay.founder)
    site = overlay.join("site", "eu/lab/one", Joining.FIRST)
    claim = overlay.claim(wide, "eu/lab")
    book = book_of(overlay)
    book.add(overlay.data(site, "eu/lab/one/motd", "TXT", "mine"), AT)
    book.add(overlay.data(wide, "eu/lab/one/motd", "TXT", "stolen", via=claim), AT)
    assert texts(book, parse_path("eu/lab/one"), "eu/lab/one/motd") == [("mine",)]


@pytest.mark.parametrize(("rtype", "value"), [("NS", "ns.evil.example."), ("DNAME", "evil.example.")])
def test_a_name_taken_above_does_not_redirect_what_others_have_below(overlay: Overlay, guest: Actor, rtype: str, value: str) -> None:
    mine = overlay.claim(overlay.member, "eu/home/app/db", at=AT)
    above = overlay.claim(guest, "eu/home/app", at=AT + 5)
    book = book_of(overlay, at=AT + 10)
    book.add(overlay.data(overlay.member, "eu/home/app/db", "TXT", "mine", via=mine, at=AT + 6), AT + 10)
    book.add(overlay.data(guest, "eu/home/app", rtype, value, via=above, at=AT + 9), AT + 10)
    assert everything(book, "db.app.home.eu.cloud", codes.TXT) == [b"\x04mine"]


@pytest.mark.parametrize(("rtype", "value"), [("NS", "ns.evil.example."), ("DNAME", "evil.example.")])
def test_a_name_taken_above_does_not_redirect_a_cluster(overlay: Overlay, rtype: str, value: str) -> None:
    """Seen by a node that does not hold the cluster's zone: it refers to the cluster's own name servers."""
    wide = overlay.join("wide", "eu", Joining.INVITED, by=overlay.founder)
    overlay.join("site", "eu/lab/one", Joining.FIRST)
    claim = overlay.claim(wide, "eu/lab")
    book = book_of(overlay)
    book.add(overlay.data(wide, "eu/lab", rtype, value, via=claim), AT)
    held = Zones()
    counters: Counter[str] = Counter()
    zone = build(views.view(book, book.outline.zone_of(path("eu/lab"))), suffix=CLOUD, counters=counters)
    held.put(zone)
    name: Name = from_text("one.lab.eu.cloud")
    referred = lookup(held, name, codes.TXT)
    assert [rrset.name for rrset in referred.authority if rrset.type == codes.NS] == [name]
    assert counters["skip:over-others"] == 1


def test_who_owns_a_name_redirects_what_is_its_own(overlay: Overlay) -> None:
    book = book_of(overlay)
    book.add(overlay.data(overlay.member, "eu/home/member/app", "DNAME", "example.org."), AT)
    book.add(overlay.data(overlay.member, "eu/home/member/app/x", "TXT", "hidden"), AT)
    found = lookup(zones(book), from_text("x.app.member.home.eu.cloud"), codes.TXT)
    assert codes.DNAME in {rrset.type for rrset in found.answer}


# -- wildcards


def test_a_members_wildcard_answers_for_no_name_that_somebody_else_made(overlay: Overlay, guest: Actor) -> None:
    star = overlay.claim(guest, "eu/home/*", at=AT)
    later = overlay.claim(overlay.member, "eu/home/wiki", at=AT + 50)
    book = book_of(overlay, at=AT + 60)
    book.add(overlay.host(overlay.first), AT)
    book.add(overlay.data(guest, "eu/home/*", "TXT", "star", via=star, at=AT + 55), AT + 60)
    book.add(overlay.data(overlay.member, "eu/home/wiki", "MX", "10 mail", via=later, at=AT + 55), AT + 60)
    assert everything(book, "free.home.eu.cloud", codes.TXT) == [b"\x04star"]
    for name in ("first.home.eu.cloud", "wiki.home.eu.cloud", "x.wiki.home.eu.cloud"):
        assert everything(book, name, codes.TXT) == [], name


def test_a_wildcard_does_not_contain_the_names_that_it_answers_for(overlay: Overlay, guest: Actor) -> None:
    star = overlay.claim(guest, "eu/home/*")
    book = book_of(overlay)
    with pytest.raises(Exception, match="R06"):
        book.add(overlay.data(guest, "eu/home/free", "TXT", "x", via=star), AT)

"""The outline kept as records come and go is the one that a node would make of the same records anew; and what it says is
touched is all that looks otherwise."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from overlay.directory import views
from overlay.directory.book import TABLE, Book, zone_unit
from overlay.directory.view import ZoneView
from overlay.errors import OverlayError
from overlay.name import ROOT, Path, parse_path
from overlay.records import rights
from overlay.records.kinds import Cluster
from overlay.records.record import Record
from overlay.records.rights import Joining
from overlay.units import HOUR
from overlay.wire.address import Address
from tests.directory.books import book_of
from tests.records.actors import AT, Actor, Overlay, found

PATHS = ("eu", "eu/home", "eu/home/rack", "us/office")


def content(view: ZoneView) -> ZoneView:
    """What a view shows, without how new it is."""
    data = tuple(sorted((replace(entry, expires=0) for entry in view.data), key=repr))
    parts = {"hosts": view.hosts, "carries": view.carries, "gateways": view.gateways}
    return replace(view, serial=0, digest=b"", head_issued=None, data=data, **{k: tuple(sorted(v, key=repr)) for k, v in parts.items()})


def unseen(view: ZoneView) -> ZoneView:
    """The same without what no zone shows of a gateway."""
    return replace(view, gateways=tuple(replace(g, cluster=replace(g.cluster, nodes=1, load=0)) for g in view.gateways))


class Play:
    """A book that lives, the views that a node would have kept of it, and all that happens to it."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.overlay: Overlay = found()
        self.at = AT
        self.book: Book = book_of(self.overlay)
        self.kept: dict[Path, ZoneView] = {}
        self.people: list[Actor] = []
        for number in range(4):
            how = self.dice.choice([Joining.FIRST, Joining.INVITED])
            self.people.append(self.overlay.join(f"p{number}", self.dice.choice(PATHS), how))
        self.grants = [grant for person in self.people for grant in person.grants]

    def add(self, record: Record) -> None:
        try:
            self.book.add(record, self.at)
        except OverlayError:
            return  # an order that a node would refuse as well

    def step(self) -> None:
        self.at += self.dice.randrange(1, 2 * HOUR)
        person = self.dice.choice(self.people)
        act = self.dice.choice(["grant", "grant", "cluster", "cluster", "again", "host", "data", "revoke", "sweep", "head"])
        if act == "grant":
            self.add(self.dice.choice(self.grants))
        elif act in ("cluster", "again"):
            self.cluster(person, loaded=act == "again")
        elif act == "host":
            self.add(self.overlay.host(person, at=self.at))
        elif act == "data":
            self.add(self.overlay.data(person, person.own.name, "TXT", self.dice.choice("ab"), at=self.at))
        elif act == "revoke":
            self.add(self.overlay.revoke(self.overlay.founder, self.dice.choice(self.grants), at=self.at))
        elif act == "head":
            self.add(self.overlay.head(self.overlay.founder, ROOT, via=self.overlay.founder.holds(rights.SIGN), at=self.at))
        else:
            self.book.sweep(self.at)

    def cluster(self, person: Actor, *, loaded: bool) -> None:
        assert person.name is not None
        body = Cluster(
            exchange=person.identity.exchange_public, addresses=(Address(f"203.0.113.{self.dice.randrange(1, 3) if not loaded else 9}", 7653),),
            node=self.dice.choice([person.name, person.name, self.dice.choice(self.people).own.name]),
            load=self.dice.randrange(9) if loaded else 0, withdrawn=self.dice.random() < 0.2,
        ).body()
        via = person.holds(rights.SPEAK, person.name.parent)
        self.add(self.overlay.statement(person, "cluster", person.name.parent, body, via=via, at=self.at))

    def look(self) -> dict[Path, ZoneView]:
        """The views as a node keeps them: only what changed is made anew."""
        for unit in self.book.take_changed():
            if unit != TABLE:
                self.kept.pop(parse_path(unit.removeprefix("zone:")), None)
        zones = {ROOT, *self.book.cuts}
        self.kept = {path: self.kept.get(path) or views.view(self.book, path) for path in zones}
        return self.kept

    def anew(self) -> Book:
        """A book made of the same records at once."""
        book = Book(self.book.trust)
        for grant in sorted(self.book.grants.values(), key=lambda g: (len(g.name), g.seq)):
            book._keep_grant(grant)
        for record in self.book.records.values():
            if record.identity in self.book._unit:
                book._bodies[record.identity] = self.book.body(record)
                book._place(record, None)
        return book


@pytest.mark.parametrize("seed", range(40))
def test_what_is_kept_is_what_would_be_made_anew(seed: int) -> None:
    play = Play(seed)
    for _ in range(40):
        play.step()
        kept, fresh = play.look(), play.anew()
        assert set(kept) == {ROOT, *fresh.cuts}
        for path, view in kept.items():
            assert unseen(content(view)) == unseen(content(views.view(fresh, path))), path
        assert [g.node_id for g in play.book.outline.gateways()] == [g.node_id for g in fresh.outline.gateways()]
        assert play.book.outline.owned == fresh.outline.owned


def test_what_is_said_anew_in_the_same_words_touches_no_zone() -> None:
    overlay = found()
    first = overlay.first
    book = book_of(overlay, overlay.cluster(first), overlay.host(first))
    book.take_changed()
    version = book.outline.version
    book.add(overlay.cluster(first, at=AT + HOUR), AT + HOUR)
    book.add(overlay.host(first, at=AT + HOUR), AT + HOUR)
    assert book.take_changed() == set() and book.outline.version == version


def test_a_gateways_new_address_touches_its_zone_the_one_above_and_the_root() -> None:
    overlay = found()
    first = overlay.first
    overlay.join("office", "us/office", Joining.FIRST)
    book = book_of(overlay, overlay.cluster(first))
    book.take_changed()
    book.add(overlay.cluster(first, addresses=(Address("203.0.113.99", 7653),), at=AT + 5), AT + 5)
    assert book.take_changed() - {TABLE} == {zone_unit(ROOT), zone_unit(parse_path("eu/home"))}

"""Whatever the order in which records come, all nodes end with the same: units, views, holders, rights (DESIGN 3.1, "merged").

Records are pushed to real directories, one by one, in orders that dice choose; a grant that is missing is asked for
and served, as peers do. A member can choose to whom it tells what first, so whatever depends on the order is a split that
somebody makes on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random

import pytest

from overlay.admission.registrar import Registrar
from overlay.admission.request import GRANTED, Request
from overlay.directory import views
from overlay.directory.book import Book
from overlay.directory.machine import Directory
from overlay.directory.outputs import Answer
from overlay.identity.keys import verify
from overlay.name import ROOT, Path
from overlay.records import rights
from overlay.records.claims import holders
from overlay.records.record import Record
from overlay.records.rights import Joining
from overlay.records.trust import Trust
from overlay.statements import Statements
from overlay.units import DAY
from overlay.wire.messages import Method
from tests.directory.books import HOME, directory_of
from tests.records.actors import AT, Actor, Overlay, found

NOW = AT + 21 * DAY  # when all is told
SOON = NOW - 1_000  # when what lives for two hours was said


@cache
def checked(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether a signature holds; each is checked once for all nodes."""
    return verify(key, signature, message)


@dataclass
class Node:
    """A directory with one peer, who tells it everything."""

    overlay: Overlay
    directory: Directory = field(init=False)

    def __post_init__(self) -> None:
        book = Book(Trust(self.overlay.overlay_id, checked))
        book.add(self.overlay.root, NOW)
        self.directory = directory_of(book, self.overlay.founder)
        self.directory.joined(1, self.overlay.member.node_id, HOME, initiator=False, now=0.0)

    @property
    def book(self) -> Book:
        return self.directory.book

    def hear(self, records: Iterable[Record]) -> None:
        """Records come one by one; grants that it lacks are served."""
        for record in records:
            wanted = self._push(record)
            for _ in range(16):
                wanted = [more for digest in wanted for more in self._push(self.overlay.records[digest])]
                if not wanted:
                    break
            else:
                pytest.fail("the same grant is asked for again and again")

    def _push(self, record: Record) -> list[bytes]:
        self.directory.called(1, 1, Method.PUSH, {1: [record.raw]}, 0.0, NOW)
        answers = [output for output in self.directory.take() if isinstance(output, Answer)]
        missing: list[bytes] = answers[-1].body[1]
        return missing

    def sees(self) -> dict[str, object]:
        """All that others, resolvers and registrars get to see of its book."""
        book = self.book
        found: dict[str, object] = {f"unit {name}": unit.digest for name, unit in book.units.items()}
        for cut in (ROOT, *sorted(book.cuts)):
            view = views.view(book, cut)
            found[f"view {cut}"] = (view.hosts, view.carries, view.data, view.cuts, view.gateways)
        paths = {grant.name for grant in self.overlay.records.values()}
        for path in sorted(paths):
            found[f"holder {path}"] = held.digest if (held := holders(book.grants_on(path), book.grants.get).get(path)) else None
            found[f"grants {path}"] = {grant.digest for grant in book.grants_on(path)}
        return found


def differences(one: Node, other: Node) -> list[str]:
    """What two nodes see otherwise."""
    seen, also = one.sees(), other.sees()
    return sorted(key for key in seen | also if seen.get(key) != also.get(key))


def grants(overlay: Overlay, who: Actor, path: Path) -> Record:
    """The grant on its cluster that somebody came in with."""
    return next(g for g in who.grants if g.name == path and len(g.body[1]) > 1)


@cache
def story() -> tuple[Overlay, tuple[Record, ...]]:
    """Everything that rights can go through, in one overlay."""
    overlay = found()
    first, member = overlay.first, overlay.member
    mate = overlay.join("mate", HOME, Joining.INVITED, by=first)
    evil = overlay.join("mallory", "evil", Joining.FIRST)
    sybil = overlay.join("sybil", "evil", Joining.INVITED, by=evil)
    deep = overlay.join("deep", "evil/deep", Joining.INVITED_FIRST, by=evil)
    early = AT + 60
    told = [overlay.data(member, member.own.name, "TXT", "by the first grant", at=early), overlay.invite(first, HOME, at=early, life=60 * DAY)]
    claims = [overlay.claim(member, "eu/home/www", at=early), overlay.claim(mate, "eu/home/www", at=early + 5)]
    told += [overlay.data(who, "eu/home/www", "TXT", who.label, via=claim, at=early + 9) for who, claim in zip((member, mate), claims, strict=True)]
    # given again by who gave it: with a later date, with less, after the first was used
    later = AT + 20 * DAY
    first_right, mates_right = grants(overlay, first, HOME), grants(overlay, mate, HOME)
    overlay.grant(overlay.founder, first, HOME, set(first_right.body[1]), life=365 * DAY, at=later)
    overlay.grant(first, member, member.own.name, {rights.OWN}, via=first_right, at=later)
    overlay.grant(evil, deep, "evil/deep", {rights.MEMBER}, at=later)
    # said again by neighbours
    told += [
        overlay.renew(mate, next(g for g in member.grants if g.name == HOME), via=mates_right, at=later),
        overlay.renew(member, mate.own, via=grants(overlay, member, HOME), at=later),
        overlay.renew(sybil, deep.own, via=grants(overlay, sybil, evil.own.name.parent), at=later),
    ]
    # what lives
    told += [overlay.host(who, at=SOON) for who in (first, member, mate, evil, sybil, deep)]
    told += [overlay.cluster(who, at=SOON) for who in (first, evil, sybil)]
    told += [overlay.carry(mate, "eu/home/site", via=mates_right, at=SOON), overlay.data(sybil, sybil.own.name, "TXT", "x", via=sybil.own, at=later)]
    # two registrars give one name
    other = overlay.actor("other")
    overlay.grant(overlay.founder, other, HOME, {rights.GRANT, rights.OWN}, life=300 * DAY, at=early)
    for by, who in ((first, "left"), (other, "right")):
        overlay.grant(by, overlay.actor(who), "eu/home/both", {rights.OWN}, via=by.grants[-1], at=SOON)
    # what was taken away, by whom, and given anew
    ends = [
        overlay.revoke(overlay.founder, grants(overlay, evil, Path(("evil",))), at=SOON),
        overlay.revoke(evil, sybil.own, at=SOON),
        overlay.revoke(first, mates_right, at=SOON),
        overlay.revoke(mate, claims[1], at=SOON),
        overlay.revoke(first, next(g for g in member.grants if g.name == member.own.name), at=SOON),
        overlay.revoke(overlay.founder, first_right, at=SOON),
        overlay.revoke(overlay.founder, next(g for g in reversed(other.grants) if rights.GRANT in g.body[1]), at=SOON),
    ]
    overlay.grant(overlay.founder, sybil, sybil.own.name, {rights.OWN}, via=overlay.founder.holds(rights.GRANT), at=NOW - 5)
    return overlay, (*overlay.records.values(), *told, *ends)


def settled(overlay: Overlay, *orders: Sequence[Record]) -> Node:
    """A node that heard all that, in that order."""
    node = Node(overlay)
    for order in orders:
        node.hear(order)
    return node


@pytest.mark.parametrize("seed", range(60))
def test_whatever_the_order_of_arrival_all_end_with_the_same(seed: int) -> None:
    overlay, records = story()
    dice = Random(seed)
    ends = [record for record in records if record.kind == "revoke"]
    revoked = dice.sample(ends, dice.randrange(len(ends) + 1))
    told = [record for record in records if record in revoked or (record.kind != "revoke" and dice.random() < 0.9)]
    one, other = (settled(overlay, dice.sample(told, len(told)), told) for _ in range(2))
    assert differences(one, other) == []


def test_a_restart_ends_with_the_same() -> None:
    overlay, records = story()
    before = settled(overlay, records, records)
    stored = {store.key: store.value for store in before.book.take_stores()}
    book = Book(overlay.trust())
    book.load([value for value in stored.values() if value is not None], NOW)
    after = Node(overlay)
    after.directory.book = book
    assert differences(before, after) == []


def test_a_latecomer_believes_what_stands_on_a_grant_that_was_given_again_since() -> None:
    """The owner's right was renewed; who comes now hears of the new grant first, and of what was given by the old one later."""
    overlay = found()
    member, first = overlay.member, overlay.first
    right = first.holds(rights.GRANT, HOME)
    newer = overlay.grant(overlay.founder, first, HOME, set(right.body[1]), life=365 * DAY, at=AT + 20 * DAY)
    told = overlay.data(member, member.own.name, "TXT", "here", at=AT + 60)
    node = settled(overlay, [newer, told])
    assert told in node.book.records.values()
    assert right.digest in node.book.grants and right not in node.book.records.values()


def test_grants_said_again_a_thousand_times_are_kept_once() -> None:
    overlay = found()
    member = overlay.member
    node = settled(overlay, overlay.records.values())
    before = len(node.book.grants)
    claims = [overlay.claim(member, "eu/home/x") for _ in range(200)]
    stored: dict[bytes, bytes | None] = {}
    for number, claim in enumerate(claims):
        node.hear([claim, overlay.data(member, "eu/home/x", "TXT", str(number), via=claim)])
        stored.update((store.key, store.value) for store in node.book.take_stores())
    assert len(node.book.grants) == before + 1
    assert sum(value is not None for value in stored.values()) == len(node.book)


def test_who_came_in_by_a_right_that_was_revoked_is_let_in_anew_and_keeps_nobody_out() -> None:
    """Its old grants are known, and are worth nothing: it is neither answered with them, nor do they hold a name."""
    overlay = found()
    mallory = overlay.join("mallory", "evil", Joining.FIRST)
    poor = overlay.join("poor", "evil", Joining.INVITED, by=mallory)
    node = settled(overlay, overlay.records.values(), [overlay.revoke(overlay.founder, grants(overlay, mallory, Path(("evil",))))])
    assert poor.own.digest in node.book.grants and not node.book.grants_of(poor.node_id, AT)
    desk = Registrar(node.directory, Statements(identity=overlay.founder.identity, overlay_id=overlay.overlay_id, book=node.book))
    for cluster, who in (("evil", overlay.stranger), ("good", poor)):
        reply, _ = desk.ask(Request(label="poor", cluster=Path((cluster,)), node_id=who.node_id, exact=True), AT + 60)
        assert reply.code == GRANTED, reply.what
        node.book.trust.judge(reply.records[0], AT + 60, node.book.grants.get)

"""Attacks by renewal: rights that pile up, names made older, what was revoked said again, neighbours drawn along (R08, R12, R20, R21)."""

from __future__ import annotations

import pytest

from overlay import limits
from overlay.directory.book import Book
from overlay.records import rights
from overlay.records.kinds import Grant
from overlay.records.record import Record
from overlay.records.rights import Joining
from overlay.records.trust import Verdict, holders, since
from overlay.units import DAY
from tests.records.actors import AT, Actor, Overlay, found, refused

LATER = AT + 20 * DAY  # two thirds of a member's 30 days


@pytest.fixture
def overlay() -> Overlay:
    made = found()
    assert made.first and made.member
    return made


def mate(overlay: Overlay, label: str = "mate") -> Actor:
    """Another member of eu/home."""
    return overlay.join(label, "eu/home", Joining.INVITED, by=overlay.first)


def judge(overlay: Overlay, record: Record, at: float = LATER) -> Verdict:
    return overlay.trust().judge(record, at, overlay.lookup)


# -- how far chains go


def test_rights_renewed_by_rights_that_were_renewed_end_after_seven_grants(overlay: Overlay) -> None:
    """An owner and its own second key can hand a renewed right to and fro for ever; each step is rightful by itself."""
    owner, second = overlay.join("mallory", "evil", Joining.FIRST), overlay.actor("second")
    first = held = owner.holds(rights.GRANT, "evil")
    words = Grant(rights=frozenset(first.body[1]), renews=first.digest, since=since(first)).body()
    book = Book(overlay.trust())
    for record in (overlay.root, *overlay.founder.grants, *owner.grants):
        book.add(record, AT)
    with refused("R08"):
        for _ in range(5):
            speaks = overlay.grant(owner, second, "evil", {rights.SPEAK}, via=held)
            held = overlay.statement(second, "grant", "evil", words, item=owner.node_id, via=speaks, life=DAY)
            for record in (speaks, held):
                assert len(book.add(record, AT).chain) < limits.PASSPORT_GRANTS  # type: ignore[union-attr]
                assert book.chain_of(record) == list(judge(overlay, record, AT).chain)


def test_a_member_whose_right_was_renewed_by_a_neighbour_still_takes_names(overlay: Overlay) -> None:
    """A renewal stands where the grant stood which it says again: it is no nearer to the end of the chain."""
    member = overlay.member
    renewed = overlay.renew(mate(overlay), member.holds(rights.MEMBER, "eu/home"), at=LATER)
    claim = overlay.grant(member, member, "eu/home/new", {rights.OWN}, via=renewed, at=LATER + 60)
    assert overlay.chain(claim) == list(judge(overlay, claim, LATER + 60).chain)


# -- whose name it is


def test_a_renewal_makes_no_name_older_than_the_right_of_who_gave_it(overlay: Overlay) -> None:
    """A second registrar that dates back what it gives, and a friend who renews it, take no name from its holder."""
    second, thief = overlay.actor("second"), overlay.actor("thief")
    right = overlay.grant(overlay.founder, second, "eu/home", {rights.GRANT, rights.OWN}, at=AT + 100, life=300 * DAY)
    honest = overlay.grant(overlay.first, overlay.actor("honest"), "eu/home/www", {rights.OWN}, at=AT + 50)
    early = overlay.statement(second, "grant", "eu/home/www", {1: [rights.OWN], 4: 1}, item=thief.node_id, via=right, at=AT + 200, life=30 * DAY)
    renewed = overlay.renew(overlay.member, early, at=AT + 210)
    judge(overlay, renewed, AT + 210)
    assert holders([early, renewed, honest], overlay.lookup)[honest.name] == honest


# -- what was revoked


def test_revoking_a_grant_ends_its_earlier_versions_which_nobody_may_know_any_more(overlay: Overlay) -> None:
    """A machine that was renewed and then revoked shows what it held before the renewal."""
    member = overlay.member
    before = member.own
    newer = overlay.grant(overlay.first, member, before.name, {rights.OWN}, at=LATER)
    trust = overlay.trust()
    trust.adopt_revoke(overlay.revoke(overlay.first, newer, at=LATER + 60), newer)
    for grant in (newer, before):
        with refused("R12"):
            trust.judge(grant, LATER + 60, overlay.lookup)
    again = overlay.grant(overlay.first, member, before.name, {rights.OWN}, at=LATER + 120)
    trust.judge(again, LATER + 120, overlay.lookup)  # a person's second thought


def test_revoking_an_earlier_version_leaves_what_was_given_since(overlay: Overlay) -> None:
    member = overlay.member
    newer = overlay.grant(overlay.first, member, member.own.name, {rights.OWN}, at=LATER)
    trust = overlay.trust()
    old = next(g for g in member.grants if g.name == newer.name)
    trust.adopt_revoke(overlay.revoke(overlay.first, old, at=LATER + 60), old)
    trust.judge(newer, LATER + 60, overlay.lookup)

"""Attacks by renewal: rights that pile up, names made older, what was revoked said again, neighbours drawn along (R08, R12, R20, R21)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from overlay import acts, limits
from overlay.directory.book import Book
from overlay.records import rights
from overlay.records.claims import holders
from overlay.records.kinds import Grant
from overlay.records.record import Record
from overlay.records.rights import Joining
from overlay.records.trust import Verdict, since
from overlay.renewal import Renewals
from overlay.statements import Statements
from overlay.units import DAY
from tests.directory.books import book_of, take
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


# -- what nodes do by themselves


def renewals(overlay: Overlay, who: Actor, *more: Record, at: float = LATER) -> list[Record]:
    """What that actor's node says for others and itself, with everything that was granted so far in its book."""
    book = book_of(overlay, *more, at=at)
    desk = Renewals(Statements(identity=who.identity, overlay_id=overlay.overlay_id, book=book), book)
    said = desk.due(at)
    for record in said:
        take(book, overlay, record, at)
        overlay.records.update({record.digest: record} if record.kind == "grant" else {})
    return said


def test_what_an_owner_gave_ends_with_its_right_though_the_registrar_above_renewed_it(overlay: Overlay) -> None:
    """Else an owner gives its own second key everything, waits for the registrar to say it again, and cannot be revoked any more."""
    owner = overlay.join("mallory", "evil", Joining.FIRST)
    second = overlay.join("second", "evil", Joining.INVITED_FIRST, by=owner)
    right = owner.holds(rights.GRANT, "evil")
    short = overlay.grant(owner, second, "evil", {rights.GRANT, rights.OWN, rights.SPEAK}, via=right, life=3 * DAY)
    at = AT + int(2.6 * DAY)
    said = renewals(overlay, overlay.founder, overlay.host(second, at=at - 60), at=at)
    again = next(g for g in said if g.item == second.node_id and g.body[1] == short.body[1])
    assert overlay.trust().judge(again, at, overlay.lookup)
    trust = overlay.trust()
    trust.adopt_revoke(overlay.revoke(overlay.founder, right, at=at), right)
    with refused("R12"):
        trust.judge(again, at, overlay.lookup)


def test_what_a_registrar_gave_is_given_anew_by_another_when_the_first_may_no_longer(overlay: Overlay) -> None:
    """A giver that is gone for good does not take its members along: its own right has lapsed, and those above grant."""
    owner = overlay.actor("owner")
    overlay.grant(overlay.founder, owner, "us", {rights.GRANT, rights.OWN, rights.MEMBER}, life=30 * DAY)
    guest = overlay.join("guest", "us", Joining.OPEN_TAKEN, by=owner)
    at = AT + 31 * DAY
    said = renewals(overlay, overlay.founder, overlay.host(guest, at=at - 60), at=at)
    assert [g for g in said if g.item == guest.node_id and not g.body.get(2)], "by the founder's own right"


def test_nobody_is_made_to_sign_every_minute(overlay: Overlay) -> None:
    guest = overlay.join("guest", "eu/home", Joining.INVITED, by=overlay.first)
    for number in range(5):
        overlay.grant(overlay.first, guest, f"eu/home/guest-{number}", {rights.OWN}, life=60 + number)
    said = renewals(overlay, overlay.founder, overlay.host(guest, at=AT + 40), at=AT + 58)
    assert said == []


def test_who_has_itself_renewed_silences_nobody_else(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand names for one live key: the neighbours say some of them again, and keep half of their room for themselves."""
    guest = overlay.join("guest", "eu/home", Joining.INVITED, by=overlay.first)
    for number in range(30):
        overlay.grant(overlay.first, guest, f"eu/home/guest-{number}", {rights.OWN})
    host = overlay.host(guest, at=LATER + 9 * DAY - 60)
    monkeypatch.setattr(limits, "PER_SIGNER", 40)
    assert len(renewals(overlay, overlay.member, host, at=LATER + 9 * DAY)) <= 20 + 3


def test_what_was_said_again_while_its_revocation_was_on_its_way_is_taken_back(overlay: Overlay) -> None:
    """The owner renews a member at its registrar's desk while the founder, elsewhere, ends it."""
    owner, guest = overlay.first, overlay.join("guest", "eu/home", Joining.INVITED, by=overlay.first)
    host = overlay.host(guest, at=LATER - 60)
    assert renewals(overlay, owner, host), "the owner does not know yet"
    ends = [overlay.revoke(overlay.founder, grant, at=LATER - 30) for grant in guest.grants]
    for knows in (owner, overlay.founder):
        said = [r.item for r in renewals(overlay, knows, host, *ends, at=LATER + 60) if r.kind == "revoke"]
        again = [g.digest for g in overlay.records.values() if g.item == guest.node_id and g.issued == LATER]
        assert sorted(said) == sorted(again) and len(again) == 2
    assert [r for r in renewals(overlay, overlay.member, host, *ends, at=LATER + 60) if guest.node_id in (r.item, r.signer)] == []


def test_a_second_thought_is_not_taken_back(overlay: Overlay) -> None:
    """Revoked by a person, given again by a person: that stands, and is renewed."""
    guest = overlay.join("guest", "eu/home", Joining.INVITED, by=overlay.first)
    ends = [overlay.revoke(overlay.first, grant, at=AT + 60) for grant in guest.grants]
    anew = [overlay.grant(overlay.first, guest, grant.name, set(grant.body[1]), at=AT + 90) for grant in guest.grants[:2]]
    at = LATER + 600
    said = renewals(overlay, overlay.first, overlay.host(guest, at=at - 60), *ends, at=at)
    assert sorted(g.name.dotted for g in said if g.item == guest.node_id) == sorted(g.name.dotted for g in anew)


def test_a_second_registrar_ends_no_renewals_of_what_it_did_not_give(overlay: Overlay) -> None:
    """It gives the same words to the same key, and revokes them: others go on with theirs."""
    second, guest = overlay.actor("second"), overlay.join("guest", "eu/home", Joining.INVITED, by=overlay.first)
    right = overlay.grant(overlay.founder, second, "eu/home", {rights.GRANT, rights.OWN}, life=300 * DAY)
    theirs = overlay.statement(
        second, "grant", guest.own.name, {1: [rights.OWN], 4: AT}, item=guest.node_id, via=right, at=AT + 60, life=30 * DAY,
    )  # fmt: skip
    own = next(g for g in guest.grants if g.name == guest.name)
    end = overlay.revoke(second, theirs, at=LATER)
    said = renewals(overlay, overlay.first, overlay.host(guest, at=LATER), end, at=LATER + 600)
    assert [g for g in said if g.name == own.name and g.kind == "grant"] and not [r for r in said if r.kind == "revoke"]


def test_a_revocation_goes_through_though_somebody_elses_neighbour_renewed_the_grant(overlay: Overlay) -> None:
    """The renewal is not this node's to revoke, and ends with what it renews."""
    second, guest = overlay.actor("second"), overlay.actor("guest")
    overlay.grant(overlay.founder, second, "eu/home", {rights.GRANT, rights.OWN, rights.MEMBER}, life=300 * DAY)
    first = overlay.grant(second, guest, "eu/home/guest", {rights.OWN})
    renewed = overlay.renew(overlay.member, first, at=LATER)
    book = book_of(overlay, at=LATER)
    node = SimpleNamespace(
        book=book, identity=second.identity, trust=book.trust, publish=lambda records, at: [book.add(r, at) for r in records],
        statements=Statements(identity=second.identity, overlay_id=overlay.overlay_id, book=book),
    )
    said = acts.revoke(node, renewed.digest, LATER + 60)  # type: ignore[arg-type]
    assert [record.item for record in said] == [first.digest]
    assert book.grants_on(renewed.name) == []

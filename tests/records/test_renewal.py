"""R21 and R20 under renewal: what neighbours may say again for each other, and that nothing widens or lives on by it."""

from __future__ import annotations

import pytest

from overlay import limits
from overlay.records import passport, rights
from overlay.records.claims import given, holders
from overlay.records.record import Record
from overlay.records.rights import Joining
from overlay.records.trust import Verdict
from overlay.units import DAY
from tests.records.actors import AT, Actor, Overlay, found, refused

LATER = AT + 20 * DAY  # two thirds of a member's 30 days


@pytest.fixture
def overlay() -> Overlay:
    return found()


def mate(overlay: Overlay, label: str = "mate") -> Actor:
    """A second member of eu/home."""
    return overlay.join(label, "eu/home", Joining.INVITED, by=overlay.first)


def judge(overlay: Overlay, record: Record, at: float = LATER) -> Verdict:
    return overlay.trust().judge(record, at, overlay.lookup)


def test_r21_members_renew_each_other_without_who_let_them_in(overlay: Overlay) -> None:
    member, other = overlay.member, mate(overlay)
    renewed = overlay.renew(other, member.own, at=LATER)
    assert renewed.expires == LATER + 30 * DAY
    chain = judge(overlay, renewed).chain
    assert chain[0] == other.holds(rights.SPEAK, "eu/home")
    assert member.own in chain
    assert overlay.chain(renewed) == list(chain), "what is shown is what is judged, in one order"


def test_r21_what_hangs_on_a_renewed_grant_counts_after_the_first_has_lapsed(overlay: Overlay) -> None:
    member, other = overlay.member, mate(overlay)
    renewed = overlay.renew(other, member.own, at=LATER)
    late = int(AT + 45 * DAY)
    said = overlay.data(member, member.own.name, "TXT", "still here", via=renewed, at=late)
    judge(overlay, said, late)
    with refused("R13"):
        judge(overlay, overlay.data(member, member.own.name, "TXT", "x", via=member.own, at=late), late)


def test_r21_renewals_go_on_for_a_year_by_turns(overlay: Overlay) -> None:
    """Each names the first grant, so no chain grows; the giver's right is the bound."""
    member, other = overlay.member, mate(overlay)
    for turn in range(1, 17):
        at = AT + turn * 20 * DAY
        assert len(judge(overlay, overlay.renew(other, member.own, at=at), at).chain) <= limits.PASSPORT_GRANTS - 1
        judge(overlay, overlay.renew(member, other.own, at=at), at)
    at = AT + 340 * DAY
    with refused("R21"):
        judge(overlay, overlay.renew(other, member.own, at=at), at)


def test_r21_a_passport_of_a_renewed_name_is_good(overlay: Overlay) -> None:
    member, other = overlay.member, mate(overlay)
    renewed = overlay.renew(other, member.own, at=LATER)
    records = passport.assemble(overlay.binding(member, at=LATER), [renewed, *overlay.chain(renewed)], [overlay.root])
    at = AT + 45 * DAY
    found = passport.check([record.raw for record in records], member.identity.exchange_public, at, overlay.trust())
    assert (found.node_id, found.name) == (member.node_id, member.name)


@pytest.mark.parametrize("what", ["renewer", "first"])
def test_r21_revoking_either_end_of_a_renewal_ends_it(overlay: Overlay, what: str) -> None:
    member, other = overlay.member, mate(overlay)
    renewed = overlay.renew(other, member.own, at=LATER)
    trust = overlay.trust()
    trust.adopt_revoke(overlay.revoke(overlay.first, other.holds(rights.SPEAK, "eu/home") if what == "renewer" else member.own))
    with refused("R12"):
        trust.judge(renewed, LATER, overlay.lookup)


def test_r21_nobody_renews_for_itself(overlay: Overlay) -> None:
    with refused("R21"):
        judge(overlay, overlay.renew(overlay.member, overlay.member.own, at=LATER))


def test_r21_a_renewal_changes_nothing(overlay: Overlay) -> None:
    member, other = overlay.member, mate(overlay)
    cluster = member.holds(rights.SPEAK, "eu/home")
    for changed in ({"rights": frozenset({rights.OWN, rights.SIGN})}, {"since": AT - DAY}, {"shadow": True}):
        with refused("R21"):
            judge(overlay, overlay.renew(other, member.own, at=LATER, **changed))
    with refused("R21"):  # another's grant
        judge(overlay, overlay.statement(
            other, "grant", "eu/home/other", overlay.renew(other, member.own).body, item=overlay.stranger.node_id,
            via=other.holds(rights.SPEAK, "eu/home"), at=LATER, life=DAY))
    judge(overlay, overlay.renew(other, cluster, at=LATER))


def test_r21_a_renewal_is_not_longer_than_what_it_renews(overlay: Overlay) -> None:
    member, other = overlay.member, mate(overlay)
    with refused("R21"):
        judge(overlay, overlay.renew(other, member.own, at=LATER, life=31 * DAY))


def test_r21_a_renewal_is_not_renewed_and_renews_nothing_more(overlay: Overlay) -> None:
    member, other, third = overlay.member, mate(overlay), mate(overlay, "third")
    renewed = overlay.renew(other, member.own, at=LATER)
    with refused("R21"):  # the first grant is what is renewed
        judge(overlay, overlay.renew(third, renewed, at=LATER))
    speaks = overlay.renew(member, other.holds(rights.SPEAK, "eu/home"), at=LATER)
    with refused("R21"):  # and the right to renew is the one that was given
        judge(overlay, overlay.renew(other, third.own, via=speaks, at=LATER))


def test_r21_what_a_person_dated_is_not_renewed(overlay: Overlay) -> None:
    other, guest = mate(overlay), overlay.actor("guest")
    body = {1: [rights.MEMBER], 3: True}
    final = overlay.statement(overlay.first, "grant", "eu/home", body, item=guest.node_id, via=overlay.first.holds(rights.GRANT, "eu/home"), life=DAY)
    judge(overlay, final, AT)
    with refused("R21"):
        judge(overlay, overlay.renew(other, final, at=AT + 60))


def test_r21_who_may_not_speak_renews_nothing(overlay: Overlay) -> None:
    member, owner = overlay.member, overlay.own_only
    with refused("R06"):
        judge(overlay, overlay.renew(owner, member.own, via=owner.own, at=LATER))
    upper = overlay.grant(overlay.first, owner, "eu/home", {rights.MEMBER})
    with refused("R21"):
        judge(overlay, overlay.renew(owner, member.own, via=upper, at=LATER))


def test_r21_what_a_member_took_is_not_renewed_by_others(overlay: Overlay) -> None:
    """A name taken is the taker's to keep; who renews it for others would make it a name given."""
    member, other = overlay.member, mate(overlay)
    taken = overlay.claim(member, "eu/home/www")
    with refused("R21"):
        judge(overlay, overlay.renew(other, taken, at=LATER))


def test_r20_a_renewed_name_keeps_its_rank(overlay: Overlay) -> None:
    member, other = overlay.member, mate(overlay)
    renewed = overlay.renew(other, member.own, at=LATER)
    rival = overlay.grant(overlay.first, overlay.stranger, member.own.name, {rights.OWN}, at=AT + DAY)
    assert holders([rival, renewed], overlay.lookup)[member.own.name] == renewed
    assert given(renewed, overlay.lookup)


def test_r21_since_is_believed_as_far_back_as_the_givers_right(overlay: Overlay) -> None:
    """A member that dates its claim back gains nothing over the grant by which it claims."""
    member, other = overlay.member, mate(overlay)
    via = member.holds(rights.MEMBER, "eu/home")
    early = overlay.statement(member, "grant", "eu/home/www", {1: [rights.OWN], 4: 1}, item=member.node_id, via=via, at=AT + 60, life=DAY)
    honest = overlay.claim(other, "eu/home/www", at=AT + 30)
    ranked = holders([early, honest], overlay.lookup)[early.name]
    assert ranked == early  # its right is as old as the other's: the known limit of first come, docs/threats.md
    assert judge(overlay, early).chain

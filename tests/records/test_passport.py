"""Passports: R19 and the form. Which set of records lets somebody in, and which does not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay import limits
from overlay.errors import Malformed, TrustError
from overlay.records import passport, rights
from overlay.records.record import parse
from overlay.records.trust import Trust
from overlay.units import DAY
from tests.records.actors import AT, Actor, Overlay, found, path, refused, root_key


@pytest.fixture
def overlay() -> Overlay:
    return found()


def check(overlay: Overlay, raws: list[bytes], who: Actor, at: float = AT, trust: Trust | None = None) -> passport.Passport:
    return passport.check(raws, who.identity.exchange_public, at, trust or overlay.trust())


@pytest.mark.parametrize("label", ["founder", "first", "member", "own_only"])
def test_every_node_shows_who_it_is(overlay: Overlay, label: str) -> None:
    who: Actor = getattr(overlay, label)
    pages = overlay.passport(who)
    shown = check(overlay, pages, who)
    assert (shown.node_id, shown.name, shown.exchange) == (who.node_id, who.name, who.identity.exchange_public)
    assert shown.cluster == shown.name.parent and shown.chain[0] == who.own
    assert shown.digest == passport.passport_digest([parse(raw) for raw in pages])


def test_a_newcomer_that_knows_only_the_id_learns_the_root_from_a_passport(overlay: Overlay) -> None:
    trust = Trust(overlay.overlay_id)
    check(overlay, overlay.passport(overlay.member), overlay.member, trust=trust)
    assert trust.root is not None and trust.root.zone == "cloud.example.org"


def test_a_passport_of_another_overlay_is_refused(overlay: Overlay) -> None:
    other = found(ceremony="other ")
    for trust in (Trust(overlay.overlay_id), overlay.trust()):
        with pytest.raises(TrustError):
            check(overlay, other.passport(other.founder), other.founder, trust=trust)


def test_r19_the_sessions_key_is_the_bound_one(overlay: Overlay) -> None:
    with refused("R19"):
        check(overlay, overlay.passport(overlay.member), overlay.stranger)


def test_r19_a_binding_by_another_key_is_refused(overlay: Overlay) -> None:
    member, stranger = overlay.member, overlay.stranger
    pages = [overlay.binding(stranger).raw, *overlay.passport(member)[1:]]
    with refused("R19"):
        check(overlay, pages, stranger)


def test_r19_a_lapsed_node_still_connects_for_30_days(overlay: Overlay) -> None:
    lapse = overlay.member.own.expires
    pages = [overlay.binding(overlay.member, at=AT).raw, *overlay.passport(overlay.member)[1:]]
    check(overlay, pages, overlay.member, at=lapse + limits.LAPSED - 1)
    with refused("R13"):
        check(overlay, pages, overlay.member, at=lapse + limits.LAPSED)


def test_a_revoked_passport_is_refused(overlay: Overlay) -> None:
    for grant in (overlay.member.own, *overlay.chain(overlay.member.own)):
        trust = overlay.trust()
        trust.adopt_revoke(overlay.revoke(overlay.founder, grant))
        with refused("R12"):
            check(overlay, overlay.passport(overlay.member), overlay.member, trust=trust)


def test_a_name_that_a_member_took_for_itself_is_no_passport(overlay: Overlay) -> None:
    """Else a member of `eu` would enter the cluster eu/home, or call itself by a neighbour's name, by its own word."""
    wide = overlay.actor("wide")
    overlay.grant(overlay.founder, wide, "eu", rights.TABLE[rights.Joining.INVITED].rights)
    claim = overlay.claim(wide, "eu/home/wide")
    wide.name = path("eu/home/wide")
    overlay.trust().judge(claim, AT, overlay.lookup)
    with refused("R19"):
        check(overlay, overlay.passport(wide), wide)


def test_the_leaf_names_a_node(overlay: Overlay) -> None:
    first = overlay.first
    for grant in (overlay.grant(overlay.founder, first, "eu", {rights.OWN}), overlay.grant(first, first, "eu/home/*", {rights.OWN})):
        with refused("R07"):
            check(overlay, [overlay.binding(first).raw, grant.raw, *(g.raw for g in overlay.chain(grant)), overlay.root.raw], first)
    cluster = first.holds(rights.SPEAK, "eu/home")  # owning a cluster is no node's name
    with refused("R07"):
        check(overlay, [overlay.binding(first).raw, cluster.raw, *(g.raw for g in overlay.chain(cluster)), overlay.root.raw], first)


def test_a_passport_holds_nothing_but_its_chain(overlay: Overlay) -> None:
    pages = overlay.passport(overlay.member)
    for extra in (overlay.own_only.own, overlay.host(overlay.member), overlay.data(overlay.member, "eu/home/member", "TXT", "x")):
        for place in (1, 2, len(pages)):
            with pytest.raises((Malformed, TrustError)):
                check(overlay, [*pages[:place], extra.raw, *pages[place:]], overlay.member)


@pytest.mark.parametrize("order", [(1, 0, 2, 3, 4), (0, 2, 1, 3, 4), (0, 1, 3, 2, 4), (0, 1, 2, 4, 3), (0, 0, 1, 2, 3), (0, 1, 1, 2, 3)])
def test_a_passport_has_one_order(overlay: Overlay, order: tuple[int, ...]) -> None:
    """So that one passport has one digest."""
    pages = overlay.passport(overlay.member)
    assert len(pages) == 5
    with pytest.raises((Malformed, TrustError)):
        check(overlay, [pages[number] for number in order], overlay.member)


def test_a_passport_brings_later_root_versions(overlay: Overlay) -> None:
    second = overlay.next_root(keys=[root_key(7)], threshold=1, signers=[*overlay.keys, root_key(7)])
    trust = Trust(overlay.overlay_id)
    pages = [
        r.raw
        for r in passport.assemble(
            overlay.binding(overlay.member), [overlay.member.own, *overlay.chain(overlay.member.own)], [overlay.root, second]
        )
    ]
    check(overlay, pages, overlay.member, trust=trust)
    assert trust.root is not None and trust.root.version == 2


def test_a_forged_root_version_in_a_passport_is_refused(overlay: Overlay) -> None:
    forged = overlay.next_root(keys=[root_key(7)], threshold=1, signers=[root_key(7)])
    pages = [*overlay.passport(overlay.member)[:-1], forged.raw, overlay.root.raw]
    trust = overlay.trust()
    with refused("R17"):
        check(overlay, pages, overlay.member, trust=trust)
    assert trust.root is not None and trust.root.version == 1


def test_too_many_pages_are_refused_before_any_is_read(overlay: Overlay) -> None:
    for pages in ([], [b""], [b"\xc0"] * 2, [b"\xc0"] * 73, [b"\xc0"] * 10_000):
        with refused("passport-form", Malformed):
            check(overlay, pages, overlay.member)


def test_pages_that_are_no_octets_are_malformed(overlay: Overlay) -> None:
    for odd in (None, 7, "text", [b"x"], True):
        with pytest.raises(Malformed):
            check(overlay, [*overlay.passport(overlay.member), odd], overlay.member)  # type: ignore[list-item]


def test_an_expired_binding_is_refused(overlay: Overlay) -> None:
    who = overlay.first
    with refused("R03"):
        check(overlay, [overlay.binding(who, at=AT - 366 * DAY).raw, *overlay.passport(who)[1:]], who)


_OVERLAY = found()
_PAGES = _OVERLAY.passport(_OVERLAY.member)


@settings(max_examples=150, deadline=500)
@given(st.data())
def test_no_damage_to_a_passport_raises_anything_else(data: st.DataObject) -> None:
    pages = list(_PAGES)
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, len(pages) - 1))
        page = bytearray(pages[number])
        if page:
            page[data.draw(st.integers(0, len(page) - 1))] ^= data.draw(st.integers(1, 255))
        pages[number] = bytes(page[: data.draw(st.integers(0, len(page)))]) if data.draw(st.booleans()) else bytes(page)
    if pages == _PAGES:
        return
    with pytest.raises((Malformed, TrustError)):
        passport.check(pages, _OVERLAY.member.identity.exchange_public, AT, Trust(_OVERLAY.overlay_id))

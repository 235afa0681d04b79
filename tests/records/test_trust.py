"""The rules of ``overlay/records/trust.py``, R01 to R20, each by a test whose name begins with its number.

``tests/house/test_rules_cited.py`` checks that no rule of the table goes without one.
"""

from __future__ import annotations

import pytest

from overlay import limits
from overlay.errors import Malformed
from overlay.identity.keys import Signer
from overlay.name import ROOT
from overlay.records import rights
from overlay.records.claims import holders, outranked
from overlay.records.kinds import KINDS, Data, Grant
from overlay.records.record import MAX_SEQ, Record, parse
from overlay.records.trust import MissingGrant, Trust, kept_until
from overlay.units import DAY, HOUR
from overlay.wire.codec import encode
from tests.records.actors import AT, Overlay, found, path, refused, root_key, seed


@pytest.fixture
def overlay() -> Overlay:
    return found()


def judge(overlay: Overlay, record: Record, at: float = AT) -> tuple[Record, ...]:
    """A fresh judge's chain for ``record``."""
    return overlay.trust().judge(record, at, overlay.lookup).chain


# -- what is rightful counts


def test_every_actor_may_say_what_its_rights_give(overlay: Overlay) -> None:
    founder, first, member, own_only = overlay.founder, overlay.first, overlay.member, overlay.own_only
    own, cluster = own_only.own, first.holds(rights.SPEAK, "eu/home")
    registrar = founder.holds(rights.GRANT)
    assert judge(overlay, overlay.data(own_only, "eu/home/own-only/x", "TXT", "hi")) == (own, cluster, registrar)
    assert judge(overlay, overlay.host(member)) == (member.own, cluster, registrar)
    assert judge(overlay, overlay.cluster(first)) == (cluster, registrar)
    assert judge(overlay, overlay.head(first, "eu/home")) == (cluster, registrar)
    assert judge(overlay, overlay.carry(member, "eu/home/www"))[1:] == (cluster, registrar)
    assert judge(overlay, overlay.invite(first, "eu/home")) == (cluster, registrar)
    assert judge(overlay, overlay.data(first, "eu/home", "TXT", "ours")) == (cluster, registrar)
    assert judge(overlay, registrar) == ()


# -- the rules


def test_r01_a_forged_signature_is_refused(overlay: Overlay) -> None:
    good = overlay.data(overlay.member, "eu/home/member", "TXT", "x")
    key, signature = good.sigs[0]
    forged = parse(encode([good.content, [[key, bytes((signature[0] ^ 1,)) + signature[1:]]]]))
    with refused("R01"):
        judge(overlay, forged)


def test_r01_altered_content_is_refused(overlay: Overlay) -> None:
    one, other = (overlay.data(overlay.member, "eu/home/member", "TXT", text) for text in ("one", "two"))
    with refused("R01"):
        judge(overlay, parse(encode([one.content, [list(sig) for sig in other.sigs]])))


def test_r01_a_record_of_another_overlay_is_refused(overlay: Overlay) -> None:
    other = found(ceremony="other ")
    assert other.overlay_id != overlay.overlay_id
    with refused("R01"):
        judge(overlay, other.data(other.founder, ROOT, "TXT", "x"))
    with refused("R01"):  # even where the same keys founded both
        judge(overlay, overlay.statement(overlay.founder, "bind", ROOT, {1: bytes(32)}, overlay_id=other.overlay_id))


def test_r01_a_remembered_verdict_is_of_those_bytes_only(overlay: Overlay) -> None:
    trust = overlay.trust()
    good = overlay.data(overlay.member, "eu/home/member", "TXT", "x")
    trust.judge(good, AT, overlay.lookup)
    before = trust.verified
    trust.judge(good, AT, overlay.lookup)
    assert trust.verified == before
    forged = parse(encode([good.content, [[good.signer, bytes(64)]]]))
    assert forged.digest == good.digest
    with refused("R01"):
        trust.judge(forged, AT, overlay.lookup)
    trust.judge(good, AT, overlay.lookup)


def test_r02_a_record_from_the_future_is_refused(overlay: Overlay) -> None:
    judge(overlay, overlay.data(overlay.member, "eu/home/member", "TXT", "x", at=AT + limits.FUTURE))
    with refused("R02"):
        judge(overlay, overlay.data(overlay.member, "eu/home/member", "TXT", "x", at=AT + limits.FUTURE + 1))


def test_r02_a_seq_from_the_future_is_refused(overlay: Overlay) -> None:
    """Else one rightful signer of a shared name could outrank the others for good."""
    edge = (AT + limits.FUTURE + 1) * 1000
    judge(overlay, overlay.data(overlay.member, "eu/home/member", "TXT", "x", seq=edge - 1))
    for seq in (edge, MAX_SEQ):
        with refused("R02"):
            judge(overlay, overlay.data(overlay.member, "eu/home/member", "TXT", "x", seq=seq))


def test_r03_an_expired_record_is_refused(overlay: Overlay) -> None:
    record = overlay.host(overlay.member)
    judge(overlay, record, AT + 2 * HOUR - 1)
    with refused("R03"):
        judge(overlay, record, AT + 2 * HOUR)


def test_r03_a_grant_is_known_as_long_as_a_renewal_may_stand_on_it(overlay: Overlay) -> None:
    own = overlay.member.own
    last = int(kept_until(own))
    assert last == own.issued + 366 * DAY + limits.LAPSED
    with refused("R13"):  # known, and entitling to nothing: its giver's right is over as well
        judge(overlay, own, last - 1)
    with refused("R03"):
        judge(overlay, own, last)


@pytest.mark.parametrize("kind", ["host", "cluster", "carry", "data", "head", "invite"])
def test_r04_what_names_no_grant_is_refused(overlay: Overlay, kind: str) -> None:
    bodies = {
        "host": overlay.host(overlay.first),
        "cluster": overlay.cluster(overlay.first),
        "carry": overlay.carry(overlay.member, "eu/home/www"),
        "data": overlay.data(overlay.first, "eu/home", "TXT", "x"),
        "head": overlay.head(overlay.first, "eu/home"),
        "invite": overlay.invite(overlay.first, "eu/home"),
    }
    model = bodies[kind]
    with refused("R04"):
        judge(overlay, overlay.statement(overlay.first, kind, model.name, model.body, item=model.item, life=600))


def test_r04_an_unknown_grant_is_asked_for(overlay: Overlay) -> None:
    record = overlay.data(overlay.member, "eu/home/member", "TXT", "x")
    with pytest.raises(MissingGrant) as missing:
        overlay.trust().judge(record, AT, lambda _: None)
    assert missing.value.wanted == overlay.member.own.digest


def test_r05_another_keys_grant_entitles_nobody(overlay: Overlay) -> None:
    with refused("R05"):
        judge(overlay, overlay.data(overlay.stranger, "eu/home/member", "TXT", "x", via=overlay.member.own))


def test_r05_what_is_no_grant_entitles_nobody(overlay: Overlay) -> None:
    host = overlay.host(overlay.member)
    overlay.records[host.digest] = host
    with refused("R05"):
        judge(overlay, overlay.data(overlay.member, "eu/home/member", "TXT", "x", via=host))


def test_r05_a_second_signature_on_a_grant_is_refused(overlay: Overlay) -> None:
    via = overlay.first.holds(rights.GRANT, "eu/home")
    signers = [overlay.first.signer, overlay.stranger.signer]
    body = Grant(rights=frozenset({rights.OWN})).body()
    with refused("R05"):
        judge(overlay, overlay.statement(signers, "grant", "eu/home/x", body, item=overlay.stranger.node_id, via=via, life=DAY))


@pytest.mark.parametrize("name", ["", "eu", "eu/office", "eu/home", "eu/home/members", "eu/home/first"])
def test_r06_a_right_ends_at_its_path(overlay: Overlay, name: str) -> None:
    with refused("R06"):
        judge(overlay, overlay.data(overlay.member, name, "TXT", "x", via=overlay.member.own))


@pytest.mark.parametrize("held", sorted(rights.KNOWN | {"release:kernel"}))
def test_r07_a_kind_takes_the_right_that_it_names(held: str) -> None:
    overlay = found()
    someone = overlay.stranger
    someone.name = path("eu/home/someone")
    via = overlay.root_grant(someone, "eu/home", {held})
    someone.grants.append(via)
    said = {
        "host": lambda: overlay.statement(someone, "host", someone.name or ROOT, {1: bytes(32)}, via=via),
        "data": lambda: overlay.data(someone, "eu/home/x", "TXT", "x", via=via),
        "carry": lambda: overlay.carry(someone, "eu/home/x", via=via),
        "head": lambda: overlay.head(someone, "eu/home", via=via),
        "invite": lambda: overlay.invite(someone, "eu/home", via=via),
    }
    takes = {"host": {"own"}, "data": {"own"}, "carry": {"own", "carry"}, "head": {"speak", "sign"}, "invite": {"grant"}}
    for kind, say in said.items():
        assert KINDS[kind].needs == takes[kind]
        if held in takes[kind]:
            judge(overlay, say())
        else:
            with refused("R07"):
                judge(overlay, say())


def test_r08_four_grants_lead_to_the_root_keys_and_not_five() -> None:
    overlay = found()
    issuer, chain = overlay.founder, [overlay.founder.holds(rights.GRANT)]
    for depth in range(1, 5):
        heir = overlay.actor(f"heir {depth}")
        chain.insert(0, overlay.grant(issuer, heir, "eu", {rights.OWN, rights.GRANT}, via=chain[0]))
        record = overlay.data(heir, "eu", "TXT", "x", via=chain[0])
        if len(chain) <= limits.CHAIN:
            assert judge(overlay, chain[0]) == tuple(chain[1:])
            assert judge(overlay, record) == tuple(chain)
        else:
            for refusable in (chain[0], record):
                with refused("R08"):
                    judge(overlay, refusable)
        issuer = heir
    assert len(chain) == limits.CHAIN + 1


def test_r08_a_loop_of_grants_ends(overlay: Overlay) -> None:
    """No loop can be made (a digest cannot contain itself), and none could hold us: the chain is counted."""
    own = overlay.member.own
    record = overlay.data(overlay.member, "eu/home/member", "TXT", "x")
    looping = overlay.grant(overlay.member, overlay.member, "eu/home/member", {rights.OWN}, via=own)
    with pytest.raises((Malformed, Exception)) as caught:
        overlay.trust().judge(record, AT, lambda _: looping)
    assert getattr(caught.value, "rule", "") in ("R08", "R09", "R15")


@pytest.mark.parametrize("given", [{"operate"}, {"own", "operate"}, {"release:kernel"}, {"own", "release:kernel"}])
def test_r09_a_grant_that_widens_rights_is_refused(overlay: Overlay, given: set[str]) -> None:
    with refused("R09"):
        judge(overlay, overlay.grant(overlay.first, overlay.stranger, "eu/home/x", given))


def test_r09_an_owner_with_grant_passes_on_what_owning_implies(overlay: Overlay) -> None:
    judge(
        overlay,
        overlay.grant(overlay.founder, overlay.stranger, "eu", {rights.MEMBER, rights.CARRY, rights.SPEAK, rights.OWN, rights.GRANT}),
    )


def test_r09_implied_rights_do_not_widen_on_the_way(overlay: Overlay) -> None:
    """Holding `member` and `grant` implies neither `own` nor `sign`."""
    heir = overlay.actor("heir")
    via = overlay.grant(overlay.founder, heir, "eu", {rights.MEMBER, rights.GRANT})
    for given in ({rights.SIGN}, {rights.CARRY}, {rights.OWN, rights.CARRY}):
        with refused("R09"):
            judge(overlay, overlay.grant(heir, overlay.stranger, "eu/x", given, via=via))
    judge(overlay, overlay.grant(heir, overlay.stranger, "eu/x", {rights.MEMBER}, via=via))


def test_r09_who_does_not_hold_grant_grants_nothing(overlay: Overlay) -> None:
    for issuer, via in ((overlay.member, overlay.member.holds(rights.MEMBER, "eu/home")), (overlay.own_only, overlay.own_only.own)):
        for given in ({rights.MEMBER}, {rights.CARRY}, {rights.OWN, rights.CARRY}):
            with refused("R09"):
                judge(overlay, overlay.grant(issuer, overlay.stranger, via.name / "x", given, via=via))


def test_r10_a_grant_does_not_outlive_its_issuers(overlay: Overlay) -> None:
    via = overlay.first.holds(rights.GRANT, "eu/home")
    left = via.expires - AT
    judge(overlay, overlay.grant(overlay.first, overlay.stranger, "eu/home/x", {rights.OWN}, life=left, clip=False))
    with refused("R10"):
        judge(overlay, overlay.grant(overlay.first, overlay.stranger, "eu/home/x", {rights.OWN}, life=left + 1, clip=False))


def test_r11_a_chain_that_anybody_made_for_itself_is_refused(overlay: Overlay) -> None:
    mallory = overlay.stranger
    self_made = overlay.root_grant(mallory, ROOT, rights.FOUNDER, keys=[mallory.signer])
    with refused("R11"):
        judge(overlay, self_made)
    with refused("R11"):
        judge(overlay, overlay.data(mallory, "eu/home", "TXT", "mine", via=self_made))


@pytest.mark.parametrize(("signed_by", "counts"), [((0,), False), ((0, 1), True), ((1, 2), True), ((0, 1, 2), True)])
def test_r11_root_grants_take_the_threshold(signed_by: tuple[int, ...], counts: bool) -> None:
    overlay = found(keys=3, threshold=2)
    grant = overlay.root_grant(overlay.stranger, "eu", {rights.OWN}, keys=[overlay.keys[number] for number in signed_by])
    if counts:
        assert judge(overlay, grant) == ()
    else:
        with refused("R11"):
            judge(overlay, grant)


def test_r11_a_threshold_is_not_reached_with_strangers(overlay: Overlay) -> None:
    overlay = found(keys=3, threshold=2)
    with refused("R11"):
        judge(overlay, overlay.root_grant(overlay.stranger, "eu", {rights.OWN}, keys=[overlay.keys[0], overlay.stranger.signer]))


def test_r12_a_revoked_grant_entitles_to_nothing(overlay: Overlay) -> None:
    trust = overlay.trust()
    record = overlay.data(overlay.member, "eu/home/member", "TXT", "x")
    revocation = overlay.revoke(overlay.first, overlay.member.own)
    trust.judge(record, AT, overlay.lookup)
    trust.judge(revocation, AT, overlay.lookup)
    assert trust.adopt_revoke(revocation)
    with refused("R12"):
        trust.judge(record, AT, overlay.lookup)


@pytest.mark.parametrize("link", ["registrar", "cluster", "name"])
def test_r12_revoking_any_link_ends_all_below_it(overlay: Overlay, link: str) -> None:
    trust = overlay.trust()
    record = overlay.data(overlay.member, "eu/home/member", "TXT", "x")
    name, cluster, registrar = judge(overlay, record)
    trust.adopt_revoke(overlay.revoke(overlay.founder, {"name": name, "cluster": cluster, "registrar": registrar}[link]))
    for below in (record, name):
        with refused("R12"):
            trust.judge(below, AT, overlay.lookup)


def test_r13_a_lapsed_grant_keeps_old_names_and_makes_nothing_new() -> None:
    overlay = found()
    member = overlay.member
    lapse = member.own.expires
    old = overlay.data(member, "eu/home/member", "TXT", "old", at=lapse - 1)
    judge(overlay, old, lapse + 29 * DAY)
    judge(overlay, overlay.host(member, at=lapse + 10), lapse + 10)
    judge(overlay, overlay.carry(member, "eu/home/member", via=member.own, at=lapse + 10), lapse + 10)
    with refused("R13"):
        judge(overlay, overlay.data(member, "eu/home/member", "TXT", "new", at=lapse), lapse + 10)
    with refused("R13"):  # after 30 days nothing
        judge(overlay, overlay.host(member, at=lapse + limits.LAPSED), lapse + limits.LAPSED)


def test_r13_a_lapsed_issuer_makes_no_new_grants() -> None:
    overlay = found()
    first = overlay.join("first", "eu/home", rights.Joining.FIRST)
    via = first.holds(rights.GRANT, "eu/home")
    new = overlay.grant(first, overlay.stranger, "eu/home/x", {rights.OWN}, at=via.expires, life=DAY, clip=False)
    with pytest.raises(Exception) as caught:
        judge(overlay, new, via.expires + 10)
    assert getattr(caught.value, "rule", "") in ("R10", "R13")


def test_r14_nothing_is_older_than_the_grant_that_entitles_it(overlay: Overlay) -> None:
    judge(overlay, overlay.data(overlay.member, "eu/home/member", "TXT", "x", at=AT - limits.FUTURE))
    with refused("R14"):
        judge(overlay, overlay.data(overlay.member, "eu/home/member", "TXT", "x", at=AT - limits.FUTURE - 1))


def test_r15_a_member_takes_free_names_below_its_path(overlay: Overlay) -> None:
    for name in ("eu/home/www", "eu/home/a/b"):
        claim = overlay.claim(overlay.member, name)
        judge(overlay, claim)
        judge(overlay, overlay.data(overlay.member, name, "TXT", "x", via=claim))


def test_r15_a_member_takes_neither_the_path_nor_anything_for_others(overlay: Overlay) -> None:
    via = overlay.member.holds(rights.MEMBER, "eu/home")
    with refused("R15"):
        judge(overlay, overlay.grant(overlay.member, overlay.member, "eu/home", {rights.OWN}, via=via))
    with refused("R15"):
        judge(overlay, overlay.grant(overlay.member, overlay.stranger, "eu/home/x", {rights.OWN}, via=via))


def test_r15_a_member_that_may_also_grant_takes_names_too(overlay: Overlay) -> None:
    heir = overlay.actor("heir")
    via = overlay.grant(overlay.founder, heir, "eu", {rights.MEMBER, rights.GRANT})
    judge(overlay, overlay.grant(heir, heir, "eu/x", {rights.OWN}, via=via))
    with refused("R15"):
        judge(overlay, overlay.grant(heir, overlay.stranger, "eu/y", {rights.OWN}, via=via))


@pytest.mark.parametrize("who", ["founder", "first", "member"])
def test_r16_issuer_ancestor_and_subject_may_revoke(overlay: Overlay, who: str) -> None:
    grant = overlay.member.own
    judge(overlay, overlay.revoke(overlay.actor(who), grant))


@pytest.mark.parametrize("who", ["own-only", "stranger"])
def test_r16_others_may_not_revoke(overlay: Overlay, who: str) -> None:
    assert overlay.own_only
    with refused("R16"):
        judge(overlay, overlay.revoke(overlay.actor(who), overlay.member.own))


def test_r16_a_member_does_not_revoke_its_issuer(overlay: Overlay) -> None:
    with refused("R16"):
        judge(overlay, overlay.revoke(overlay.member, overlay.first.holds(rights.GRANT, "eu/home")))


def test_r16_the_root_keys_revoke_by_their_threshold() -> None:
    overlay = found(keys=3, threshold=2)
    registrar = overlay.founder.holds(rights.GRANT)
    judge(overlay, overlay.revoke(overlay.keys[:2], registrar))
    judge(overlay, overlay.revoke(overlay.keys[1:], overlay.member.own))
    with refused("R16"):
        judge(overlay, overlay.revoke(overlay.keys[:1], registrar))


def test_r16_a_revocation_names_the_path_and_outlives_its_grant(overlay: Overlay) -> None:
    grant = overlay.member.own
    with refused("R16"):
        judge(overlay, overlay.revoke(overlay.first, grant, name="eu/home"))
    with refused("R16"):
        judge(overlay, overlay.statement(overlay.first, "revoke", grant.name, {}, item=grant.digest, life=DAY))


def test_r16_a_revocation_of_an_unknown_grant_waits_for_it(overlay: Overlay) -> None:
    revocation = overlay.revoke(overlay.first, overlay.member.own)
    with pytest.raises(MissingGrant):
        overlay.trust().judge(revocation, AT, lambda _: None)


def test_r17_only_the_founding_record_founds(overlay: Overlay) -> None:
    other = found(ceremony="other ")
    judge_ = Trust(overlay.overlay_id)
    with refused("R17"):
        judge_.judge(other.root, AT, overlay.lookup)
    with refused("R17"):
        judge_.judge(overlay.next_root(keys=overlay.keys, threshold=1, signers=overlay.keys), AT, overlay.lookup)


def test_r17_a_new_root_version_takes_both_thresholds() -> None:
    overlay = found(keys=3, threshold=2)
    old, new = overlay.keys, [root_key(number) for number in (7, 8, 9)]
    for signers, counts in (
        (old[:2], False),
        (new[:2], False),
        ([*old[:1], *new[:2]], False),
        ([*old[:2], *new[:1]], False),
        ([*old[:2], *new[:2]], True),
    ):
        record = overlay.next_root(keys=new, threshold=2, signers=signers)
        if counts:
            judge(overlay, record)
        else:
            with refused("R17"):
                judge(overlay, record)


def test_r17_root_versions_follow_one_another(overlay: Overlay) -> None:
    trust = overlay.trust()
    second = overlay.next_root(keys=overlay.keys, threshold=1, signers=overlay.keys)
    for wrong in (
        overlay.next_root(keys=overlay.keys, threshold=1, signers=overlay.keys, version=3),
        overlay.next_root(keys=overlay.keys, threshold=1, signers=overlay.keys, names=seed("another")),
        overlay.next_root(keys=overlay.keys, threshold=1, signers=overlay.keys, version=1),
    ):
        with refused("R17"):
            trust.judge(wrong, AT, overlay.lookup)
    trust.judge(second, AT, overlay.lookup)
    assert trust.adopt_root(second) and not trust.adopt_root(second)
    assert trust.root is not None and trust.root.version == 2
    rival = overlay.next_root(keys=overlay.keys, threshold=1, signers=overlay.keys, admission="invite")
    with refused("R17"):  # a second version 2 is a fork
        trust.judge(rival, AT, overlay.lookup)
    assert trust.rivals == {2: rival}
    third = overlay.next_root(keys=overlay.keys, threshold=1, signers=overlay.keys, previous=second)
    trust.judge(third, AT, overlay.lookup)


def test_r17_what_is_no_root_version_at_all_is_no_rival_of_one() -> None:
    overlay = found(keys=3, threshold=2)
    trust = overlay.trust()
    trust.adopt_root(overlay.next_root(keys=overlay.keys, threshold=2, signers=overlay.keys[:2]))
    forged = overlay.next_root(keys=overlay.keys, threshold=2, signers=overlay.keys[:2], overlay_id=seed("another"), admission="invite")
    for wrong, rule in (
        (overlay.next_root(keys=overlay.keys, threshold=2, signers=overlay.keys[:1], admission="invite"), "R17"),
        (overlay.next_root(keys=overlay.keys, threshold=2, signers=overlay.keys[:2], names=seed("another")), "R17"),
        (forged, "R01"),
    ):
        with refused(rule):
            trust.judge(wrong, AT, overlay.lookup)
    assert trust.rivals == {}


def test_r17_grants_of_an_older_root_version_go_on(overlay: Overlay) -> None:
    trust = overlay.trust()
    new = [root_key(7)]
    second = overlay.next_root(keys=new, threshold=1, signers=[*overlay.keys, *new])
    trust.adopt_root(second)
    trust.judge(overlay.member.own, AT, overlay.lookup)


@pytest.mark.parametrize("name", ["clusters", "download", "id", "whoami", "ns1", "ns42", "_dom/org/example", "download/x", "id/a"])
def test_r18_reserved_labels_are_granted_to_nobody(overlay: Overlay, name: str) -> None:
    with refused("R18"):
        judge(overlay, overlay.grant(overlay.founder, overlay.stranger, name, {rights.OWN}))
    judge(overlay, overlay.grant(overlay.founder, overlay.stranger, f"eu/{name}", {rights.OWN}))  # only below the root


def test_r20_of_two_claims_the_earlier_holds_the_name(overlay: Overlay) -> None:
    second = overlay.join("second", "eu/home", rights.Joining.INVITED, by=overlay.first)
    early = overlay.claim(overlay.member, "eu/home/www", at=AT)
    late = overlay.claim(second, "eu/home/www", at=AT + 1)
    for order in ([early, late], [late, early]):
        held = holders(order, overlay.lookup)
        assert held[path("eu/home/www")] == early
        assert outranked(late, held, overlay.lookup(late.via)) and not outranked(early, held, overlay.lookup(early.via))


def test_r20_at_the_same_second_the_lower_digest_holds_it(overlay: Overlay) -> None:
    second = overlay.join("second", "eu/home", rights.Joining.INVITED, by=overlay.first)
    claims = [overlay.claim(who, "eu/home/www", at=AT) for who in (overlay.member, second)]
    assert holders(claims, overlay.lookup)[path("eu/home/www")] == min(claims, key=lambda claim: claim.digest)


def test_r20_a_member_takes_nothing_below_another_keys_name(overlay: Overlay) -> None:
    below = overlay.claim(overlay.member, "eu/home/own-only/www")
    held = holders([overlay.own_only.own, below], overlay.lookup)
    assert outranked(below, held, overlay.lookup(below.via))
    mine = overlay.claim(overlay.member, "eu/home/member/www")
    held = holders([overlay.member.own, mine], overlay.lookup)
    assert not outranked(mine, held, overlay.lookup(mine.via))


def test_r20_renewing_a_claim_keeps_the_name(overlay: Overlay) -> None:
    second = overlay.join("second", "eu/home", rights.Joining.INVITED, by=overlay.first)
    claims = [overlay.claim(overlay.member, "eu/home/www", at=AT), overlay.claim(second, "eu/home/www", at=AT + 5)]
    claims.append(overlay.claim(overlay.member, "eu/home/www", at=AT + 10))
    assert holders(claims, overlay.lookup)[path("eu/home/www")].item == overlay.member.node_id


def test_grants_with_more_than_own_are_no_names(overlay: Overlay) -> None:
    assert holders(overlay.first.grants[1:], overlay.lookup) == {}


def test_a_signature_is_paid_for_once(overlay: Overlay) -> None:
    trust = overlay.trust()
    records = [overlay.data(overlay.member, "eu/home/member", "TXT", str(number)) for number in range(20)]
    before = trust.verified
    for _ in range(3):
        for record in records:
            trust.judge(record, AT, overlay.lookup)
    assert trust.verified - before == len(records) + 3  # and the three grants of the chain


def test_tombstones_need_the_right_as_well(overlay: Overlay) -> None:
    assert Data().body() == {}
    judge(overlay, overlay.data(overlay.member, "eu/home/member", "TXT"))
    with refused("R05"):
        judge(overlay, overlay.data(overlay.stranger, "eu/home/member", "TXT", via=overlay.member.own))


def test_an_invite_seed_is_no_identity(overlay: Overlay) -> None:
    invite = overlay.invite(overlay.first, "eu/home")
    assert invite.item == Signer.from_seed(seed("invite")).public
    with refused("R07"):
        judge(overlay, overlay.invite(overlay.member, "eu/home", via=overlay.member.holds(rights.MEMBER, "eu/home")))

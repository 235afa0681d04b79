"""The attacker's view: each test is one attempt to gain rights or names, or to crash or stall a node by records."""

from __future__ import annotations

import pytest

from overlay import limits
from overlay.directory.book import Book
from overlay.errors import Malformed, TrustError
from overlay.identity.keys import Signer
from overlay.name import ROOT
from overlay.records import rights
from overlay.records.claims import holders, outranked, owners
from overlay.records.kinds import Grant
from overlay.records.record import DOMAIN, Record, parse
from overlay.records.trust import Grants, Trust, Verdict
from overlay.units import DAY
from overlay.wire.codec import encode
from tests.records.actors import AT, Overlay, found, path, refused, root_key, seed


@pytest.fixture
def overlay() -> Overlay:
    return found()


def cosigned(overlay: Overlay, record: Record, *signers: Signer) -> Record:
    """The same content (so the same digest) with signatures added by whoever likes to."""
    message = DOMAIN + overlay.overlay_id + record.content
    sigs = sorted([*map(list, record.sigs), *([s.public, s.sign(message)] for s in signers)])
    return parse(encode([record.content, sigs]))


def garnished(record: Record, *keys: bytes) -> Record:
    """The same content with signatures that nobody made."""
    return parse(encode([record.content, sorted([*map(list, record.sigs), *([key, bytes(64)] for key in keys)])]))


def test_who_cosigns_a_root_grant_does_not_become_its_issuer(overlay: Overlay) -> None:
    """Else anybody could revoke the registrar: a revocation by "the issuer" of the same digest."""
    registrar = overlay.founder.holds(rights.GRANT)
    variant = cosigned(overlay, registrar, overlay.stranger.signer)
    assert variant.digest == registrar.digest
    with refused("R11"):
        overlay.trust().judge(variant, AT, overlay.lookup)
    with refused("R16"):
        overlay.trust().judge(overlay.revoke(overlay.stranger, registrar), AT, lambda _: variant)


def test_the_founding_record_has_no_variants_with_other_signatures(overlay: Overlay) -> None:
    """Else one could fill every book with copies of a known digest, each under another signer, none signed."""
    trust = overlay.trust()
    for variant in (garnished(overlay.root, seed("junk")), parse(encode([overlay.root.content, [[seed("junk"), bytes(64)]]]))):
        assert variant.digest == overlay.root.digest
        with refused("R17"):
            trust.judge(variant, AT, overlay.lookup)


def test_strangers_do_not_make_us_verify_their_signatures_on_root_grants(overlay: Overlay) -> None:
    trust = overlay.trust()
    before = trust.verified
    junk = overlay.root_grant(overlay.stranger, "eu", {rights.OWN}, keys=[Signer.from_seed(seed(f"junk {n}")) for n in range(7)])
    with refused("R11"):
        trust.judge(junk, AT, overlay.lookup)
    assert trust.verified == before


def test_stripping_signatures_below_the_threshold_is_refused() -> None:
    overlay = found(keys=3, threshold=2)
    grant = overlay.root_grant(overlay.stranger, "eu", {rights.OWN}, keys=overlay.keys)
    trust = overlay.trust()
    trust.judge(grant, AT, overlay.lookup)
    trust.judge(parse(encode([grant.content, [list(sig) for sig in grant.sigs[:2]]])), AT, overlay.lookup)
    with refused("R11"):
        trust.judge(parse(encode([grant.content, [list(sig) for sig in grant.sigs[:1]]])), AT, overlay.lookup)


def test_one_root_key_signing_twice_is_one_signature() -> None:
    overlay = found(keys=3, threshold=2)
    grant = overlay.root_grant(overlay.stranger, "eu", {rights.OWN}, keys=overlay.keys[:1])
    with refused("record-signature", Malformed):
        parse(encode([grant.content, [list(grant.sigs[0])] * 2]))


def test_keys_of_two_root_versions_do_not_add_up() -> None:
    overlay = found(keys=3, threshold=2)
    trust = overlay.trust()
    new = [root_key(number) for number in (7, 8, 9)]
    trust.adopt_root(overlay.next_root(keys=new, threshold=2, signers=[*overlay.keys[:2], *new[:2]]))
    with refused("R11"):
        trust.judge(overlay.root_grant(overlay.stranger, "eu", {rights.OWN}, keys=[overlay.keys[0], new[0]]), AT, overlay.lookup)


def test_root_keys_that_were_rotated_out_grant_nothing_new(overlay: Overlay) -> None:
    """Else there would be no remedy for a stolen root key."""
    trust = overlay.trust()
    new = [root_key(7)]
    old_grant = overlay.root_grant(overlay.stranger, "eu", {rights.OWN}, at=AT)
    overlay.at = AT + DAY
    trust.adopt_root(overlay.next_root(keys=new, threshold=1, signers=[*overlay.keys, *new]))
    trust.judge(old_grant, AT + DAY, overlay.lookup)
    with refused("R11"):
        trust.judge(overlay.root_grant(overlay.stranger, "eu", {rights.OWN}, at=AT + DAY + limits.FUTURE + 1), AT + 2 * DAY, overlay.lookup)


def test_root_keys_that_were_rotated_out_revoke_nothing(overlay: Overlay) -> None:
    trust = overlay.trust()
    new = [root_key(7)]
    trust.adopt_root(overlay.next_root(keys=new, threshold=1, signers=[*overlay.keys, *new]))
    with refused("R16"):
        trust.judge(overlay.revoke(overlay.keys, overlay.member.own), AT, overlay.lookup)
    trust.judge(overlay.revoke(new, overlay.member.own), AT, overlay.lookup)


def test_a_later_root_version_does_not_replace_an_earlier_one(overlay: Overlay) -> None:
    """Both are needed to prove the way from the founding record: their identities differ."""
    second = overlay.next_root(keys=overlay.keys, threshold=1, signers=overlay.keys)
    assert second.identity != overlay.root.identity


def test_a_revoked_node_cannot_show_its_own_grant_again(overlay: Overlay) -> None:
    trust = overlay.trust()
    trust.adopt_revoke(overlay.revoke(overlay.first, overlay.member.own))
    with refused("R12"):
        trust.judge(overlay.member.own, AT, overlay.lookup)


def test_backdating_does_not_take_a_name_that_a_registrar_gave(overlay: Overlay) -> None:
    """A member dates its claim before the newcomer's grant; the registrar's word stands above a member's."""
    member = overlay.member
    newcomer = overlay.join("newcomer", "eu/home", rights.Joining.OPEN_TAKEN, by=overlay.first)
    given = overlay.grant(overlay.first, newcomer, "eu/home/newcomer", {rights.OWN}, at=AT + DAY)
    claim = overlay.claim(member, "eu/home/newcomer", at=AT - limits.FUTURE)
    overlay.trust().judge(claim, AT + DAY, overlay.lookup)
    held = holders([given, claim], overlay.lookup)
    assert held[path("eu/home/newcomer")] == given
    assert outranked(claim, held, overlay.lookup(claim.via))


def test_the_tolerance_of_clocks_does_not_backdate_a_claim_before_its_right(overlay: Overlay) -> None:
    first_member = overlay.member
    second = overlay.actor("second")
    overlay.grant(overlay.first, second, "eu/home", rights.TABLE[rights.Joining.INVITED].rights, at=AT + 100)
    honest = overlay.claim(first_member, "eu/home/www", at=AT + 90)
    backdated = overlay.claim(second, "eu/home/www", at=AT + 100 - limits.FUTURE)
    overlay.trust().judge(backdated, AT + 100, overlay.lookup)
    assert holders([honest, backdated], overlay.lookup)[path("eu/home/www")] == honest


def test_a_member_above_takes_no_names_inside_a_cluster_that_others_own(overlay: Overlay) -> None:
    wide = overlay.actor("wide")
    overlay.grant(overlay.founder, wide, "eu", rights.TABLE[rights.Joining.INVITED].rights)
    owned = owners(overlay.first.grants)
    claim = overlay.claim(wide, "eu/home/www")
    assert outranked(claim, holders([claim], overlay.lookup), overlay.lookup(claim.via), owned)
    beside = overlay.claim(wide, "eu/office/www")
    assert not outranked(beside, holders([beside], overlay.lookup), overlay.lookup(beside.via), owned)


def test_a_lapsed_grant_cannot_be_stretched_by_granting_to_oneself(overlay: Overlay) -> None:
    first = overlay.first
    via = first.holds(rights.GRANT, "eu/home")
    with refused("R10"):
        overlay.trust().judge(
            overlay.grant(first, first, "eu/home", {rights.OWN, rights.GRANT}, life=366 * DAY, clip=False, at=AT + 1),
            AT + 1,
            overlay.lookup,
        )
    assert via.expires == AT + 365 * DAY


def test_junk_does_not_make_us_forget_what_was_verified(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VERDICTS", 8)
    trust = overlay.trust()
    good = overlay.data(overlay.member, "eu/home/member", "TXT", "x")
    trust.judge(good, AT, overlay.lookup)
    for number in range(20):
        junk = parse(
            encode([overlay.data(overlay.member, "eu/home/member", "TXT", str(number)).content, [[overlay.member.node_id, bytes(64)]]])
        )
        with refused("R01"):
            trust.judge(junk, AT, overlay.lookup)
    before = trust.verified
    trust.judge(good, AT, overlay.lookup)
    assert trust.verified == before


def test_remembered_verdicts_are_bounded(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VERDICTS_LATELY", 8)
    monkeypatch.setattr(limits, "VERDICTS", 5)
    trust = overlay.trust()
    for number in range(20):
        trust.judge(overlay.data(overlay.member, "eu/home/member", "TXT", str(number)), AT, overlay.lookup)
        trust.judge(overlay.grant(overlay.first, overlay.stranger, f"eu/home/n{number}", {"own"}), AT, overlay.lookup)
    assert len(trust._verdicts) <= 5 and len(trust._lately) <= 8
    assert trust.counters["verdicts_forgotten"] == trust.verified - len(trust._verdicts) - len(trust._lately)


def test_what_was_stored_is_vouched_for_once_and_pushes_nothing_out(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VERDICTS_LATELY", 8)
    trust = overlay.trust()
    stored = [overlay.data(overlay.member, "eu/home/member", "TXT", str(number)) for number in range(20)]
    for record in stored:
        trust.vouch(record)
    trust.judge(stored[0], AT, overlay.lookup)
    before = trust.verified
    for record in stored[1:]:
        trust.judge(record, AT, overlay.lookup)
    assert trust.verified == before and not trust._vouched


def test_a_revocation_with_strangers_signatures_is_refused(overlay: Overlay) -> None:
    revocation = overlay.revoke([overlay.first.signer, overlay.stranger.signer], overlay.member.own)
    with refused("R16"):
        overlay.trust().judge(revocation, AT, overlay.lookup)


def test_a_grant_that_someone_else_signs_with_the_same_words_is_not_the_grant(overlay: Overlay) -> None:
    """A digest is over content alone; a chain that leads through another signer's copy ends."""
    own = overlay.member.own
    copy = overlay.statement(
        overlay.stranger,
        "grant",
        own.name,
        own.body,
        item=own.item,
        via=overlay.first.holds(rights.GRANT, "eu/home"),
        seq=own.seq,
        life=own.expires - own.issued,
    )
    assert copy.digest == own.digest and copy != own
    with refused("R05"):
        overlay.trust().judge(copy, AT, overlay.lookup)
    with refused("R05"):
        overlay.trust().judge(
            overlay.data(overlay.member, "eu/home/member", "TXT", "x"), AT, lambda d: copy if d == own.digest else overlay.lookup(d)
        )
    overlay.records[own.digest] = own


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ({1: True, 2: 30}, "field-type"),
        ({1: ["a"], 2: True}, "field-type"),
        ({1: ["a"], 2: 2**64 - 1}, "field-range"),
        ({1: ["a"], 2: -1}, "field-range"),
        ({1: [1]}, "data-values"),
        ({1: ["a"], 3: 1}, "critical-field"),
        ({1: {1: "a"}}, "field-type"),
        ({0: 1}, "critical-field"),
    ],
)
def test_bodies_that_lie_about_types_are_malformed(overlay: Overlay, body: dict[int, object], rule: str) -> None:
    record = overlay.statement(overlay.member, "data", "eu/home/member", body, item=b"TXT", via=overlay.member.own)
    with refused(rule, Malformed):
        overlay.trust().judge(record, AT, overlay.lookup)


def test_true_is_no_root_version(overlay: Overlay) -> None:
    body = dict(overlay.root.body) | {1: True}
    with pytest.raises(Malformed):
        overlay.trust().judge(overlay.statement(overlay.keys, "root", ROOT, body, item=overlay.root.item, seq=1), AT, overlay.lookup)


def test_a_chain_of_lies_raises_nothing_but_the_two_errors(overlay: Overlay) -> None:
    """Whatever a chain is made of, judging ends in Malformed or TrustError."""
    odd = [
        overlay.root,
        overlay.host(overlay.member),
        overlay.binding(overlay.member),
        overlay.revoke(overlay.first, overlay.member.own),
        overlay.statement(overlay.stranger, "grant", "eu", {1: 7}, item=overlay.stranger.node_id, life=DAY),
        overlay.statement(overlay.stranger, "grant", "eu", Grant(rights=frozenset({"own"})).body(), item=b"short", life=DAY),
    ]
    record = overlay.data(overlay.member, "eu/home/member", "TXT", "x")
    for lie in odd:
        with pytest.raises((Malformed, TrustError)):
            overlay.trust().judge(record, AT, lambda _, lie=lie: lie)  # type: ignore[misc]


def test_revoking_a_claim_makes_nobody_judge_the_whole_book_again(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a member that takes and revokes names of its own stalls every node: seconds each, with a full book."""
    book = Book(overlay.trust())
    book.add(overlay.root, AT)
    member, claims = overlay.member, [overlay.claim(overlay.member, f"eu/home/name-{number}") for number in range(30)]
    data = [overlay.data(member, claim.name, "TXT", "x", via=claim) for claim in claims]
    for record in [*overlay.founder.grants, *overlay.first.grants, *member.grants, *data]:
        book.add(record, AT)
    judged: list[Record] = []
    judge = Trust.judge

    def counted(trust: Trust, record: Record, at: float, grants: Grants) -> Verdict:
        judged.append(record)
        return judge(trust, record, at, grants)

    monkeypatch.setattr(Trust, "judge", counted)
    book.add(overlay.revoke(member, claims[0]), AT)
    assert len(judged) <= 3  # the revocation, the claim, what was said under it
    assert data[0].identity not in book.records and data[1].identity in book.records

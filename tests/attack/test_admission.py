"""Attacks on the way in: lookalike tokens, tokens for more than their issuer has, liars at the door, floods of names (DESIGN 3.3)."""

from __future__ import annotations

import pytest

from overlay import limits
from overlay.admission.registrar import Asker, Registrar
from overlay.admission.request import GRANTED, LATER, REFUSED, TAKEN, WAITING, Reply, Request, read_request
from overlay.admission.waiting import neighbourhood, read_code
from overlay.errors import Absent, Malformed, UsageError
from overlay.identity.keys import Signer
from overlay.name import parse_path
from overlay.records import rights
from overlay.records.kinds import Invite
from overlay.records.record import Record
from overlay.records.rights import Joining
from overlay.statements import Statements
from overlay.units import DAY, HOUR
from tests.directory.books import book_of, directory_of
from tests.records.actors import AT, Actor, Overlay, actor, found, seed

ALICE, BOB = actor("alice"), actor("bob")
TOKEN = Signer.from_seed(seed("invite"))
PUBLIC = "8.8.{}.{}"  # addresses that count: whose they are does not matter, nothing is sent


def desk(overlay: Overlay, who: Actor, *more: Record) -> Registrar:
    """That actor's desk, with everything that was granted so far in its book."""
    book = book_of(overlay, *more)
    return Registrar(directory_of(book, who), Statements(identity=who.identity, overlay_id=overlay.overlay_id, book=book))


def ask(registrar: Registrar, who: Actor, name: str, *, token: bool = False, at: float = AT, host: str = "", session: bytes = bytes(32)) -> Reply:
    path = parse_path(name)
    request = Request(label=path.leaf, cluster=path.parent, node_id=who.node_id, exact=True, seed=TOKEN.public if token else b"")
    return registrar.ask(request, at, Asker(session_hash=session, host=host))[0]


def invited(overlay: Overlay, issuer: Actor, name: str, *redeemers: Actor, uses: int = 9) -> Record:
    """An invite with the item that everybody who saw the token's public half can write."""
    body = Invite(uses=uses, redeemers=tuple(who.node_id for who in redeemers)).body()
    return overlay.statement(issuer, "invite", name, body, item=TOKEN.public, via=issuer.holds(rights.GRANT, name), life=DAY)


# -- tokens


def test_a_lookalike_of_an_invite_does_not_stand_before_the_redeemers_own() -> None:
    overlay = found(admission="invite")
    mallory = overlay.join("mallory", "evil", Joining.INVITED_FIRST)
    own = invited(overlay, overlay.founder, "hq", overlay.founder)
    lookalike = invited(overlay, mallory, "evil", overlay.founder, mallory)
    for order in ((own, lookalike), (lookalike, own)):
        assert ask(desk(overlay, overlay.founder, *order), ALICE, "hq/alice", token=True).code == GRANTED


def test_a_redeemer_gives_no_more_than_the_issuer_may() -> None:
    """The founder could make its guest owner of a path; who named the founder as redeemer could not."""
    overlay = found(admission="invite")
    mallory = overlay.actor("mallory")
    overlay.grant(overlay.founder, mallory, "evil", {rights.GRANT, rights.OWN})
    overlay.grant(overlay.founder, mallory, "evil/x", {rights.GRANT, rights.OWN})
    registrar = desk(overlay, overlay.founder, invited(overlay, mallory, "evil/x", overlay.founder))
    reply = ask(registrar, ALICE, "evil/x/alice", token=True)  # taken by mallory: an invited member's rights, all implied by `own`
    assert reply.code == GRANTED
    poor = overlay.actor("poor")
    overlay.grant(overlay.founder, poor, "poor", {rights.GRANT, rights.MEMBER})
    registrar = desk(overlay, overlay.founder, invited(overlay, poor, "poor", overlay.founder))
    assert ask(registrar, BOB, "poor/bob", token=True).code == REFUSED


def test_a_token_of_an_issuer_whose_right_was_revoked_lets_nobody_in() -> None:
    overlay = found(admission="invite")
    first = overlay.first
    invite = invited(overlay, first, "eu/home", overlay.founder)
    registrar = desk(overlay, overlay.founder, invite)
    registrar.directory.publish(overlay.revoke(overlay.founder, first.holds(rights.GRANT, "eu/home")), AT)
    assert ask(registrar, ALICE, "eu/home/alice", token=True).code == REFUSED


def test_with_a_token_for_the_root_nobody_becomes_owner_above_others() -> None:
    overlay = found(admission="invite")
    assert overlay.first
    registrar = desk(overlay, overlay.founder, invited(overlay, overlay.founder, "", overlay.founder))
    reply = ask(registrar, ALICE, "eu/alice", token=True)
    assert reply.code == REFUSED and "above" in reply.what


# -- names


@pytest.mark.parametrize("label", ["*", "_sip", "a_b", "-a", "a-", "", "é", "a.b", "A", "x" * 64])
def test_a_node_is_named_like_a_host(label: str) -> None:
    request = Request(label=label, cluster=parse_path("eu/home"), node_id=ALICE.node_id)
    with pytest.raises(Malformed):
        read_request(request.body(ALICE.identity, bytes(32), None), bytes(32), redeem=False)


def test_a_name_above_what_others_hold_is_not_free() -> None:
    """Who owns a name speaks for all below it."""
    overlay = found()
    first = overlay.first
    overlay.grant(first, overlay.member, "eu/home/rack/web", {rights.OWN})
    assert ask(desk(overlay, first), ALICE, "eu/home/rack").code == TAKEN


def test_a_name_that_lapsed_is_kept_for_who_had_it() -> None:
    overlay = found()
    member = overlay.member
    later = member.own.expires + 10 * DAY
    assert ask(desk(overlay, overlay.first), ALICE, "eu/home/member", at=later).code == TAKEN
    again = ask(desk(overlay, overlay.first), member, "eu/home/member", at=later)
    assert again.code == GRANTED, "it is its own to take again"


def test_a_neighbourhood_gets_five_names_an_hour() -> None:
    overlay = found()
    registrar = desk(overlay, overlay.founder)
    for number in range(limits.NAMES_PER_PREFIX):
        assert ask(registrar, actor(f"n{number}"), f"c{number}/n", host=PUBLIC.format(8, number)).code == GRANTED
    assert ask(registrar, ALICE, "us/alice", host=PUBLIC.format(8, 200)).code == REFUSED
    assert registrar.counters["drop:enrol-rate"] == 1
    assert ask(registrar, actor("n0"), "c0/n", host=PUBLIC.format(8, 0)).code == GRANTED, "who asks again gets its answer again"
    assert ask(registrar, ALICE, "us/alice", host=PUBLIC.format(9, 1)).code == GRANTED, "another network has its own"
    assert ask(registrar, BOB, "us2/bob", host=PUBLIC.format(8, 9), at=AT + HOUR + 1).code == GRANTED, "an hour later"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "192.168.1.7", "10.1.2.3", "fe80::1%eth0", "fd00::1", "203.0.113.5", "::ffff:10.0.0.1", "junk"])
def test_home_networks_are_nobodys_neighbourhood(host: str) -> None:
    assert neighbourhood(host) is None


def test_neighbourhoods_are_24_and_48() -> None:
    assert neighbourhood("8.8.8.1") == neighbourhood("8.8.8.254") == neighbourhood("::ffff:8.8.8.9") == "8.8.8.0/24"
    assert neighbourhood("2a00:1450:4001:1::1") == neighbourhood("2a00:1450:4001:ffff::1") != neighbourhood("2a00:1450:4002::1")


# -- the waiting room


def test_strangers_do_not_fill_the_waiting_room_from_one_network() -> None:
    overlay = found(admission="invite")
    registrar = desk(overlay, overlay.founder)
    codes = [ask(registrar, actor(f"n{n}"), "x/n", host=PUBLIC.format(8, n), session=seed(f"s{n}")).code for n in range(8)]
    assert codes == [WAITING] * limits.WAITING_PER_PREFIX + [LATER] * (8 - limits.WAITING_PER_PREFIX)
    assert ask(registrar, ALICE, "x/alice", host="192.168.1.4", session=seed("home")).code == WAITING
    assert registrar.counters["drop:waiting-full"] == 8 - limits.WAITING_PER_PREFIX


def test_the_waiting_room_has_an_end_and_is_empty_after_fifteen_minutes() -> None:
    overlay = found(admission="invite")
    registrar = desk(overlay, overlay.founder)
    codes = [ask(registrar, actor(f"n{n}"), "x/n", host="10.0.0.1", session=seed(f"s{n}")).code for n in range(limits.WAITING + 2)]
    assert codes.count(WAITING) == limits.WAITING and codes[-2:] == [LATER, LATER]
    assert len(registrar.room.listed(AT + limits.WAITING_TIME - 1)) == limits.WAITING
    assert registrar.room.listed(AT + limits.WAITING_TIME) == []


def test_a_code_admits_the_key_that_showed_it_and_nobody_else() -> None:
    overlay = found(admission="invite")
    registrar = desk(overlay, overlay.founder)
    code = ask(registrar, ALICE, "eu/home/alice", session=seed("alice's session")).what
    ask(registrar, BOB, "eu/home/bob", session=seed("bob's session"))
    assert registrar.admit(code, AT) == parse_path("eu/home/alice")
    assert ask(registrar, ALICE, "eu/home/alice").code == GRANTED
    assert ask(registrar, BOB, "eu/home/bob").code == WAITING
    with pytest.raises(Absent):
        registrar.admit(code, AT)


def test_codes_are_read_as_people_write_them() -> None:
    assert read_code("abcd efgh") == read_code("ABCD-EFGH") == read_code(" abcdefgh ") == "ABCD-EFGH"
    for junk in ("", "ABCD", "ABCD-EFG1", "ABCD-EFGHI", "ÄBCD-EFGH"):
        with pytest.raises(UsageError):
            read_code(junk)


def test_who_may_not_admit_sends_to_who_may() -> None:
    overlay = found(admission="invite")
    reply = ask(desk(overlay, overlay.member, overlay.cluster(overlay.founder)), ALICE, "us/alice")
    assert [key for key, _ in reply.elsewhere] == [overlay.founder.identity.exchange_public]


# -- a full book


@pytest.mark.parametrize("bound", ["BOOK", "PER_SIGNER"])
def test_a_full_book_refuses_newcomers_in_words_and_spends_no_use(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay = found(admission="invite")
    first = overlay.first
    registrar = desk(overlay, first, invited(overlay, first, "eu/home", first))
    monkeypatch.setattr(limits, bound, 1)
    reply = ask(registrar, ALICE, "eu/home/alice", token=True)
    assert reply.code == REFUSED and reply.what and reply.todo
    assert registrar.uses.get(TOKEN.public, 0) == 0


def test_a_full_book_takes_revocations(monkeypatch: pytest.MonkeyPatch) -> None:
    overlay = found()
    member = overlay.member
    book = book_of(overlay, overlay.data(member, "eu/home/member", "TXT", "x"))
    monkeypatch.setattr(limits, "BOOK", 1)
    book.add(overlay.revoke(overlay.first, member.own), AT)
    assert not [r for r in book.records.values() if r.kind == "data"]


# -- a registrar lives as long as its overlay


def test_a_registrar_of_the_whole_overlay_is_not_bound_as_members_are(monkeypatch: pytest.MonkeyPatch) -> None:
    overlay = found()
    registrar = desk(overlay, overlay.founder)
    monkeypatch.setattr(limits, "PER_SIGNER", 6)
    for number in range(8):
        assert ask(registrar, actor(f"n{number}"), f"c{number}/n").code == GRANTED
    first = desk(overlay, overlay.first)
    assert {ask(first, actor(f"m{number}"), f"eu/home/m{number}").code for number in range(8)} == {GRANTED, REFUSED}

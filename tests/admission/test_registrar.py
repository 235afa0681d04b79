"""The registrar's desk: who gets what, what is free, what is durable before it is given (DESIGN 3.2, 3.3)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from overlay.admission.registrar import SETTLING, SUFFIXES, USES, Registrar
from overlay.admission.request import ELSEWHERE, GRANTED, LATER, REFUSED, TAKEN, WAITING, Reply, Request
from overlay.errors import TrustError, UsageError
from overlay.identity.keys import Signer
from overlay.machine import Store
from overlay.name import parse_path
from overlay.records import rights
from overlay.records.kinds import Invite
from overlay.records.record import Record
from overlay.records.rights import Joining
from overlay.statements import Statements
from overlay.units import DAY
from tests.directory.books import book_of, directory_of
from tests.records.actors import AT, Actor, Overlay, actor, found, seed

ALICE, BOB = actor("alice"), actor("bob")
TOKEN = Signer.from_seed(seed("invite"))


def desk(overlay: Overlay, who: Actor, *more: Record, uses: dict[bytes, int] | None = None) -> Registrar:
    """That actor's desk, with everything that was granted so far in its book."""
    book = book_of(overlay, *more)
    statements = Statements(identity=who.identity, overlay_id=overlay.overlay_id, book=book)
    return Registrar(directory_of(book, who), statements, dict(uses or {}))


def ask(registrar: Registrar, who: Actor, name: str, *, exact: bool = True, token: bool = False, at: float = AT) -> tuple[Reply, list[Store]]:
    """Somebody asks."""
    path = parse_path(name)
    request = Request(label=path.leaf, cluster=path.parent, node_id=who.node_id, exact=exact, seed=TOKEN.public if token else b"")
    return registrar.ask(request, at)


def given(reply: Reply, who: Actor) -> dict[str, set[str]]:
    """Path -> rights, of what the answer gives to that actor."""
    return {str(r.name): set(r.body[1]) for r in reply.records if r.kind == "grant" and r.item == who.node_id}


def held(records: Iterable[Record], who: Actor, overlay: Overlay, at: float = AT) -> bool:
    """Whether all of these are judged good by a stranger who knows the root alone."""
    trust = overlay.trust()
    lookup = {record.digest: record for record in records}
    return all(trust.judge(record, at, lookup.get) for record in records)


def test_openly_a_free_path_makes_its_first_node_owner_and_the_answer_carries_its_proof() -> None:
    overlay = found()
    reply, stores = ask(desk(overlay, overlay.founder), ALICE, "eu/home/alice")
    assert reply.code == GRANTED and not stores
    assert given(reply, ALICE) == {"eu/home/alice": {"own"}, "eu/home": {"own", "grant", "sign", "speak", "attest"}}
    assert reply.records[0].name == parse_path("eu/home/alice"), "the name grant comes first"
    assert held(reply.records, ALICE, overlay)


def test_openly_a_taken_path_sends_to_its_gateway() -> None:
    overlay = found()
    first = overlay.first
    reply, _ = ask(desk(overlay, overlay.founder, overlay.cluster(first)), ALICE, "eu/home/alice")
    assert reply.code == ELSEWHERE
    assert [key for key, _ in reply.elsewhere] == [first.identity.exchange_public]


def test_the_gateway_gives_an_own_name_and_nothing_else() -> None:
    overlay = found()
    reply, _ = ask(desk(overlay, overlay.first), ALICE, "eu/home/alice")
    assert given(reply, ALICE) == {"eu/home/alice": {"own"}}
    assert reply.records[0].signer == overlay.first.node_id
    assert held(reply.records, ALICE, overlay)


def test_an_owner_that_is_new_and_not_listed_yet_is_waited_for_and_an_old_one_is_refused_with_words() -> None:
    overlay = found()
    assert overlay.first
    registrar = desk(overlay, overlay.founder)
    assert ask(registrar, ALICE, "eu/home/alice")[0].code == LATER
    reply, _ = ask(registrar, ALICE, "eu/home/alice", at=AT + SETTLING)
    assert reply.code == REFUSED and "taken" in reply.what and reply.todo


def test_asking_again_gives_the_same_and_signs_nothing() -> None:
    overlay = found()
    registrar = desk(overlay, overlay.founder)
    first, _ = ask(registrar, ALICE, "eu/home/alice")
    path = parse_path("eu/home/alice")
    held = len(registrar.directory.book)
    again, stores = registrar.ask(Request(label=path.leaf, cluster=path.parent, node_id=ALICE.node_id), AT + 5)
    assert given(again, ALICE) == given(first, ALICE) and (len(registrar.directory.book), stores) == (held, [])
    assert {r.raw for r in again.records} == {r.raw for r in first.records}


def test_a_taken_name_is_refused_with_the_next_free_one_or_numbered() -> None:
    overlay = found()
    registrar = desk(overlay, overlay.first)
    assert ask(registrar, ALICE, "eu/home/web")[0].code == GRANTED
    exact, _ = ask(registrar, BOB, "eu/home/web")
    assert exact.code == TAKEN and "web-2" in exact.todo
    assert "eu/home/web-2" in given(ask(registrar, BOB, "eu/home/web", exact=False)[0], BOB)


def test_numbers_keep_a_long_label_within_63_octets_and_end() -> None:
    overlay = found()
    registrar = desk(overlay, overlay.first)
    label = "x" * 63
    for number in range(SUFFIXES):
        assert ask(registrar, actor(f"node {number}"), f"eu/home/{label}", exact=False)[0].code == GRANTED
    reply, _ = ask(registrar, BOB, f"eu/home/{label}", exact=False)
    assert reply.code == REFUSED and reply.todo


@pytest.mark.parametrize("name", ["eu/home/motd", "eu/home/www"])
def test_a_name_under_which_somebody_else_says_something_is_not_free(name: str) -> None:
    overlay = found()
    first = overlay.first
    own = first.holds(rights.OWN, "eu/home")
    more = (overlay.data(first, "eu/home/motd", "TXT", "x"), overlay.carry(first, "eu/home/www", via=own))
    assert ask(desk(overlay, first, *more), ALICE, name)[0].code == TAKEN


def test_a_cluster_is_no_free_name() -> None:
    overlay = found()
    overlay.join("deep", "eu/home/rack", Joining.INVITED_FIRST, by=overlay.first)
    assert ask(desk(overlay, overlay.first), ALICE, "eu/home/rack")[0].code == TAKEN


@pytest.mark.parametrize("name", ["clusters/x", "id/a/b", "ns1/x", "_dom/org/example", "download/x"])
def test_reserved_names_are_refused(name: str) -> None:
    overlay = found()
    reply, _ = ask(desk(overlay, overlay.founder), ALICE, name)
    assert reply.code in (REFUSED, TAKEN) and not reply.records


def test_a_node_needs_a_cluster() -> None:
    overlay = found()
    assert ask(desk(overlay, overlay.founder), ALICE, "alice")[0].code == REFUSED


def test_openly_nobody_becomes_owner_above_others() -> None:
    overlay = found()
    assert overlay.first
    reply, _ = ask(desk(overlay, overlay.founder), ALICE, "eu/alice")
    assert reply.code == REFUSED and "above" in reply.what


def test_a_cluster_that_lost_its_owner_gets_one_by_a_persons_word_and_not_openly() -> None:
    """Its members stay; who comes with a token becomes its owner, as the first of a new path would."""
    overlay = found()
    assert overlay.first and overlay.join("kept", "eu/home", Joining.INVITED)
    ended = [overlay.revoke(overlay.founder, grant) for grant in overlay.first.grants if str(grant.name) == "eu/home"]
    told = overlay.statement(
        overlay.founder, "invite", "eu/home", Invite(uses=1, redeemers=(overlay.founder.node_id,)).body(), item=TOKEN.public,
        via=overlay.founder.holds(rights.GRANT), life=DAY,
    )  # fmt: skip
    refused, _ = ask(desk(overlay, overlay.founder, *ended, told), ALICE, "eu/home/alice")
    assert refused.code == REFUSED and "no owner" in refused.what
    reply, _ = ask(desk(overlay, overlay.founder, *ended, told), ALICE, "eu/home/alice", token=True)
    assert rights.OWN in given(reply, ALICE)["eu/home"]


def test_who_may_not_grant_says_so() -> None:
    overlay = found()
    for who in (overlay.member, overlay.own_only):
        reply, _ = ask(desk(overlay, who), ALICE, "us/office/alice")
        assert reply.code == REFUSED and not reply.records


# -- invites


def test_the_count_of_uses_is_among_what_is_stored_before_the_grant_is_given() -> None:
    overlay = found(admission="invite")
    registrar = desk(overlay, overlay.founder, overlay.invite(overlay.founder, "hq", uses=2))
    reply, stores = ask(registrar, ALICE, "hq/alice", token=True)
    assert given(reply, ALICE) == {"hq/alice": {"own"}, "hq": {"member", "carry", "speak"}}
    assert stores == [Store(USES, TOKEN.public, b"1")]
    assert ask(registrar, BOB, "hq/bob", token=True)[1] == [Store(USES, TOKEN.public, b"2")]
    reply, stores = ask(registrar, actor("carol"), "hq/carol", token=True)
    assert reply.code == REFUSED and "spent" in reply.what and not stores


def test_uses_given_before_a_restart_count() -> None:
    overlay = found(admission="invite")
    registrar = desk(overlay, overlay.founder, overlay.invite(overlay.founder, "hq"), uses={TOKEN.public: 1})
    assert "spent" in ask(registrar, ALICE, "hq/alice", token=True)[0].what


def test_who_redeemed_and_asks_again_spends_no_second_use() -> None:
    overlay = found(admission="invite")
    registrar = desk(overlay, overlay.founder, overlay.invite(overlay.founder, "hq"))
    first, _ = ask(registrar, ALICE, "hq/alice", token=True)
    again, stores = ask(registrar, ALICE, "hq/alice", token=True)
    assert given(again, ALICE) == given(first, ALICE) and not stores
    assert registrar.uses == {TOKEN.public: 1}


def test_who_redeemed_once_gets_no_second_name_from_a_spent_token() -> None:
    overlay = found(admission="invite")
    registrar = desk(overlay, overlay.founder, overlay.invite(overlay.founder, "hq"))
    ask(registrar, ALICE, "hq/alice", token=True)
    reply, stores = ask(registrar, ALICE, "hq/rack/other", token=True)
    assert reply.code == REFUSED and not stores, reply
    assert registrar.uses == {TOKEN.public: 1}


def test_a_token_is_redeemed_only_by_its_redeemer_before_its_date_and_in_its_path() -> None:
    overlay = found(admission="invite")
    first = overlay.first
    invite = overlay.invite(overlay.founder, "hq", life=60)
    assert "redeem" in ask(desk(overlay, first, invite), ALICE, "hq/alice", token=True)[0].what
    registrar = desk(overlay, overlay.founder, invite)
    assert ask(registrar, ALICE, "us/office/alice", token=True)[0].code == REFUSED
    assert "expired" in ask(registrar, ALICE, "hq/alice", token=True, at=AT + 60)[0].what
    assert ask(desk(overlay, overlay.founder), ALICE, "hq/alice", token=True)[0].code == REFUSED, "an unknown token"


def test_without_a_token_one_waits_for_a_person() -> None:
    overlay = found(admission="invite")
    reply, _ = ask(desk(overlay, overlay.founder), ALICE, "us/office/alice")
    assert (reply.code, reply.records) == (WAITING, ())


def test_an_invite_is_issued_for_what_one_may_grant_only() -> None:
    overlay = found(admission="invite")
    registrar = desk(overlay, overlay.first)
    assert registrar.issue(None, 1, DAY, TOKEN.public, AT).name == parse_path("eu/home")
    with pytest.raises(TrustError):
        registrar.issue(parse_path("us/office"), 1, DAY, TOKEN.public, AT)
    with pytest.raises(TrustError):
        desk(overlay, overlay.own_only).issue(None, 1, DAY, TOKEN.public, AT)
    with pytest.raises(UsageError):
        desk(overlay, overlay.founder).issue(parse_path("clusters"), 1, DAY, TOKEN.public, AT)

"""Liars at the door: a newcomer gets in though members that it asks say no, later, elsewhere, or give what does not hold (DESIGN 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from overlay.admission.request import ELSEWHERE, GRANTED, LATER, REFUSED, TAKEN, WAITING, Reply, Request
from overlay.errors import TrustError
from overlay.lab.world import Host, World, name_of, refusal_of
from overlay.name import parse_path
from overlay.newcomer import ASTRAY, LATERS, NOES, PATIENCE, POINTERS, Asked, Granted, Newcomer, Others, Pointed, Question, Refused, take_grants
from overlay.peers import Peer
from overlay.records import passport, rights
from overlay.session.events import Called
from overlay.welcoming import Welcome, Welcoming
from overlay.wire.address import Address, Way
from overlay.wire.codec import Value
from tests.directory.books import book_of
from tests.lab.scenes import enter, node
from tests.records.actors import AT, Actor, Overlay, actor, found, refused, seed

ALICE = actor("alice")
NOWHERE = Address("198.51.100.9", 7653)


def peer(session: int, who: Actor, overlay: Overlay) -> Peer:
    """A session with a good passport at the other end."""
    raws = overlay.passport(who)
    good = passport.check(raws, who.identity.exchange_public, AT, overlay.trust())
    way = Way("udp", Address("203.0.113.9", 7653), "203.0.113.1")
    return Peer(
        session=session, exchange=who.identity.exchange_public, way=way, initiator=True, since=AT, passport_digest=good.digest, boot_nonce=bytes(8),
        seen=None, handshake_hash=seed(f"session {session}"), passport=good,
    )


def reply(code: str, *keys: bytes) -> Value:
    return Reply(code=code, what="go away", elsewhere=tuple((key, (NOWHERE,)) for key in keys)).body()


NO = reply(REFUSED)
LIES = {
    "no": NO, "taken": reply(TAKEN), "what does not read": ["elsewhere"], "an unknown word": reply("maybe"), "a pointer to nobody": reply(ELSEWHERE),
}


def newcomer() -> Newcomer:
    request = Request(label="alice", cluster=parse_path("eu/home"), node_id=ALICE.node_id, exact=True)
    return Newcomer(ALICE.identity, request)


def kinds(alice: Newcomer) -> list[type]:
    return [type(event) for event in alice.take()]


def asked(alice: Newcomer) -> list[int]:
    return [event.session for event in alice.take() if isinstance(event, Question)]


def gets_in(alice: Newcomer, overlay: Overlay, session: int, now: float) -> None:
    """An honest member gives what was asked for."""
    alice.known(peer(session, overlay.first, overlay))
    assert asked(alice) == [session]
    grants = Reply(code=GRANTED, records=(overlay.grant(overlay.first, ALICE, "eu/home/alice", {rights.OWN}),))
    alice.answered(session, grants.body(), now)
    assert kinds(alice) == [Granted]


@pytest.mark.parametrize("lie", LIES)
def test_one_liar_keeps_nobody_out(lie: str) -> None:
    overlay = found()
    alice = newcomer()
    alice.known(peer(1, overlay.member, overlay))
    assert kinds(alice) == [Question]
    alice.answered(1, LIES[lie], 10.0)
    assert kinds(alice) == [Others], "a second node is looked for before the person is told"
    gets_in(alice, overlay, 2, 10.5)


def test_grants_that_do_not_hold_are_one_nodes_no() -> None:
    overlay = found()
    alice = newcomer()
    alice.known(peer(1, overlay.member, overlay))
    alice.take()
    alice.answered(1, reply(GRANTED), 10.0)
    assert kinds(alice) == [Granted]
    alice.disbelieved(TrustError("not what we asked for", ""), 10.0)
    assert kinds(alice) == [Others]
    gets_in(alice, overlay, 2, 10.5)


def test_three_who_say_no_are_believed_and_so_is_one_when_nobody_else_is_there() -> None:
    overlay = found()
    alice = newcomer()
    for session, who in enumerate((overlay.member, overlay.first, overlay.founder), 1):
        alice.known(peer(session, who, overlay))
    for session in range(1, NOES):
        alice.answered(session, NO, 10.0)
        assert kinds(alice)[-1] is Question
    alice.answered(NOES, NO, 10.1)
    assert kinds(alice) == [Refused]
    alone = newcomer()
    alone.known(peer(1, overlay.member, overlay))
    alone.answered(1, NO, 10.0)
    alone.take()
    due = alone.wake_at()
    assert due is not None and due < 13
    alone.wake(due)
    assert kinds(alone) == [Refused]


def test_what_the_first_said_is_told() -> None:
    overlay = found()
    alice = newcomer()
    alice.known(peer(1, overlay.member, overlay))
    alice.answered(1, Reply(code=TAKEN, what="the name is taken").body(), 10.0)
    alice.known(peer(2, overlay.first, overlay))
    alice.answered(2, NO, 10.0)
    alice.take()
    alice.wake(12.0)
    (refusal,) = alice.take()
    assert isinstance(refusal, Refused) and refusal.error.what == "the name is taken"


def test_where_the_token_names_its_one_redeemer_its_no_counts_at_once() -> None:
    overlay = found()
    alice = replace(newcomer(), redeemers=frozenset({overlay.first.node_id}))
    alice.known(peer(1, overlay.member, overlay))
    assert alice.take() == []
    alice.known(peer(2, overlay.first, overlay))
    alice.answered(2, NO, 10.0)
    assert kinds(alice) == [Question, Refused]


@pytest.mark.parametrize("code", [LATER, WAITING])
def test_who_puts_a_newcomer_off_again_and_again_has_others_asked(code: str) -> None:
    overlay = found()
    alice = newcomer()
    alice.known(peer(1, overlay.member, overlay))
    now, events = 10.0, alice.take()
    for _ in range(PATIENCE + 1):
        alice.answered(1, reply(code), now)
        now = alice.wake_at() or 0.0
        alice.wake(now)
        events += alice.take()
    assert [type(event) for event in events].count(Others) == 1
    assert len([event for event in events if isinstance(event, Asked)]) == (code == WAITING), "a code is shown once"
    alice.known(peer(2, overlay.first, overlay))
    assert asked(alice) == [], "one question at a time: two answers would be two names"
    alice.answered(1, reply(code), now)
    assert asked(alice) == [2]


def test_who_says_later_for_ever_says_no() -> None:
    overlay = found()
    alice = newcomer()
    alice.known(peer(1, overlay.member, overlay))
    now = 10.0
    for _ in range(LATERS + 1):
        alice.answered(1, reply(LATER), now)
        now = alice.wake_at() or 0.0
        alice.wake(now)
    assert kinds(alice)[-1] is Refused


def test_who_does_not_answer_has_others_looked_for() -> None:
    overlay = found()
    alice = newcomer()
    alice.known(peer(1, overlay.member, overlay))
    alice.take()
    alice.failed(1)
    assert kinds(alice) == [Others]
    gets_in(alice, overlay, 2, 20.5)


def test_while_an_answer_is_awaited_no_refusal_is_due() -> None:
    """Else time would stand still until the answer came."""
    overlay = found()
    alice = newcomer()
    alice.known(peer(1, overlay.member, overlay))
    alice.answered(1, NO, 10.0)
    alice.known(peer(2, overlay.first, overlay))
    alice.take()
    assert alice.wake_at() is None
    alice.failed(2)
    assert alice.wake_at() is not None


def test_a_pointer_to_nodes_that_are_away_is_followed_a_few_times_and_others_are_looked_for() -> None:
    overlay = found()
    alice = newcomer()
    alice.known(peer(1, overlay.member, overlay))
    now, events = 10.0, alice.take()
    for _ in range(ASTRAY + 1):
        alice.answered(1, reply(ELSEWHERE, seed("nobody"), seed("nobody either")), now)
        alice.unreachable(seed("nobody"), now)
        alice.unreachable(seed("nobody either"), now)
        now = alice.wake_at() or 0.0
        alice.wake(now)
        events += alice.take()
    told = [type(event) for event in events]
    assert told.count(Pointed) == 2 * (ASTRAY + 1) and told.count(Others) == 2 and told[-1] is Refused


def test_one_liars_pointers_use_up_nobody_elses() -> None:
    """A row of liars sends on from one to the next; an honest member's pointer is followed all the same."""
    overlay = found()
    alice = newcomer()
    row = [overlay.join(f"liar{number}", f"l{number}", rights.Joining.FIRST) for number in range(POINTERS + 1)]
    alice.known(peer(1, row[0], overlay))
    for session, after in enumerate(row[1:], 1):
        alice.answered(session, reply(ELSEWHERE, after.identity.exchange_public), 10.0)
        alice.known(peer(session + 1, after, overlay))
    alice.take()
    alice.answered(len(row), reply(ELSEWHERE, row[0].identity.exchange_public), 10.0)
    assert kinds(alice) == [Others], "the row is at its end: that is a no"
    alice.known(peer(50, overlay.member, overlay))
    alice.take()
    alice.answered(50, reply(ELSEWHERE, overlay.first.identity.exchange_public), 10.2)
    assert kinds(alice) == [Pointed]
    alice.wake(10.0 + 2)
    assert alice.take() == [], "who was named has time to answer"
    gets_in(alice, overlay, 51, 12.5)


@pytest.mark.parametrize("name", ["eu/home/other", "us/home/alice", "eu/home/alice-2"])
def test_a_grant_of_another_name_than_was_asked_for_is_not_taken(name: str) -> None:
    overlay = found()
    grant = overlay.grant(overlay.founder, ALICE, name, {rights.OWN})
    request = Request(label="alice", cluster=parse_path("eu/home"), node_id=ALICE.node_id, exact=True)
    with refused("R05", TrustError):
        take_grants(book_of(overlay), (grant,), request, AT)
    if name.endswith("-2"):
        assert take_grants(book_of(overlay), (grant,), replace(request, exact=False), AT) == grant



# -- between real nodes


@dataclass(slots=True)
class Lying(Welcoming):
    """A door that says the same to everybody."""

    say: Callable[[], Reply] = lambda: Reply(code=REFUSED)

    def ask(self, event: Called, peer: Peer, at: float) -> Welcome:
        return Welcome(reply=self.say())


def _bogus(host: Host, world: World) -> Reply:
    """A grant that the liar signs for itself: of no right."""
    one = node(host)
    own = one.book.grants_of(host.identity.node_id, world.at(host))
    return Reply(code=GRANTED, records=tuple(own))


def _nobody(host: Host, world: World) -> Reply:
    return Reply(code=ELSEWHERE, elsewhere=((seed("nobody"), (NOWHERE,)),))


DOORS: dict[str, Callable[[Host, World], Reply]] = {
    "no": lambda host, world: Reply(code=REFUSED, what="no"), "taken": lambda host, world: Reply(code=TAKEN, what="taken"),
    "later": lambda host, world: Reply(code=LATER), "a code to wait with": lambda host, world: Reply(code=WAITING, what="ABCD-EFGH"),
    "a pointer to nobody": _nobody, "its own grants": _bogus,
}


@pytest.mark.parametrize("door", DOORS)
def test_a_newcomer_whose_first_contact_lies_is_in_within_fifteen_seconds(door: str) -> None:
    world = World(3)
    world.found("hq/founder")
    world.run(1)
    liar, _ = enter(world, "eu/liar", "us/honest")
    real = node(liar).welcoming
    assert real is not None
    node(liar).welcoming = Lying(real.registrar, real.verifier, say=lambda: DOORS[door](liar, world))
    alice = world.join("dock/alice", through=liar)
    assert world.run_until(lambda: world.joined(alice), 15) is not None, refusal_of(alice)
    assert name_of(alice) == parse_path("dock/alice")

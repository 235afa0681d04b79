"""Peers: passports shown, checked, admitted, judged again (DESIGN 3.4; R19)."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.errors import Malformed
from overlay.peers import KNOWN, Admitted, AskPeer, Known, Peer, Peers, Reject
from overlay.records.passport import Passport, check
from overlay.records.trust import Trust
from overlay.wire.address import Address, Way
from overlay.wire.messages import Method
from tests.records.actors import AT, Actor, Overlay, actor, found, seed

WAY = Way("udp", Address("203.0.113.1", 7653))


@cache
def pages_of(overlay: Overlay, who: Actor) -> list[bytes]:
    """An actor's passport as it is fetched: bound once."""
    return overlay.passport(who)


def passport_of(overlay: Overlay, who: Actor) -> Passport:
    return check(pages_of(overlay, who), who.identity.exchange_public, AT, overlay.trust())


def peers_of(overlay: Overlay, who: Actor, trust: Trust | None = None, *, enrolled: bool = True) -> Peers:
    """That actor's peers; with its passport, where it is enrolled."""
    peers = Peers(trust=trust or overlay.trust(), node_id=who.node_id, boot_nonce=b"my boot.")
    if enrolled:
        peers.set_own(passport_of(overlay, who))
    return peers


def session(who: Actor, number: int = 1, *, passport: bytes = b"", boot: bytes = b"its boot") -> Peer:
    """A session with that actor, keyed."""
    return Peer(
        session=number, exchange=who.identity.exchange_public, way=WAY, initiator=True, since=AT, passport_digest=passport,
        boot_nonce=boot, seen=None, handshake_hash=seed("session"),
    )


def admit(overlay: Overlay, peers: Peers, who: Actor, number: int = 1) -> list[object]:
    """Let that actor's session through all steps."""
    passport = passport_of(overlay, who)
    peers.opened(session(who, number, passport=passport.digest), AT)
    peers.answered(number, Method.PASSPORT, pages_of(overlay, who), AT)
    peers.called(number, Method.ADMIT, {1: passport.digest}, AT)
    return list(peers.take())


def rejected(outputs: list[Any]) -> list[str]:
    return [output.reason for output in outputs if isinstance(output, Reject)]


def test_a_session_is_admitted_when_each_has_checked_the_other_and_not_before() -> None:
    overlay = found()
    first, founder = overlay.first, overlay.founder
    peers = peers_of(overlay, founder)
    passport = passport_of(overlay, first)
    peers.opened(session(first, passport=passport.digest), AT)
    assert [ask.method for ask in peers.take() if isinstance(ask, AskPeer)] == [Method.PASSPORT]
    peers.answered(1, Method.PASSPORT, pages_of(overlay, first), AT)
    outputs = peers.take()
    assert [type(output) for output in outputs] == [Known, AskPeer] and peers.admitted() == []
    peers.called(1, Method.ADMIT, {1: passport.digest}, AT)
    assert [type(output) for output in peers.take()] == [Admitted]
    assert peers.by_node(first.node_id) is peers.peers[1]


def test_a_passport_that_is_known_by_its_digest_is_not_fetched_again() -> None:
    overlay = found()
    first = overlay.first
    peers = peers_of(overlay, overlay.founder)
    admit(overlay, peers, first)
    peers.closed(1)
    peers.opened(session(first, 2, passport=passport_of(overlay, first).digest), AT)
    assert not [ask for ask in peers.take() if isinstance(ask, AskPeer) and ask.method is Method.PASSPORT]


def test_a_known_passport_is_of_no_use_to_another_key() -> None:
    overlay = found()
    peers = peers_of(overlay, overlay.founder)
    admit(overlay, peers, overlay.first)
    thief = session(actor("thief"), 2, passport=passport_of(overlay, overlay.first).digest)
    peers.opened(thief, AT)
    peers.answered(2, Method.PASSPORT, overlay.passport(overlay.first), AT)
    assert rejected(list(peers.take())) == ["R19"]
    assert peers.peers[2].passport is None


def test_a_newcomer_checks_whom_it_talks_to_and_is_not_admitted() -> None:
    overlay = found()
    newcomer = peers_of(overlay, actor("newcomer"), enrolled=False)
    outputs = admit(overlay, newcomer, overlay.founder)
    assert any(isinstance(output, Known) for output in outputs)
    assert newcomer.admitted() == [] and newcomer.called(1, Method.PASSPORT, {}, AT) == []
    newcomer.set_own(passport_of(overlay, overlay.first))
    assert [ask.method for ask in newcomer.take() if isinstance(ask, AskPeer)] == [Method.ADMIT]
    newcomer.called(1, Method.ADMIT, {1: passport_of(overlay, overlay.founder).digest}, AT)
    assert len(newcomer.admitted()) == 1


def test_a_node_of_another_overlay_is_rejected() -> None:
    overlay, other = found(), found(ceremony="other ")
    peers = peers_of(overlay, overlay.founder)
    peers.opened(session(other.founder, passport=seed("digest")), AT)
    peers.answered(1, Method.PASSPORT, other.passport(other.founder), AT)
    assert len(rejected(list(peers.take()))) == 1


def test_a_revoked_node_is_rejected_when_the_revocation_arrives_and_when_it_comes_again() -> None:
    overlay = found()
    trust = overlay.trust()
    peers = peers_of(overlay, overlay.founder, trust)
    admit(overlay, peers, overlay.member)
    trust.adopt_revoke(overlay.revoke(overlay.first, overlay.member.own))
    peers.judge_again(AT)
    assert rejected(list(peers.take())) == ["R12"]
    peers.closed(1)
    assert set(rejected(admit(overlay, peers, overlay.member, 2))) == {"R12"}, "known by digest, and judged anew"


def test_a_second_holder_of_ones_own_identity_is_rejected_and_counted() -> None:
    overlay = found()
    founder = overlay.founder
    peers = peers_of(overlay, founder)
    assert "twin" in rejected(admit(overlay, peers, founder))
    assert peers.counters["twins"] == 1


def test_who_does_not_answer_for_its_passport_is_rejected() -> None:
    overlay = found()
    peers = peers_of(overlay, overlay.founder)
    peers.opened(session(overlay.first, passport=seed("digest")), AT)
    peers.take()
    peers.failed(1, Method.PASSPORT)
    assert rejected(list(peers.take())) == ["no-answer"]


def test_a_new_passport_of_a_peer_is_looked_at_before_it_counts() -> None:
    overlay = found()
    first = overlay.first
    peers = peers_of(overlay, overlay.founder)
    admit(overlay, peers, first)
    peers.called(1, Method.ADMIT, {1: seed("another digest")}, AT)
    assert [ask.method for ask in peers.take() if isinstance(ask, AskPeer)] == [Method.PASSPORT]


def test_remembered_passports_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overlay.peers.KNOWN", 2)
    overlay = found()
    peers = peers_of(overlay, overlay.founder)
    for number, who in enumerate((overlay.first, overlay.member, overlay.own_only), 1):
        admit(overlay, peers, who, number)
    assert len(peers._known) <= 2 < KNOWN
    assert len(peers.admitted()) == 3


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(0, 2**60) | st.binary(max_size=40) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.integers(0, 4), inner, max_size=3), max_leaves=8,
)


@settings(max_examples=80)
@given(values | st.lists(st.binary(max_size=60), max_size=14))
def test_any_passport_that_is_none_ends_the_session_and_any_admit_is_malformed_or_taken(body: Any) -> None:
    overlay = OVERLAY
    peers = peers_of(overlay, overlay.founder)
    peers.opened(session(overlay.first, passport=seed("digest")), AT)
    peers.take()
    try:
        peers.called(1, Method.ADMIT, body, AT)
    except Malformed as why:
        assert why.rule
    peers.answered(1, Method.PASSPORT, body, AT)
    assert len(rejected(list(peers.take()))) == 1
    assert not peers.admitted()


OVERLAY = found()
OVERLAY.first  # noqa: B018  joined once for all examples


def test_who_lost_a_session_that_its_peer_still_has_is_told_that_it_is_admitted_already() -> None:
    """A peer slept, its clock stood: it goes on with the session that we gave up, and has no reason to admit us again."""
    overlay = found()
    awake, slept = overlay.founder, overlay.first
    ours, theirs = peers_of(overlay, awake), peers_of(overlay, slept)
    admit(overlay, theirs, awake)
    ours.opened(session(slept, passport=passport_of(overlay, slept).digest), AT)
    ours.answered(1, Method.PASSPORT, pages_of(overlay, slept), AT)
    ours.take()
    said = theirs.called(1, Method.ADMIT, {1: passport_of(overlay, awake).digest}, AT)
    ours.answered(1, Method.ADMIT, said, AT)
    assert [type(output) for output in ours.take()] == [Admitted]
    assert not theirs.take(), "and nobody goes on answering"


@pytest.mark.parametrize("said", [{}, [], None, {1: 1}, {1: False}, {2: True}])
def test_any_other_answer_to_an_admit_admits_nobody(said: Any) -> None:
    overlay = found()
    ours = peers_of(overlay, overlay.founder)
    ours.opened(session(overlay.first, passport=passport_of(overlay, overlay.first).digest), AT)
    ours.answered(1, Method.PASSPORT, pages_of(overlay, overlay.first), AT)
    ours.take()
    ours.answered(1, Method.ADMIT, said, AT)
    assert not ours.take()

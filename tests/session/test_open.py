"""How sessions come to be: one round trip, both directions at once, restarts, versions, early calls, TCP, dual stack."""

from __future__ import annotations

import pytest

from overlay import limits
from overlay.session import events
from overlay.session.handshakes import ADDRESSES, HTTP_AFTER, hello
from overlay.session.machine import Sessions
from overlay.wire.address import Address
from overlay.wire.messages import Method, Packet
from tests.session.wire_pair import OVERLAY, End, Wire, private


def test_a_session_opens_in_one_round_trip_and_both_ends_agree_on_its_hash() -> None:
    wire = Wire(delay=(0.05, 0.05))
    a, b = wire.end(1), wire.end(2)
    wire.dial(a, b)
    wire.run(0.1)
    assert len(a.of(events.Opened)) == 1
    wire.run(0.05)
    ours, theirs = a.of(events.Opened)[0], b.of(events.Opened)[0]
    assert ours.handshake_hash == theirs.handshake_hash
    assert (ours.initiator, theirs.initiator) == (True, False)
    assert (ours.peer_key, theirs.peer_key) == (b.key, a.key)
    assert (ours.passport_digest, theirs.passport_digest) == (bytes([2]) * 32, bytes([1]) * 32)
    assert ours.boot_nonce == bytes([2, 0]) * 4
    assert ours.seen == a.addresses[0]
    assert ours.way.remote == b.addresses[0]
    assert theirs.way.remote == a.addresses[0]


def test_no_answer_to_a_handshake_is_longer_than_what_asked_for_it() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2, early=lambda *_: b"x" * 900)
    wire.dial(a, b, early=(Method.PING, {}))
    wire.run(0.1)
    first = a.sent[0].data
    assert (first[0], len(first)) == (Packet.INITIATION, limits.DATAGRAM)
    assert all(len(send.data) <= len(first) for send in b.sent)


def test_dialling_again_while_a_session_is_open_or_being_dialled_does_nothing() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    wire.dial(a, b)
    wire.dial(a, b)
    wire.run(1)
    wire.dial(a, b)
    wire.run(1)
    assert (a.open_now(), b.open_now()) == (1, 1)
    assert sum(send.data[0] == Packet.INITIATION for send in a.sent) == 1


def test_a_dial_that_began_with_a_stale_address_learns_the_true_one_and_goes_on_there_at_once() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    stale = Address("198.51.100.99", 7653)
    a.sessions.dial(b.key, [stale], wire.now, wire.at())
    wire.settle(a)
    wire.run(0.1)
    assert not a.open_now()
    a.sessions.dial(b.key, [stale, *b.addresses], wire.now, wire.at())
    wire.settle(a)
    wire.run(0.1)
    assert (a.open_now(), b.open_now()) == (1, 1)


def test_a_dial_never_learns_more_addresses_than_a_dial_may_have() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    for number in range(50):
        a.sessions.dial(b.key, [Address(f"198.51.100.{number + 1}", 7653)], wire.now, wire.at())
    wire.settle(a)
    assert len({send.way.remote for send in a.sent}) == ADDRESSES


def test_nobody_there_is_told_after_ten_seconds_with_waits_that_double() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2, tcp=False)
    b.alive = False
    wire.dial(a, b)
    wire.run(9.9)
    assert not a.of(events.DialFailed)
    wire.run(0.2)
    assert a.of(events.DialFailed) == [events.DialFailed(b.key, "no-answer")]
    assert sum(send.data[0] == Packet.INITIATION for send in a.sent) == 6  # 0, 0.25, 0.75, 1.75, 3.75, 7.75 s
    assert a.sessions.wake_at() is None


def test_a_dial_without_any_address_fails_at_once() -> None:
    wire = Wire()
    a = wire.end(1)
    assert a.sessions.dial(b"k" * 32, [], 0.0, wire.at(), early=(Method.PING, {})) == 1
    wire.settle(a)
    assert a.events == [events.DialFailed(b"k" * 32, "no-address"), events.CallFailed(0, 1, "unreachable")]


def test_another_overlay_never_answers() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2, overlay_id=b"p" * 32)
    wire.dial(a, b, tcp=False)
    wire.run(11)
    assert a.of(events.DialFailed)
    assert not b.sent
    assert b.sessions.counters["drop:noise-tag"] == 6


@pytest.mark.parametrize("delay", [(0.01, 0.01), (0.01, 0.05), (0.2, 0.3)])
@pytest.mark.parametrize("seed", range(4))
def test_two_ends_that_dial_each_other_at_once_get_one_session_that_stays(seed: int, delay: tuple[float, float]) -> None:
    wire = Wire(seed, delay=delay)
    a, b = wire.end(1), wire.end(2)
    wire.dial(a, b, tcp=False)
    wire.run(wire.dice.uniform(0, 0.02))
    wire.dial(b, a, tcp=False)
    wire.run(120)
    for end in (a, b):
        assert len(end.of(events.Opened)) == 1
        assert not end.of(events.Closed)
        assert not end.of(events.DialFailed)
    call = wire.call(a, {1: 1})
    back = wire.call(b, {1: 2})
    wire.run(1)
    assert call in wire.answers(a)
    assert back in wire.answers(b)


def test_two_ends_that_dial_each_other_at_once_agree_on_the_hash() -> None:
    wire = Wire(delay=(0.02, 0.02))
    a, b = wire.end(1), wire.end(2)
    wire.dial(a, b)
    wire.dial(b, a)
    wire.run(1)
    assert a.of(events.Opened)[0].handshake_hash == b.of(events.Opened)[0].handshake_hash


@pytest.mark.parametrize("seed", range(5))
def test_ends_that_dial_each_other_at_once_over_a_lossy_wire_stay_connected(seed: int) -> None:
    wire = Wire(seed, loss=0.3, duplicate=0.1, delay=(0.01, 0.1))
    a, b = wire.end(1), wire.end(2)
    wire.dial(a, b, tcp=False)
    wire.dial(b, a, tcp=False)
    wire.run(30)
    tickets = [wire.call(a, {1: n}) for n in range(20)]
    wire.run(60)
    assert (a.open_now(), b.open_now()) == (1, 1)
    assert sum(ticket in wire.answers(a) for ticket in tickets) >= 18  # each is lost six times over with 1.7 %
    assert not a.of(events.Closed)


def test_a_restarted_end_replaces_its_old_session_and_works() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    wire.join(a, b)
    pending = wire.call(b, {})
    a = wire.end(1, boot=1)
    wire.dial(a, b)
    wire.run(1)
    assert [event.reason for event in b.of(events.Closed)] == ["restarted"]
    assert b.of(events.CallFailed)[0].ticket == pending
    assert len(b.of(events.Opened)) == 2
    one, other = wire.call(a, {1: 1}), wire.call(b, {1: 2})
    wire.run(1)
    assert one in wire.answers(a)
    assert other in wire.answers(b)


def test_an_end_whose_peer_restarted_dials_it_and_both_start_anew() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    wire.join(a, b)
    b = wire.end(2, boot=1)
    a.sessions.close(a.number, "again", wire.now)
    wire.settle(a)
    wire.dial(a, b)
    wire.run(1)
    ticket = wire.call(a, {1: 1})
    wire.run(1)
    assert ticket in wire.answers(a)


def test_a_session_closed_here_does_not_come_back_admitted_through_a_handshake_begun_before() -> None:
    wire = Wire(delay=(0.05, 0.05))
    a, b = wire.end(1), wire.end(2)
    wire.join(a, b)
    a.sessions.close(a.number, "again", wire.now)  # b's old session stands until it hears of it
    wire.drop = lambda end, send: send.data[0] == Packet.SEALED and end is a
    wire.settle(a)
    wire.dial(a, b)
    wire.run(0.06)  # b has answered the new handshake, unconfirmed
    b.sessions.close(b.number, "revoked", wire.now)
    wire.settle(b)
    wire.drop = lambda end, send: False
    wire.run(2)
    assert len(b.of(events.Opened)) == 2
    assert b.number != b.of(events.Opened)[0].session
    a.sessions.message(a.number, 1, {}, wire.now)
    wire.settle(a)
    wire.run(1)
    assert not b.of(events.Message)
    assert b.sessions.counters["drop:grade"] == 1


def test_a_lost_confirmation_is_repeated_before_the_responder_forgets() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    lost: list[int] = []

    def drop(end: End, send: object) -> bool:
        if end is a and a.sent[-1].data[0] == Packet.SEALED and len(lost) < 5:
            lost.append(1)
            return True
        return False

    wire.drop = drop
    wire.dial(a, b)
    wire.run(4)
    assert len(lost) == 5
    assert (a.open_now(), b.open_now()) == (1, 1)


def test_ends_without_a_common_version_tell_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    original = hello.offer

    def from_the_future(**fields: object) -> bytes:
        with monkeypatch.context() as patch:
            patch.setattr(hello, "VERSION_LOWEST", 7)
            patch.setattr(hello, "VERSION_HIGHEST", 9)
            return original(**fields)  # type: ignore[arg-type]

    monkeypatch.setattr(hello, "offer", from_the_future)
    ticket = wire.dial(a, b, early=(Method.PING, {}))
    wire.run(1)
    assert a.of(events.DialFailed) == [events.DialFailed(b.key, "version")]
    assert a.of(events.CallFailed) == [events.CallFailed(0, ticket, "version")]
    assert b.sessions.counters["drop:version"] == 1
    assert not b.of(events.Opened)


def test_a_replayed_first_message_displaces_nobody_and_opens_nothing() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    wire.join(a, b)
    first = a.sent[0].data
    assert wire.inject(b, first) == []
    assert b.sessions.counters["drop:replayed-initiation"] == 1
    b2 = wire.end(2, boot=1)  # it has forgotten the time stamps
    assert [send.data[0] for send in wire.inject(b2, first)] == [Packet.RESPONSE]
    wire.run(60)
    assert not b2.of(events.Opened)
    assert b2.sessions.counters["handshakes_unconfirmed"] == 0 or not b2.of(events.Opened)


def test_a_fresh_handshake_moves_nothing_until_its_first_sealed_packet() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    wire.join(a, b)
    twin = Sessions(exchange=private(1), overlay_id=OVERLAY, passport_digest=b"", boot_nonce=bytes([1, 9]) * 4, entropy=wire.dice.randbytes)
    twin.dial(b.key, b.addresses, wire.now, wire.at() + 5)
    initiation = next(output for output in twin.take() if hasattr(output, "data"))
    assert [send.data[0] for send in wire.inject(b, initiation.data)] == [Packet.RESPONSE]
    wire.run(1)
    ticket = wire.call(a, {1: 1})
    wire.run(1)
    assert ticket in wire.answers(a)
    assert not b.of(events.Closed)


# -- early calls


def test_an_early_call_is_answered_in_one_round_trip() -> None:
    wire = Wire(delay=(0.05, 0.05))
    asked: list[tuple[bytes, bytes, Method, object]] = []

    def early(peer: bytes, passport: bytes, method: Method, body: object) -> object:
        asked.append((peer, passport, method, body))
        return {1: 7}

    a, b = wire.end(1), wire.end(2, early=early)
    ticket = wire.dial(a, b, early=(Method.PING, {5: b"q"}))
    wire.run(0.11)
    assert asked == [(a.key, bytes([1]) * 32, Method.PING, {5: b"q"})]
    assert wire.answers(a) == {ticket: {1: 7}}
    assert [type(event) for event in a.events] == [events.Opened, events.Answered]
    wire.run(1)
    assert not b.of(events.Called)


@pytest.mark.parametrize("handler", [None, lambda *_: None, lambda *_: b"x" * 5_000])
def test_an_early_call_that_is_not_answered_early_is_made_in_the_session(handler: object) -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2, early=handler)
    ticket = wire.dial(a, b, early=(Method.PING, {1: 1}))
    wire.run(1)
    assert wire.answers(a) == {ticket: {1: 1}}
    assert len(b.of(events.Called)) == 1


def test_a_call_that_changes_things_never_rides_in_message_one() -> None:
    wire = Wire()
    asked: list[object] = []
    a, b = wire.end(1), wire.end(2, early=lambda *fields: asked.append(fields))
    wire.dial(a, b, early=(Method.ENROL, {1: 1}))
    wire.run(1)
    assert not asked
    assert [call.method for call in b.of(events.Called)] == [Method.ENROL]


def test_an_early_call_too_long_for_message_one_is_made_in_the_session_or_refused() -> None:
    wire = Wire()
    asked: list[object] = []
    a, b = wire.end(1), wire.end(2, early=lambda *fields: asked.append(fields))
    rides = wire.dial(a, b, early=(Method.PING, b"x" * 1_100))
    wire.run(1)
    assert rides in wire.answers(a)
    c = wire.end(3)
    ticket = wire.dial(c, b, early=(Method.PING, b"x" * 2_000))
    wire.run(1)
    assert c.of(events.CallFailed)[0] == events.CallFailed(c.number, ticket, "too-long")
    assert not asked


def test_an_early_call_of_a_failed_dial_fails_with_it() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2, tcp=False)
    b.alive = False
    first, second = wire.dial(a, b, early=(Method.PING, {})), wire.dial(a, b, early=(Method.PING, {}))
    wire.run(11)
    assert a.of(events.CallFailed) == [events.CallFailed(0, first, "no-answer"), events.CallFailed(0, second, "no-answer")]


# -- TCP and dual stack


def test_tcp_is_raced_after_300_ms_of_silence_and_wins_where_udp_is_blocked() -> None:
    wire = Wire()
    wire.udp_blocked = True
    a, b = wire.end(1), wire.end(2)
    ticket = wire.dial(a, b, early=(Method.PING, {1: 1}))
    wire.run(0.4)
    assert a.of(events.Opened)[0].way.proto == "tcp"
    assert b.of(events.Opened)[0].way.proto == "tcp"
    assert ticket in wire.answers(a)
    wire.run(100)
    assert a.open_now() == 1


def test_udp_alone_does_where_it_works_and_no_connection_is_left_over() -> None:
    wire = Wire(delay=(0.16, 0.16))  # the answer comes when TCP has just been begun
    a, b = wire.end(1), wire.end(2)
    wire.dial(a, b)
    wire.run(5)
    assert a.of(events.Opened)[0].way.proto == "udp"
    assert not wire._links


def test_a_broken_connection_ends_its_session() -> None:
    wire = Wire()
    wire.udp_blocked = True
    a, b = wire.end(1), wire.end(2)
    wire.join(a, b)
    wire.cut(a)
    wire.run(0.1)
    for end in (a, b):
        assert [event.reason for event in end.of(events.Closed)] == ["connection-closed"]


def test_refused_connections_without_udp_fail_as_soon_as_all_ways_around_were_tried() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2, tcp=False)
    wire.dial(a, b, udp=False)
    wire.run(HTTP_AFTER + 0.1)
    assert a.of(events.DialFailed) == [events.DialFailed(b.key, "refused")]


def test_ipv6_and_ipv4_are_raced_and_either_alone_suffices() -> None:
    for hosts in (("203.0.113.2", "2001:db8::2"), ("2001:db8::2",), ("203.0.113.2",)):
        wire = Wire()
        a, b = wire.end(1, "203.0.113.1", "2001:db8::1"), wire.end(2, *hosts)
        a.sessions.dial(b.key, [Address("203.0.113.2", 7653), Address("2001:db8::2", 7653)], wire.now, wire.at())
        wire.settle(a)
        wire.run(1)
        assert a.of(events.Opened)[0].way.remote.host in hosts
        assert a.of(events.Opened)[0].seen is not None


def test_a_fast_way_that_loses_all_answers_does_not_shadow_a_slow_one() -> None:
    wire = Wire()
    a, b = wire.end(1, "203.0.113.1", "2001:db8::1"), wire.end(2, "203.0.113.2", "2001:db8::2")
    wire.drop = lambda end, send: end is b and send.way.remote.family == 6
    wire.delay = (0.01, 0.01)
    targets = [Address("2001:db8::2", 7653), Address("203.0.113.2", 7653)]  # the same delay: the first sent comes first
    a.sessions.dial(b.key, targets, wire.now, wire.at(), tcp=False)
    wire.settle(a)
    wire.run(1)
    assert a.of(events.Opened)[0].way.remote.host == "203.0.113.2"


def test_strangers_make_room_for_others_when_sessions_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SESSIONS", 3)
    wire = Wire()
    b = wire.end(9)
    ends = [wire.end(n) for n in range(1, 6)]
    for end in ends[:2]:
        wire.join(end, b)
    for end in ends[2:]:
        wire.dial(end, b)
        wire.run(0.2)
    assert b.open_now() == 3
    assert [event.peer_key for event in b.of(events.Closed)] == [ends[2].key, ends[3].key]

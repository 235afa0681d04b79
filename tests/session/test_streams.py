"""Streams over sessions: octets arrive once and in order, whatever the network does; credit, ends, resets."""

from __future__ import annotations

import pytest

from overlay import limits
from overlay.machine import Send
from overlay.session import events, machine
from overlay.session.stream import REFUSED
from overlay.wire.address import Address
from overlay.wire.messages import Method
from tests.session.pouring import KIND, Tap, joined, pattern, run
from tests.session.wire_pair import Wire


def flow(tap: Tap) -> machine.Flow:
    found = tap.end.sessions._numbers[tap.end.number].flow
    assert found is not None
    return found


def known(tap: Tap) -> int:
    """Streams that an end still knows."""
    return len(flow(tap).streams._table)


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05, 0.2])
def test_octets_arrive_once_and_in_order_at_any_loss(loss: float) -> None:
    wire = Wire(5, delay=(0.005, 0.03), loss=loss, duplicate=0.05)
    a, b = joined(wire)
    there, back = pattern(1, 150_000), pattern(2, 60_000)
    stream = a.open(there, head={1: "zone"})
    run(wire, [a, b], 0.2)
    b.pour(stream, back)
    run(wire, [a, b], 40)
    assert b.got[stream] == there and a.got[stream] == back
    assert b.opened[stream].kind == KIND and b.opened[stream].head == {1: "zone"}
    assert a.finished == b.finished == [stream]
    assert known(a) == known(b) == 0


def test_many_streams_share_a_session_and_their_numbers_go_back() -> None:
    wire = Wire(6, loss=0.02)
    a, b = joined(wire)
    sent: dict[int, bytes] = {}
    for round_ in range(4):
        for end in (a, b):
            for n in range(limits.STREAMS):
                data = pattern(n + round_, 3_000 * n + 1)
                sent[end.open(data)] = data
            assert 0 not in sent, "as many as may be open at once"
            assert end.open() == 0 and end.end.sessions.counters["drop:streams-full"] == round_ + 1
        run(wire, [a, b], 5)
        for tap in (a, b):  # the half that goes back carries nothing
            for stream in list(tap.opened):
                tap.pour(stream, b"")
        run(wire, [a, b], 8)
        assert known(a) == known(b) == 0
    assert {stream: bytes(data) for tap in (a, b) for stream, data in tap.got.items()} == sent


def test_who_is_not_read_waits_and_goes_on_when_it_is() -> None:
    wire = Wire(7)
    a, b = joined(wire)
    b.reads = False
    data = pattern(3, 600_000)
    stream = a.open(data)
    run(wire, [a, b], 10)
    assert len(b.got[stream]) == limits.STREAM_FIRST, "no more than the credit"
    assert len(a.unsent[stream]) >= len(data) - limits.STREAM_FIRST - limits.STREAM_BUFFER, "the writer is held back"
    assert a.end.sessions.counters["streams_blocked"]
    quiet = wire.counters["delivered"]
    run(wire, [a, b], 20)
    assert wire.counters["delivered"] - quiet < 10, "and nobody asks again and again"
    b.reads = True
    run(wire, [a, b], 10)
    assert b.got[stream] == data


def test_a_stream_that_is_not_read_holds_up_no_other() -> None:
    wire = Wire(8)
    a, b = joined(wire)
    b.reads = False
    stuck = a.open(pattern(1, 30_000))
    run(wire, [a, b], 1)
    assert b.unread.pop(stuck) == 30_000
    b.reads = True
    data = pattern(2, 300_000)
    other = a.open(data)
    run(wire, [a, b], 10)
    assert b.got[other] == data


def test_a_reset_ends_both_ways_and_gives_the_credit_back() -> None:
    wire = Wire(9, loss=0.05)
    a, b = joined(wire)
    for turn in range(2 * limits.STREAMS):
        stream = a.open(pattern(turn, 40_000), finish=False)
        run(wire, [a, b], 0.1)
        breaker, other = ((a, b), (b, a))[turn % 2]
        breaker.unsent.pop(stream, None)
        breaker.end.sessions.streams.reset(breaker.end.number, stream, 77, wire.now)
        wire.settle(breaker.end)
        run(wire, [a, b], 6)
        assert other.resets.get(stream, 77) == 77
        assert a.end.sessions.streams.write(a.end.number, stream, b"late", wire.now) == 0
    assert known(a) == known(b) == 0
    data = pattern(1, 300_000)
    stream = a.open(data)
    run(wire, [a, b], 20)
    assert b.got[stream] == data


def test_a_kind_that_nobody_serves_is_refused_and_says_nothing_to_the_node() -> None:
    wire = Wire(10)
    a, b = joined(wire)
    b.end.sessions.streams.kinds.clear()
    stream = a.open(pattern(1, 50_000))
    run(wire, [a, b], 3)
    assert a.resets == {stream: REFUSED} and not b.opened and not b.got
    assert b.end.sessions.counters["drop:stream-kind"] == 1 and known(a) == known(b) == 0


def test_streams_wait_for_admission_and_go_through_once_it_is_there() -> None:
    wire = Wire(11)
    a, b = wire.end(1), wire.end(2)
    taps = [Tap(a, wire), Tap(b, wire)]
    wire.dial(a, b)
    wire.run(0.5)
    assert a.sessions.streams.open(a.number, KIND, None, wire.now) == 0, "not before"
    a.sessions.admit(a.number)
    stream = taps[0].open(b"early")
    run(wire, taps, 0.5)
    assert b.sessions.counters["drop:grade"] and not taps[1].got
    b.sessions.admit(b.number)
    run(wire, taps, 4)
    assert taps[1].got == {stream: b"early"}


def test_new_keys_in_the_middle_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "REKEY_PACKETS", 60)
    wire = Wire(12, loss=0.03)
    a, b = joined(wire)
    there, back = pattern(1, 400_000), pattern(2, 400_000)
    stream = a.open(there)
    run(wire, [a, b], 0.1)
    b.pour(stream, back)
    first = a.end.sessions._numbers[a.end.number].link
    run(wire, [a, b], 30)
    assert a.end.sessions._numbers[a.end.number].link is not first
    assert b.got[stream] == there and a.got[stream] == back and known(a) == known(b) == 0


def test_another_path_begins_with_a_fresh_window_and_loses_nothing() -> None:
    wire = Wire(13, loss=0.01)
    a, b = joined(wire)
    data = pattern(1, 900_000)
    stream = a.open(data)
    run(wire, [a, b], 0.6)
    before = flow(a).recovery.window
    inside = a.end.addresses[0]
    wire.seen_as = {inside: Address("198.51.100.7", 5000)}  # its NAT forgot it
    run(wire, [a, b], 0.3)
    assert b.end.of(events.PathChanged), "the receiver of the stream sees the sender move"
    here = b.end.addresses[0]
    b.end.addresses = [Address("203.0.113.99", 7653)]
    run(wire, [a, b], 0.1)
    assert here != b.end.addresses[0]
    b.end.sessions.message(b.end.number, 1, b"I moved", wire.now)
    wire.settle(b.end)
    run(wire, [a, b], 30)
    assert a.end.of(events.PathChanged) and flow(a).recovery.window is not before
    assert b.got[stream] == data


def test_streams_go_over_tcp_as_well() -> None:
    wire = Wire(14)
    a, b = wire.end(1), wire.end(2)
    wire.udp_blocked = True
    wire.join(a, b)
    wire.run(1)
    for end in (a, b):
        end.sessions.admit(end.number)
    taps = [Tap(a, wire), Tap(b, wire)]
    assert a.sessions._numbers[a.number].way.proto == "tcp"
    data = pattern(1, 500_000)
    stream = taps[0].open(data)
    run(wire, taps, 10)
    assert taps[1].got[stream] == data


def test_never_more_in_flight_than_the_window_but_for_two_probes() -> None:
    wire = Wire(15, loss=0.1)
    a, b = joined(wire)
    a.open(pattern(1, 500_000))
    for _ in range(600):
        run(wire, [a, b], 0.01)
        recovery = flow(a).recovery
        in_flight = sum(sent.size for sent in recovery._sent if not sent.settled)
        assert in_flight == recovery.in_flight
        if not recovery._timeouts and recovery.window._recovery < wire.now - 0.1:
            assert in_flight <= recovery.window.size + 2 * limits.DATAGRAM


def test_a_silent_other_end_is_asked_ever_more_rarely_and_given_up() -> None:
    wire = Wire(16)
    a, b = joined(wire)
    a.open(pattern(1, 200_000), finish=False)
    run(wire, [a, b], 0.3)
    wire.drop = lambda end, send: True
    sent = len(a.end.sent)
    run(wire, [a, b], 20)
    assert a.end.of(events.Closed)[-1].reason == "silent"
    assert len(a.end.sent) - sent < 60 + flow_packets(a.end.sent[sent:])


def flow_packets(sends: list[Send]) -> int:
    """Full packets: at most a window of them went out before the first timeout."""
    return min(sum(len(send.data) > 1_000 for send in sends), 40)


def test_a_session_without_streams_has_no_books_of_packets() -> None:
    wire = Wire(17)
    a, b = wire.end(1), wire.end(2)
    wire.join(a, b)
    for n in range(50):
        wire.call(a, {1: n}, Method.PING)
        a.sessions.message(a.number, 1, b"x", wire.now)
    wire.run(30)
    assert all(end.sessions._numbers[end.number].flow is None for end in (a, b))


def test_calls_go_on_beside_a_stream() -> None:
    wire = Wire(18, loss=0.02)
    a, b = joined(wire)
    data = pattern(1, 400_000)
    stream = a.open(data)
    for n in range(100):
        wire.call(a.end, {1: n})
        run(wire, [a, b], 0.05)
    run(wire, [a, b], 10)
    assert len(wire.answers(a.end)) == 100 and b.got[stream] == data


def test_not_more_sessions_than_the_node_has_room_for_get_the_full_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAMS_WIDE", 1)
    wire = Wire(19)
    a, b, c = (wire.end(n) for n in (1, 2, 3))
    for other in (b, c):
        other.sessions.streams.kinds.add(KIND)
        wire.join(a, other)
    wire.join(b, c)
    taps = {end: Tap(end, wire) for end in (b, c)}
    stream = taps[b].open(pattern(1, 200_000))
    run(wire, list(taps.values()), 5)
    assert flow(taps[c]).wide and len(taps[c].got[stream]) == 200_000
    c.sessions.streams._wide = 1
    found = c.sessions._numbers[c.number]
    assert found.flow is not None
    c.sessions.close(c.number, "bye", wire.now)
    assert c.sessions.streams._wide == 0, "the place goes back with the session"

"""Paths and life: addresses that change are proved first; silence is noticed; mappings are kept; keys are renewed."""

from __future__ import annotations

from overlay.session import events
from overlay.session.machine import LINGER, REKEY_AFTER
from overlay.session.relation import CHALLENGE_AGAIN, KEEPALIVE, SILENT
from overlay.wire.address import Address, Way
from overlay.wire.codec import encode
from overlay.wire.messages import Frame, Packet
from tests.session.wire_pair import End, Wire

INSIDE = Address("203.0.113.1", 7653)
ELSEWHERE = Address("198.51.100.7", 61_000)


def joined(seed: int = 1) -> tuple[Wire, End, End]:
    wire = Wire(seed)
    a, b = wire.end(1), wire.end(2)
    wire.join(a, b)
    return wire, a, b


def octets_to(end: End, where: Address, since: int = 0) -> int:
    return sum(len(send.data) for send in end.sent[since:] if send.way.remote == where)


# -- addresses that change


def test_a_peer_behind_a_new_address_is_followed_after_it_has_answered_a_challenge() -> None:
    wire, a, b = joined()
    wire.seen_as[INSIDE] = ELSEWHERE  # the NAT forgot, and maps anew
    ticket = wire.call(a, {1: 1})
    wire.run(2)
    assert [event.way.remote for event in b.of(events.PathChanged)] == [ELSEWHERE]
    assert ticket in wire.answers(a)
    assert not b.of(events.Closed)


def test_a_copied_packet_from_a_victims_address_moves_nothing_and_gets_no_more_octets_than_came() -> None:
    wire, a, b = joined()
    victim = Address("198.51.100.66", 4000)
    link = a.sessions._numbers[a.number].link
    came = 0
    for n in range(40):  # an attacker on the path lets the packets come from elsewhere only
        data = link.seal(encode([[Frame.MESSAGE.value, 1, n]]))
        came += len(data)
        wire.inject(b, data, source=victim.host, port=victim.port)
        assert octets_to(b, victim) <= came
        wire.run(CHALLENGE_AGAIN)
    assert octets_to(b, victim) > 0
    assert not b.of(events.PathChanged)
    assert b.sessions._numbers[b.number].way.remote == INSIDE
    ticket = wire.call(b, {1: 1})
    wire.run(1)
    assert ticket in wire.answers(b)


def test_the_smallest_packet_from_a_new_address_is_not_answered_by_a_larger_one() -> None:
    wire, a, b = joined()
    data = a.sessions._numbers[a.number].link.seal(encode([[Frame.KEEPALIVE.value]]))
    assert wire.inject(b, data) == []
    again = a.sessions._numbers[a.number].link.seal(encode([[Frame.KEEPALIVE.value]]))
    assert [len(send.data) for send in wire.inject(b, again)] == [42]


def test_an_old_packet_that_comes_late_from_an_old_address_moves_nothing() -> None:
    wire, a, b = joined()
    late = a.sessions._numbers[a.number].link.seal(encode([[Frame.MESSAGE.value, 1, {}]]))
    wire.call(a, {})
    wire.run(0.1)
    assert wire.inject(b, late) == []
    assert b.of(events.Message)


def test_a_proof_from_another_place_or_with_another_token_proves_nothing() -> None:
    wire, a, b = joined()
    link = a.sessions._numbers[a.number].link
    wire.inject(b, link.seal(encode([[Frame.MESSAGE.value, 1, b"x" * 40]])), source=ELSEWHERE.host, port=ELSEWHERE.port)
    candidate = b.sessions._numbers[b.number].candidate
    assert candidate is not None
    for token, source in ((bytes(8), ELSEWHERE.host), (candidate.token, "198.51.100.99")):
        wire.inject(b, link.seal(encode([[Frame.PROOF.value, token]])), source=source, port=ELSEWHERE.port)
    assert not b.of(events.PathChanged)


def test_a_lost_challenge_is_repeated() -> None:
    wire, a, b = joined()
    wire.seen_as[INSIDE] = ELSEWHERE
    lost: list[int] = []

    def drop(end: End, send: object) -> bool:
        if end is b and b.sent[-1].way.remote == ELSEWHERE and not lost:
            lost.append(1)
            return True
        return False

    wire.drop = drop
    ticket = wire.call(a, {1: 1})
    wire.run(3)
    assert lost
    assert b.of(events.PathChanged)
    assert ticket in wire.answers(a)


def test_a_raced_copy_of_the_first_sealed_packet_does_not_choose_the_path() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    wire.drop = lambda end, send: send.data[0] == Packet.SEALED and end is a
    wire.dial(a, b)
    wire.run(0.1)
    first = next(send.data for send in a.sent if send.data[0] == Packet.SEALED)
    wire.inject(b, first, source="198.51.100.66")
    assert b.of(events.Opened)[0].way.remote == INSIDE
    assert b.sessions._numbers[b.number].way.remote == INSIDE


def test_answers_leave_from_the_address_that_was_asked() -> None:
    wire, a, b = joined()
    link = a.sessions._numbers[a.number].link
    b.sessions.receive(link.seal(encode([[Frame.CHALLENGE.value, bytes(8)]])), Way("udp", INSIDE, "203.0.113.222"), wire.now, wire.at())
    wire.settle(b)
    assert b.sent[-1].way.local == "203.0.113.222"
    assert b.sessions._numbers[b.number].way.local == "203.0.113.222"
    assert not b.of(events.PathChanged)


# -- life


def test_idle_sessions_stay_open_on_one_exchange_in_25_seconds() -> None:
    wire, a, b = joined()
    before = wire.counters["delivered"]
    wire.run(40 * KEEPALIVE)
    assert (a.open_now(), b.open_now()) == (1, 1)
    assert wire.counters["delivered"] - before <= 4 * 40


def test_no_more_than_25_seconds_pass_without_sending_even_where_much_is_heard() -> None:
    wire, a, b = joined()
    moments: list[float] = []
    seen = len(b.sent)
    for n in range(400):
        a.sessions.message(a.number, 1, n, wire.now)
        wire.settle(a)
        wire.run(0.5)
        if len(b.sent) > seen:
            seen = len(b.sent)
            moments.append(wire.now)
    assert max(y - x for x, y in zip(moments, moments[1:], strict=False)) <= KEEPALIVE + 1


def test_a_silent_peer_is_given_up_15_seconds_after_the_first_unanswered_packet() -> None:
    wire, a, b = joined()
    b.alive = False
    ticket = wire.call(a, {})
    wire.run(SILENT - 0.1)
    assert not a.of(events.Closed)
    assert [event.ticket for event in a.of(events.CallFailed)] == [ticket]  # after 10 s
    wire.run(0.2)
    assert [event.reason for event in a.of(events.Closed)] == ["silent"]
    assert a.sessions.wake_at() is None
    wire.run(100)


def test_an_idle_session_whose_peer_dies_ends_within_40_seconds() -> None:
    wire, a, b = joined()
    b.alive = False
    wire.run(KEEPALIVE + SILENT + 1)
    assert [event.reason for event in a.of(events.Closed)] == ["silent"]


def test_a_peer_that_only_answers_late_is_not_taken_for_dead() -> None:
    wire, a, b = joined()
    b.serve = lambda end, call: None
    ticket = wire.call(a, {})
    wire.run(60)
    assert [event.reason for event in a.of(events.CallFailed)] == ["timeout"]
    assert not a.of(events.Closed)
    b.sessions.reply(b.number, ticket, {}, wire.now)
    wire.settle(b)
    wire.run(1)
    assert a.open_now() == 1


def test_closing_tells_the_other_end_why() -> None:
    wire, a, b = joined()
    a.sessions.close(a.number, "leaving", wire.now)
    wire.settle(a)
    wire.run(0.1)
    assert [event.reason for event in a.of(events.Closed)] == ["leaving"]
    assert [event.reason for event in b.of(events.Closed)] == ["leaving"]
    assert (a.sessions.wake_at(), b.sessions.wake_at()) == (None, None)


def test_a_lost_farewell_leaves_a_session_that_dies_of_silence() -> None:
    wire, a, b = joined()
    wire.drop = lambda end, send: end is a
    a.sessions.close(a.number, "leaving", wire.now)
    wire.settle(a)
    wire.run(KEEPALIVE + SILENT + 1)
    assert [event.reason for event in b.of(events.Closed)] == ["silent"]


def test_timers_of_a_busy_session_do_not_pile_up() -> None:
    wire, a, b = joined()
    for n in range(500):
        wire.call(a, n)
        wire.run(0.05)
    assert len(wire.answers(a)) == 500
    assert len(a.sessions._timers) < 20
    assert len(b.sessions._timers) < 20


# -- renewal


def test_keys_are_renewed_after_an_hour_of_traffic_without_an_event() -> None:
    wire, a, b = joined()
    old = a.sessions._numbers[a.number].link
    heard = len(a.events), len(b.events)
    wire.run(REKEY_AFTER + 60)
    new = a.sessions._numbers[a.number].link
    assert new is not old
    assert b.sessions._numbers[b.number].link.hash == new.hash
    assert (len(a.events), len(b.events)) == heard
    ticket = wire.call(a, {1: 1})
    wire.run(1)
    assert ticket in wire.answers(a)
    wire.run(LINGER + 2 * KEEPALIVE)
    assert len(a.sessions._links) == len(b.sessions._links) == 1


def test_calls_outlive_a_renewal() -> None:
    wire, a, b = joined()
    held: list[events.Called] = []
    b.serve = lambda end, call: held.append(call)
    ticket = wire.call(a, {1: 1})
    wire.run(0.1)
    for end in (a, b):
        end.sessions._numbers[end.number].link.created -= REKEY_AFTER + 1
    wire.run(1)
    assert a.sessions._numbers[a.number].previous is not None
    b.sessions.reply(held[0].session, held[0].ticket, {1: 2}, wire.now)
    wire.settle(b)
    wire.run(1)
    assert wire.answers(a) == {ticket: {1: 2}}
    assert len(held) == 1


def test_a_renewal_that_fails_is_no_failed_dial_and_is_tried_again() -> None:
    wire, a, b = joined()
    a.sessions._numbers[a.number].link.created -= REKEY_AFTER + 1
    wire.drop = lambda end, send: send.data[0] == Packet.INITIATION
    wire.call(a, {})
    wire.run(30)
    assert not a.of(events.DialFailed)
    assert a.open_now() == 1
    wire.drop = lambda end, send: False
    wire.call(a, {})
    wire.run(15)
    assert a.sessions._numbers[a.number].previous is not None


def test_a_renewal_over_tcp_uses_the_connection_that_there_is() -> None:
    wire = Wire()
    wire.udp_blocked = True
    a, b = wire.end(1), wire.end(2)
    wire.join(a, b)
    wire.run(REKEY_AFTER + 60)
    assert a.sessions._numbers[a.number].link.hash == b.sessions._numbers[b.number].link.hash
    assert a.sessions._numbers[a.number].link.hash != a.of(events.Opened)[0].handshake_hash
    assert len(wire._links) == 1
    assert a.open_now() == 1


# -- probes


def test_a_probe_over_another_way_tells_as_whom_we_are_seen_there_and_moves_nothing() -> None:
    wire = Wire()
    a, b = wire.end(1, "203.0.113.1", "2001:db8::1"), wire.end(2, "203.0.113.2", "2001:db8::2")
    a.sessions.dial(b.key, b.addresses[:1], wire.now, wire.at())
    wire.settle(a)
    wire.run(0.5)
    a.sessions.paths.probe(a.number, Way("udp", b.addresses[1]))
    wire.settle(a)
    wire.run(0.5)
    assert [(event.way.remote, event.seen) for event in a.of(events.Probed)] == [(b.addresses[1], a.addresses[1])]
    assert not a.of(events.PathChanged)
    assert not b.of(events.PathChanged)


def test_no_probes_are_answered_with_more_octets_than_came() -> None:
    wire, a, b = joined()
    link = a.sessions._numbers[a.number].link
    for frames in ([[9, bytes(8), b""]], [[9, bytes(8), bytes(50)]] * 12, [[9, bytes(8), bytes(49)]]):
        data = link.seal(encode(frames))
        answers = wire.inject(b, data)
        assert sum(len(send.data) for send in answers) <= len(data)
    assert b.sessions.counters["drop:frame-unknown"] == 2

"""Calls: carried out at most once and answered under loss, reordering and repeats; pages; bounds; grades."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from overlay import limits
from overlay.errors import Malformed
from overlay.session import events
from overlay.session.calls import GIVE_UP, Calls
from overlay.session.machine import Sessions
from overlay.wire.codec import decode, encode
from overlay.wire.messages import Frame, Method
from tests.session.wire_pair import End, Wire


def joined(seed: int = 1, **more: Any) -> tuple[Wire, End, End]:
    wire = Wire(seed)
    a, b = wire.end(1), wire.end(2)
    wire.join(a, b)
    for name, value in more.items():
        setattr(wire, name, value)
    return wire, a, b


@pytest.mark.parametrize("seed", range(6))
def test_under_loss_duplicates_and_reordering_every_call_is_carried_out_exactly_once(seed: int) -> None:
    wire, a, b = joined(seed, loss=0.3, duplicate=0.2, delay=(0.001, 0.15))
    there = [wire.call(a, {1: n}) for n in range(40)]
    back = [wire.call(b, {1: n}) for n in range(40)]
    wire.run(90)
    assert not [event for end in (a, b) for event in end.of(events.CallFailed) if event.reason != "timeout"]
    for end, other, tickets in ((a, b, there), (b, a, back)):
        carried_out = Counter(call.body[1] for call in other.of(events.Called))
        assert max(carried_out.values()) == 1
        answered = wire.answers(end)
        failed = {event.ticket for event in end.of(events.CallFailed)}
        assert set(tickets) == set(answered) | failed
        assert len(failed) <= 3  # six tries, each lost with 0.51: 1.7 % time out
        assert all(answered[ticket] == {1: tickets.index(ticket)} for ticket in answered)


def test_only_eight_calls_are_outstanding_and_the_rest_wait_in_order() -> None:
    wire, a, b = joined(delay=(0.01, 0.01))
    b.serve = lambda end, call: None
    for n in range(20):
        wire.call(a, {1: n})
    wire.run(0.1)
    assert [call.body[1] for call in b.of(events.Called)] == list(range(limits.CALLS_OUTSTANDING))
    assert a.sessions.counters["calls_queued"] == 12
    for call in b.of(events.Called):
        b.sessions.reply(call.session, call.ticket, None, wire.now)
    wire.settle(b)
    wire.run(0.1)
    assert [call.body[1] for call in b.of(events.Called)] == list(range(16))


def test_a_full_queue_refuses_further_calls_and_counts() -> None:
    wire, a, b = joined()
    b.alive = False
    for n in range(limits.CALLS_OUTSTANDING + limits.CALLS_QUEUED + 3):
        wire.call(a, {1: n})
    assert [event.reason for event in a.of(events.CallFailed)] == ["queue-full"] * 3
    assert a.sessions.counters["drop:call-queue-full"] == 3


def test_a_call_is_repeated_after_250_ms_doubling_to_4_s_and_given_up_after_10() -> None:
    calls = Calls(Counter())
    calls.call(1, Method.PING, {}, 0.0)
    sent = [0.0]
    while (due := calls.wake_at()) is not None:
        calls.frames.clear()
        calls.wake(due)
        sent += [due] if calls.frames else []
    assert sent == [0.0, 0.25, 0.75, 1.75, 3.75, 7.75]
    assert [(done.ticket, done.reason) for done in calls.done] == [(1, "timeout")]
    assert GIVE_UP == 10.0


def test_calls_of_a_closed_or_unknown_session_fail_at_once() -> None:
    wire, a, b = joined()
    b.alive = False
    waiting = [wire.call(a, {}) for _ in range(12)]
    a.sessions.close(a.number, "over", wire.now)
    late = wire.call(a, {})
    wire.settle(a)
    assert [event.ticket for event in a.of(events.CallFailed)] == [*waiting, late]
    assert {event.reason for event in a.of(events.CallFailed)} == {"closed"}


def test_a_refusal_and_its_reason_arrive() -> None:
    wire, a, b = joined()
    b.serve = lambda end, call: end.sessions.refuse(call.session, call.ticket, "no-such-name", end.clock)
    ticket = wire.call(a, {})
    wire.run(1)
    assert a.of(events.CallFailed) == [events.CallFailed(a.number, ticket, "no-such-name")]


def test_bodies_that_do_not_fit_are_refused_by_name_in_both_directions() -> None:
    wire, a, b = joined()
    long_call = wire.call(a, b"x" * 1_150)
    b.serve = lambda end, call: end.sessions.reply(call.session, call.ticket, {1: b"y" * 1_150}, end.clock)
    long_reply = wire.call(a, {})
    wire.run(1)
    assert a.of(events.CallFailed) == [events.CallFailed(a.number, ticket, "too-long") for ticket in (long_call, long_reply)]
    assert b.sessions.counters["drop:reply-too-long"] == 1


def test_an_unknown_method_is_refused() -> None:
    wire, a, b = joined()
    session = a.sessions._numbers[a.number]
    session.calls._start(99, 63, {}, wire.now)
    a.sessions._flush(session, wire.now)
    wire.settle(a)
    wire.run(1)
    assert a.of(events.CallFailed) == [events.CallFailed(a.number, 99, "unknown-method")]


# -- pages


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9, 10, 500])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_long_list_of_octets_arrives_whole_under_loss_and_reordering(count: int, seed: int) -> None:
    wire, a, b = joined(seed, loss=0.1, duplicate=0.1, delay=(0.001, 0.05))
    items = [bytes([n % 256]) * (300 + n % 700) for n in range(count)]
    b.serve = lambda end, call: end.sessions.reply(call.session, call.ticket, items, end.clock)
    ticket = wire.call(a, {})
    wire.run(20)
    assert wire.answers(a) == {ticket: items}
    assert len(b.of(events.Called)) == 1


def test_pages_flow_faster_than_one_a_round_trip() -> None:
    wire, a, b = joined(delay=(0.05, 0.05))
    items = [b"x" * 1_000] * 1_000
    b.serve = lambda end, call: end.sessions.reply(call.session, call.ticket, items, end.clock)
    ticket, begin = wire.call(a, {}), wire.now
    while ticket not in wire.answers(a):
        wire.run(0.1)
    assert wire.now - begin < 3.0  # 1,000 pages: 100 s at one a round trip, 1.6 s at a window of 64


def test_items_or_answers_beyond_their_bounds_are_refused() -> None:
    wire, a, b = joined()
    bodies: list[list[bytes]] = [[b"x" * 1_109], [b"x" * 1_000] * 1_100]
    b.serve = lambda end, call: end.sessions.reply(call.session, call.ticket, bodies.pop(), end.clock)
    for _ in range(2):
        wire.call(a, {})
    wire.run(1)
    assert [event.reason for event in a.of(events.CallFailed)] == ["too-long", "too-long"]


def test_answers_are_forgotten_once_their_caller_has_moved_on() -> None:
    wire, a, b = joined()
    b.serve = lambda end, call: end.sessions.reply(call.session, call.ticket, [b"x" * 1_000] * 100, end.clock)
    for _ in range(50):
        wire.call(a, {})
        wire.run(1)
    assert len(b.sessions._numbers[b.number].calls._answers) <= limits.CALLS_OUTSTANDING


def test_pages_nobody_fetches_are_let_go_after_30_s_and_when_they_are_too_many() -> None:
    calls = Calls(Counter())
    assert all(calls.called(ticket, 1) for ticket in (1, 2, 3))
    calls.answer(1, [b"x" * 1_000] * 900, 0.0)
    calls.answer(2, [b"x" * 1_000] * 900, 1.0)
    calls.answer(3, [b"x" * 1_000] * 900, 2.0)
    assert calls._kept <= 2 * limits.REPLY_OCTETS
    assert not calls.called(1, 1)
    assert decode(calls.frames[-1])[2:4] == [1, "expired"]
    calls.wake(60.0)
    assert calls._kept == 0


# -- what a hostile other end may do


def test_a_repeated_call_gets_its_answer_again_and_is_not_carried_out_again() -> None:
    calls = Calls(Counter())
    assert calls.called(5, 5)
    assert not calls.called(5, 5)
    calls.answer(5, {1: 1}, 0.0)
    assert not calls.called(5, 5)
    assert len(calls.frames) == 2
    assert calls.counters["calls_repeated"] == 2


def test_tickets_below_the_callers_floor_are_over() -> None:
    calls = Calls(Counter())
    assert calls.called(9, 9)
    assert not calls.called(8, 8)
    assert calls.counters["drop:call-over"] == 1
    assert calls.called(11, 10)
    calls.answer(9, {}, 0.0)
    assert not calls.frames


@pytest.mark.parametrize("ticket,floor", [(1, 2), (1, 0), (-1, -1), (0, 0)])
def test_a_floor_that_cannot_be_is_malformed(ticket: int, floor: int) -> None:
    with pytest.raises(Malformed):
        Calls(Counter()).called(ticket, floor)


def test_calls_served_at_once_are_bounded() -> None:
    calls = Calls(Counter())
    taken = sum(calls.called(ticket, 1) for ticket in range(1, 200))
    assert taken == limits.REPLIES_KEPT
    assert calls.counters["drop:calls-full"] == 199 - taken


@pytest.mark.parametrize("frame", [
    [3], [3, 1], [3, 1, 0, {}, 0], [3, "1", 0, {}, 0, 0], [3, True, 0, {}, 0, 0], [3, 1, 0, {}, 0, None],
    [3, 1, 0, {}, 2, 0], [3, 1, 0, [], 2, 2], [3, 1, 0, [], 2, -1], [3, 1, 0, [], 10**9, 0], [3, 1, 0, [], -1, 0],
])
def test_replies_of_a_wrong_form_are_malformed_and_the_call_goes_on(frame: list[Any]) -> None:
    calls = Calls(Counter())
    calls.call(1, Method.PING, {}, 0.0)
    with pytest.raises(Malformed):
        calls.replied(frame, 0.0)
    assert calls.outgoing
    calls.replied([3, 1, 0, {1: 2}, 0, 0], 0.0)
    assert calls.done[0].body == {1: 2}


def test_the_number_of_pages_cannot_change_on_the_way() -> None:
    calls = Calls(Counter())
    calls.call(1, Method.PING, {}, 0.0)
    calls.replied([3, 1, 0, [b"a"], 3, 0], 0.0)
    with pytest.raises(Malformed):
        calls.replied([3, 1, 0, [b"b"], 2, 1], 0.0)
    calls.replied([3, 1, 0, [b"a"], 3, 0], 0.0)
    calls.replied([3, 1, 0, [b"c"], 3, 2], 0.0)
    calls.replied([3, 1, 0, [b"b"], 3, 1], 0.0)
    assert calls.done[0].body == [b"a", b"b", b"c"]


def test_a_late_reply_and_a_page_of_nothing_are_counted() -> None:
    calls = Calls(Counter())
    calls.replied([3, 1, 0, {}, 0, 0], 0.0)
    calls.page_wanted(1, 0)
    assert calls.counters == {"drop:reply-late": 1, "drop:page-unknown": 1}


def test_nobody_can_answer_a_call_twice_or_a_call_that_was_not_made() -> None:
    calls = Calls(Counter())
    calls.answer(1, {}, 0.0)
    calls.refuse(2, "no", 0.0)
    assert not calls.frames


# -- grades


def test_a_keyed_session_carries_no_message_and_holds_calls_above_its_grade_until_admission() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    wire.dial(a, b)
    wire.run(0.5)
    a.sessions.message(a.number, 1, {1: 1}, wire.now)
    wire.settle(a)
    allowed, held = wire.call(a, {1: 1}), wire.call(a, {1: 2}, Method.FETCH)
    wire.run(2)
    assert [call.method for call in b.of(events.Called)] == [Method.PING]
    assert allowed in wire.answers(a)
    assert (b.sessions.counters["drop:grade"], b.sessions.counters["calls_held"]) == (1, 1)
    b.sessions.admit(b.number)
    wire.settle(b)
    wire.run(0.1)
    assert wire.answers(a)[held] == {1: 2}


def test_calls_held_for_admission_are_bounded() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    wire.dial(a, b)
    wire.run(0.5)
    session = a.sessions._numbers[a.number]
    for n in range(1, 30):
        session.calls.frames.append(encode([Frame.CALL.value, n, Method.PUSH.value, {}, 1]))
    a.sessions._flush(session, wire.now)
    wire.settle(a)
    wire.run(0.1)
    assert b.sessions.counters["calls_held"] == limits.CALLS_OUTSTANDING
    assert b.sessions.counters["drop:grade"] >= 1
    assert not b.of(events.Called)


def test_an_admitted_session_carries_messages() -> None:
    wire, a, b = joined()
    a.sessions.message(a.number, 7, {1: b"x"}, wire.now)
    a.sessions.message(a.number, 7, b"x" * 1_200, wire.now)
    wire.settle(a)
    wire.run(0.1)
    assert b.of(events.Message) == [events.Message(b.number, 7, {1: b"x"})]
    assert a.sessions.counters["drop:message-too-long"] == 1


def test_answering_sessions_that_are_gone_does_nothing() -> None:
    wire, a, _ = joined()
    sessions: Sessions = a.sessions
    for act in (sessions.reply, sessions.message):
        act(99, 1, {}, wire.now)
    sessions.refuse(99, 1, "no", wire.now)
    sessions.close(99, "no", wire.now)
    sessions.admit(99)
    assert sessions.take() == []


def test_a_call_that_was_lost_is_taken_though_all_places_are_held_by_those_behind_it() -> None:
    calls = Calls(Counter())
    for ticket in range(2, 2 + limits.REPLIES_KEPT):
        assert calls.called(ticket, 1)
        calls.answer(ticket, {}, 0.0)
    assert not calls.called(100, 1)
    assert calls.called(1, 1)
    calls.answer(1, {}, 0.0)
    assert calls.called(100, 100)


def test_who_waits_for_an_answer_hears_of_the_end_of_the_session_first() -> None:
    wire, a, b = joined()
    b.alive = False
    wire.call(a, {})
    a.sessions.close(a.number, "over", wire.now)
    wire.settle(a)
    assert [type(event) for event in a.events[-2:]] == [events.Closed, events.CallFailed]

"""A peer with good keys that breaks the rules of streams: it is bounded, and where no honest end does that, it is gone."""

from __future__ import annotations

from typing import Any

import pytest

from overlay import limits
from overlay.session import events
from overlay.session.streams import DATA, END, OPEN, RESET
from overlay.wire.address import Way
from overlay.wire.codec import encode
from tests.fuzz.walks import heft
from tests.session.pouring import KIND, Tap, joined, pattern, run
from tests.session.wire_pair import Wire

CREDIT, ROOM, ACK = 36, 37, 38


@pytest.fixture
def pair() -> tuple[Wire, Tap, Tap]:
    """An evil end and its victim, which serves streams and reads them."""
    wire = Wire(3)
    evil, victim = joined(wire)
    return wire, evil, victim


def say(wire: Wire, evil: Tap, victim: Tap, *frames: list[Any]) -> None:
    """One packet with these frames, from the evil end."""
    session = evil.end.sessions._numbers.get(evil.end.number)
    if session is not None:
        data = session.link.seal(encode(list(frames)))
        victim.end.sessions.receive(data, Way("udp", evil.end.addresses[0], victim.end.addresses[0].host), wire.now, wire.at())
        wire.settle(victim.end)
        victim.turn()


def theirs(evil: Tap) -> int:
    """The first stream that the evil end may open."""
    return evil.end.sessions.streams._flow(evil.end.sessions._numbers[evil.end.number]).streams._ours


def reason(victim: Tap) -> str:
    """Why the victim ended the session; empty while it is open."""
    closed = victim.end.of(events.Closed)
    return closed[-1].reason if closed else ""


def test_a_stream_beyond_its_credit_or_the_sessions_ends_the_session_with_that_reason(pair: tuple[Wire, Tap, Tap]) -> None:
    wire, evil, victim = pair
    stream = theirs(evil)
    say(wire, evil, victim, [OPEN, stream, KIND, None], [DATA, stream, limits.STREAM_FIRST - 3, b"abc"])
    assert not reason(victim), "all of the credit may be used"
    say(wire, evil, victim, [DATA, stream + 2, 0, b"x"])
    assert reason(victim) == "stream-credit", "the session's credit is used up by the first"
    run(wire, [evil, victim], 0.2)
    assert evil.end.of(events.Closed)[-1].reason == "stream-credit", "and it is told why"


def test_one_octet_beyond_the_credit_of_a_stream_ends_the_session(pair: tuple[Wire, Tap, Tap]) -> None:
    wire, evil, victim = pair
    stream = theirs(evil)
    say(wire, evil, victim, [OPEN, stream, KIND, None], [DATA, stream, limits.STREAM_FIRST - 2, b"abc"])
    assert reason(victim) == "stream-credit" and victim.end.sessions.counters["drop:stream-credit"] == 1


def test_stream_numbers_that_run_ahead_end_the_session(pair: tuple[Wire, Tap, Tap]) -> None:
    wire, evil, victim = pair
    stream = theirs(evil)
    say(wire, evil, victim, [OPEN, stream + 2 * (limits.STREAMS - 1), KIND, None])
    assert not reason(victim)
    say(wire, evil, victim, [DATA, stream + 2 * limits.STREAMS, 0, b""])
    assert reason(victim) == "stream-limit"


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([[DATA, 0, 0, b"x"]], "stream-number"),
        ([[DATA, "ours", 0, b"x"]], "stream-number"),
        ([[OPEN, "theirs", KIND, b"x" * 513]], "stream-head"),
        ([[OPEN, "theirs", -1, None]], "stream-form"),
        ([[OPEN, "theirs", 2**32, None]], "stream-form"),
        ([[DATA, "theirs", -1, b"x"]], "stream-form"),
        ([[DATA, "theirs", 0, "text"]], "stream-form"),
        ([[DATA, "theirs", 2**62, b"x"]], "stream-form"),
        ([[DATA, True, 0, b"x"]], "stream-form"),
        ([[END, "theirs", 5, b"x"], [DATA, "theirs", 6, b"x"]], "stream-end"),
        ([[END, "theirs", 5, b"x"], [END, "theirs", 4, b"x"]], "stream-end"),
        ([[DATA, "theirs", 5, b"xxx"], [END, "theirs", 5, b"x"]], "stream-end"),
        ([[DATA, "theirs", 5, b"xxx"], [RESET, "theirs", 1, 7]], "stream-end"),
        ([[RESET, "theirs", 1, 65_537]], "stream-credit"),
        ([[RESET, "theirs", -1, 0]], "stream-form"),
        ([[ROOM, -1]], "stream-form"),
        ([[ROOM]], "stream-form"),
        ([[CREDIT, "ours", 5]], "stream-number"),
        ([[ACK, "link", 0, 10**9, 10**9]], "stream-ack"),
        ([[ACK, "link", 0]], "stream-ack"),
        ([[ACK, "link", 0, 1]], "stream-ack"),
        ([[ACK, "link", 0, 1, 2]], "stream-ack"),
        ([[ACK, "link", 0, 2, 1, 0, 0]], "stream-ack"),
        ([[ACK, "link", None, 1, 1]], "stream-ack"),
        ([[ACK, "link", 0, *[n for high in range(200, 0, -2) for n in (high, high)]]], "stream-ack"),
        ([[ACK, "link", 0, 0, 0]] * 4, "stream-ack"),
        ([[39, 1]], "frame-unknown"),
    ],
)
def test_what_no_honest_end_says_ends_the_session_by_the_name_of_the_rule(
    pair: tuple[Wire, Tap, Tap], frames: list[list[Any]], why: str
) -> None:
    wire, evil, victim = pair
    link = evil.end.sessions._numbers[evil.end.number].link
    words = {"theirs": theirs(evil), "ours": 3 - theirs(evil), "link": link.local}
    say(wire, evil, victim, *[[words.get(word, word) if type(word) is str else word for word in frame] for frame in frames])
    assert victim.end.sessions.counters[f"drop:{why}"] == 1
    assert reason(victim) == ("" if why == "frame-unknown" else why)


def test_octets_said_twice_and_differently_come_up_once(pair: tuple[Wire, Tap, Tap]) -> None:
    wire, evil, victim = pair
    stream = theirs(evil)
    say(wire, evil, victim, [OPEN, stream, KIND, None], [DATA, stream, 0, b"abcd"])
    say(wire, evil, victim, [DATA, stream, 0, b"ABCDEFGH"], [DATA, stream, 2, b"zz"])
    say(wire, evil, victim, [DATA, stream, 12, b"mnop"], [DATA, stream, 6, b"ghijklMNOP"])
    say(wire, evil, victim, [END, stream, 16, b""])
    assert len(victim.got[stream]) == 16 and victim.got[stream].startswith(b"abcdEFGH") and victim.finished == [stream]


def test_thousands_of_gaps_cost_no_more_than_the_credit(pair: tuple[Wire, Tap, Tap]) -> None:
    wire, evil, victim = pair
    stream = theirs(evil)
    say(wire, evil, victim, [OPEN, stream, KIND, None])
    empty = heft(victim.end.sessions)
    for offset in range(1, 20_000, 2):
        say(wire, evil, victim, [DATA, stream, offset, b"x"])
    assert victim.end.sessions.counters["drop:stream-gaps"] > 9_000 and not reason(victim)
    assert heft(victim.end.sessions) - empty < 2 * limits.STREAM_FIRST
    refused = victim.end.sessions.counters["drop:stream-gaps"]
    for offset in range(0, limits.STREAM_FIRST, 1_000):
        say(wire, evil, victim, [DATA, stream, offset, b"y" * min(1_000, limits.STREAM_FIRST - offset)])
    assert len(victim.got[stream]) == limits.STREAM_FIRST and victim.end.sessions.counters["drop:stream-gaps"] == refused


def test_a_number_that_was_left_out_betrays_who_acknowledges_what_it_has_not_got() -> None:
    wire = Wire(4)
    evil, victim = joined(wire)
    victim.open(pattern(1, 3_000_000))
    run(wire, [evil, victim], 2)
    session = victim.end.sessions._numbers[victim.end.number]
    assert session.flow is not None and not reason(victim), "an honest end is not caught"
    index, _ = session.flow.recovery._traps[-1]
    say(wire, evil, victim, [ACK, index, 0, session.link.sent - 1, 0])
    assert reason(victim) == "stream-ack"


def test_a_flood_of_acknowledgements_and_credit_makes_us_send_nothing_and_keep_nothing(pair: tuple[Wire, Tap, Tap]) -> None:
    wire, evil, victim = pair
    victim.open(pattern(1, 10_000), finish=False)
    run(wire, [evil, victim], 0.5)
    index, window = evil.end.sessions._numbers[evil.end.number].link.local, victim.end.sessions._numbers[victim.end.number].flow
    assert window is not None
    size, sent, weight = window.recovery.window.size, len(victim.end.sent), heft(victim.end.sessions)
    counter = window.recovery._next
    for n in range(3_000):
        say(wire, evil, victim, [ACK, index, 10**6, min(counter, 2), 0], [ACK, index + 1, 0, n, n], [CREDIT, 0, 100_000 + n], [ROOM, 20])
    assert window.recovery.window.size == size and not reason(victim)
    assert len(victim.end.sent) - sent <= 1_500, "an acknowledgement for every second packet, each smaller than what it answers"
    assert heft(victim.end.sessions) < weight + 50_000


def test_thousands_of_resets_cost_a_bounded_table(pair: tuple[Wire, Tap, Tap]) -> None:
    wire, evil, victim = pair
    victim.reads = False
    first, opened = theirs(evil), 0
    mine = evil.end.sessions.streams._flow(evil.end.sessions._numbers[evil.end.number]).streams
    for turn in range(200):
        flow = victim.end.sessions._numbers[victim.end.number].flow
        allowed = flow.streams._lets_open if flow is not None else limits.STREAMS
        while opened < allowed:
            stream = first + 2 * opened
            say(wire, evil, victim, [OPEN, stream, KIND, None], [DATA, stream, 0, b"x" * 500], [RESET, stream, turn, 500])
            opened += 1
        mine._ours = first + 2 * opened  # so that the evil end acknowledges what it is told of them
        run(wire, [victim], 0.1)
    assert not reason(victim) and opened > 10 * limits.STREAMS
    flow = victim.end.sessions._numbers[victim.end.number].flow
    assert flow is not None and len(flow.streams._table) <= limits.STREAMS
    for n in range(2_000):
        say(wire, evil, victim, [RESET, first + 2 * (n % opened), n, 500])
    assert not reason(victim) and len(flow.streams._table) <= limits.STREAMS


def test_octets_for_streams_that_are_over_give_no_credit_twice(pair: tuple[Wire, Tap, Tap]) -> None:
    wire, evil, victim = pair
    stream = theirs(evil)
    say(wire, evil, victim, [OPEN, stream, KIND, None], [DATA, stream, 0, b"x" * 1_000])
    victim.end.sessions.streams.reset(victim.end.number, stream, 5, wire.now)
    for _ in range(100):
        say(wire, evil, victim, [DATA, stream, 1_000, b"x" * 500], [DATA, stream, 0, b"y" * 500])
    flow = victim.end.sessions._numbers[victim.end.number].flow
    assert flow is not None and flow.streams._came == flow.streams._taken == 1_500


def test_a_peer_that_never_reads_costs_the_writer_no_more_than_its_buffers() -> None:
    wire = Wire(5)
    evil, victim = joined(wire)
    evil.reads = False
    before = heft(victim.end.sessions)
    for _ in range(limits.STREAMS):
        stream = victim.end.sessions.streams.open(victim.end.number, KIND, None, wire.now)
        while victim.end.sessions.streams.write(victim.end.number, stream, bytes(100_000), wire.now):
            pass
        wire.settle(victim.end)
    run(wire, [evil, victim], 5)
    victim.end.sent.clear()
    assert heft(victim.end.sessions) - before < 1.3 * limits.STREAMS_BUFFER
    assert sum(map(len, evil.got.values())) <= limits.STREAM_FIRST

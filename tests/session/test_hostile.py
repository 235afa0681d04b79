"""Octets from strangers and from bad peers: counted drops with a reason, no answer to who should get none, no state."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay import limits
from overlay.errors import Malformed
from overlay.session import cookie, events, hello, packet
from overlay.session.link import Link
from overlay.wire.address import Way
from overlay.wire.codec import encode, ordered
from overlay.wire.messages import Frame, Packet
from tests.session.wire_pair import End, Wire

QUICK = settings(max_examples=150, deadline=500)


def joined() -> tuple[Wire, End, End]:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    wire.join(a, b)
    return wire, a, b


def state(end: End) -> tuple[int, ...]:
    """How much an end remembers."""
    s = end.sessions
    h = s._handshakes
    keyed = len(s._strangers._keyed)
    return (len(s._links), len(s._sessions), keyed, len(h.unconfirmed), len(h._begun), len(h._stamps), len(s._timers), len(h.dials))


def sealed(a: End, plaintext: bytes) -> bytes:
    """A packet that the first end might have sent."""
    link: Link = a.sessions._numbers[a.number].link
    return link.seal(plaintext)


@QUICK
@given(data=st.binary(max_size=1_300))
def test_junk_is_dropped_without_an_answer_and_without_state(data: bytes) -> None:
    wire, _, b = joined()
    before = state(b)
    assert wire.inject(b, data) == []
    assert state(b) == before
    assert sum(b.sessions.counters.values()) == 1


@QUICK
@given(kind=st.sampled_from([1, 2, 3, 4]), rest=st.binary(min_size=0, max_size=1_200))
def test_junk_that_begins_like_a_packet_is_dropped_without_an_answer(kind: int, rest: bytes) -> None:
    wire, _, b = joined()
    before = state(b)
    assert wire.inject(b, bytes([kind]) + rest) == []
    assert state(b) == before
    assert sum(b.sessions.counters.values()) == 1


@QUICK
@given(data=st.data())
def test_a_genuine_packet_with_any_bit_turned_is_dropped(data: st.DataObject) -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    wire.drop = lambda end, send: True
    wire.dial(a, b)
    initiation = a.sent[0].data
    position = data.draw(st.integers(0, len(initiation) * 8 - 1))
    # mac2 (octets 21 to 36) means nothing while there is no load: those bits alone may change
    altered = bytearray(initiation)
    altered[position // 8] ^= 1 << position % 8
    answers = wire.inject(b, bytes(altered))
    if 21 <= position // 8 < 37:
        assert [send.data[0] for send in answers] == [Packet.RESPONSE]
    else:
        assert answers == []
        assert not any(state(b))


@QUICK
@given(data=st.data())
def test_a_sealed_packet_cut_short_or_with_any_bit_turned_is_dropped(data: st.DataObject) -> None:
    wire, a, b = joined()
    genuine = sealed(a, encode([[Frame.MESSAGE.value, 1, b"hello"]]))
    if data.draw(st.booleans()):
        altered = bytearray(genuine)
        position = data.draw(st.integers(0, len(genuine) * 8 - 1))
        altered[position // 8] ^= 1 << position % 8
        forged = bytes(altered)
    else:
        forged = genuine[: data.draw(st.integers(0, len(genuine) - 1))]
    before = state(b)
    assert wire.inject(b, forged) == []
    assert state(b) == before
    assert not b.of(events.Message)


def test_an_answer_with_any_bit_turned_is_dropped_and_the_true_one_still_counts() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    wire.drop = lambda end, send: True
    wire.dial(a, b)
    b.sessions.receive(a.sent[0].data, _from(a), wire.now, wire.at())
    wire.settle(b)
    answer = b.sent[-1].data
    for position in range(len(answer)):
        if not 25 <= position < 41:  # mac2 of answers is reserved
            altered = bytearray(answer)
            altered[position] ^= 1
            a.sessions.receive(bytes(altered), _from(b), wire.now, wire.at())
    assert not a.sessions._numbers
    a.sessions.receive(answer, _from(b), wire.now, wire.at())
    assert len(a.sessions._numbers) == 1


def _from(end: End) -> Any:
    from_where = end.addresses[0]
    return Way("udp", from_where)


def test_an_answer_from_an_address_that_was_not_asked_is_dropped() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    wire.drop = lambda end, send: end is b
    wire.dial(a, b, tcp=False)
    wire.run(0.1)
    wire.inject(a, b.sent[-1].data, source="198.51.100.66")
    assert not a.of(events.Opened)
    assert a.sessions.counters["drop:response-way"] == 1


@pytest.mark.parametrize("size", [0, 1, 12, 29, 1_233, 65_507])
def test_packets_of_impossible_sizes_are_dropped_by_size(size: int) -> None:
    wire, a, b = joined()
    for kind, rule in ((1, "initiation-size"), (2, "response-size"), (3, "cookie-size"), (4, "sealed-size")):
        data = bytes([kind]) + bytes(max(0, size - 1))
        assert wire.inject(b, data) == []
        assert b.sessions.counters[f"drop:{rule}"] == 1
    assert wire.inject(b, b"") == []
    assert b.sessions.counters["drop:packet-type"] == 1


def test_a_packet_longer_than_a_datagram_carries_a_relayed_one_or_nothing() -> None:
    wire, a, b = joined()
    link = a.sessions._numbers[a.number].link
    for frames in ([[8]] * 15 + [[9, bytes(8), bytes(1_150)]], [[1, 1, bytes(1_175)]], [[16, bytes(8), bytes(1_170)], [8]]):
        wire.inject(b, link.seal(encode(frames)))
    assert b.sessions.counters["drop:sealed-size"] == 3
    assert not b.of(events.Message)


def test_who_does_not_know_the_responders_key_costs_it_no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, a, b = joined()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("an exchange for junk")

    monkeypatch.setattr("overlay.session.handshakes.Responder", never)
    assert wire.inject(b, b"\x01" + bytes(1_179)) == []
    assert b.sessions.counters["drop:mac1"] == 1


PLAINTEXTS: list[tuple[bytes, str]] = [
    (b"", "sealed-size"),
    (b"\xc1", "undecodable"),
    (b"\x91", "undecodable"),
    (encode({1: 2}), "frames"),
    (encode([1]), "frame-form"),
    (encode([[]]), "frame-form"),
    (encode([["8"]]), "frame-form"),
    (encode([[True]]), "frame-form"),
    (encode([[99]]), "frame-unknown"),
    (encode([[48, 1]]), "frame-unknown"),
    (encode([[8, 1]]), "frame-unknown"),
    (encode([[2, 1, 1]]), "frame-unknown"),
    (encode([[2, 5, 1, {}, 9]]), "call-form"),
    (encode([[2, "1", 1, {}, 1]]), "frame-unknown"),
    (encode([[3, 1]]), "reply-form"),
    (encode([[6, b"short"]]), "frame-unknown"),
    (encode([[6, b"x" * 1_000]]), "frame-unknown"),
    (encode([[6, 8]]), "frame-unknown"),
    (b"\x91\x93\x01\xcc\x07\x80", "non-canonical"),
    (b"\x91\x93\x01\x07\x82\x01\x01\x01\x02", "map-keys"),
    (b"\x91\x93\x01\x07\x82\x02\x01\x01\x02", "map-keys"),
    (b"\x91\x93\x01\x07\xcb\x40\x00\x00\x00\x00\x00\x00\x00", "value-type"),
    (b"\x91\x93\x01\x07\xd4\x01\x01", "undecodable"),
    (encode([[1, 7, [[[[[[[[]]]]]]]]]]), "nested"),
    (encode([[8]]) + b"\x00", "undecodable"),
]


@pytest.mark.parametrize("plaintext,rule", PLAINTEXTS, ids=lambda v: v if isinstance(v, str) else None)
def test_bad_frames_of_an_admitted_peer_are_counted_and_the_session_goes_on(plaintext: bytes, rule: str) -> None:
    wire, a, b = joined()
    b.sessions.receive(sealed(a, plaintext), _from(a), wire.now, wire.at())
    wire.settle(b)
    assert b.sessions.counters == {f"drop:{rule}": 1}
    ticket = wire.call(a, {1: 1})
    wire.run(1)
    assert ticket in wire.answers(a)


@QUICK
@given(frames=st.lists(st.lists(st.one_of(
    st.integers(-3, 40), st.booleans(), st.none(), st.binary(max_size=20), st.text(max_size=5), st.lists(st.integers(0, 3), max_size=3),
    st.dictionaries(st.integers(0, 5), st.integers(0, 5), max_size=2).map(ordered),
), max_size=7), max_size=6))
def test_no_frames_whatever_raise_anything_or_break_the_session(frames: list[list[Any]]) -> None:
    frames = [frame for frame in frames if frame[:1] != [Frame.CLOSE.value]]
    wire, a, b = joined()
    b.sessions.receive(sealed(a, encode(frames)), _from(a), wire.now, wire.at())
    wire.settle(b)
    if not b.of(events.Closed):
        ticket = wire.call(a, {1: 1})
        wire.run(1)
        assert ticket in wire.answers(a)


def test_what_comes_behind_a_close_is_not_looked_at() -> None:
    wire, a, b = joined()
    b.sessions.receive(sealed(a, encode([[5, "over"], [2, 50, 1, {}, 50], [1, 1, {}]])), _from(a), wire.now, wire.at())
    wire.settle(b)
    assert [event.reason for event in b.of(events.Closed)] == ["over"]
    assert not b.of(events.Called)
    assert not b.of(events.Message)


def test_frames_before_a_bad_one_are_answered() -> None:
    wire, a, b = joined()
    b.sessions.receive(sealed(a, encode([[2, 50, 63, {}, 50], [99]])), _from(a), wire.now, wire.at())
    before = len(b.sent)
    wire.settle(b)
    assert len(b.sent) == before + 1
    assert b.sessions.counters["drop:frame-unknown"] == 1


def test_a_packet_heard_twice_counts_once() -> None:
    wire, a, b = joined()
    data = sealed(a, encode([[Frame.MESSAGE.value, 1, {}]]))
    for _ in range(3):
        b.sessions.receive(data, _from(a), wire.now, wire.at())
    wire.settle(b)
    assert len(b.of(events.Message)) == 1
    assert b.sessions.counters["drop:replay"] == 2


def test_a_packet_of_a_session_that_ended_is_nobodys() -> None:
    wire, a, b = joined()
    data = sealed(a, encode([[Frame.MESSAGE.value, 1, {}]]))
    b.sessions.close(b.number, "over", wire.now)
    wire.settle(b)
    assert wire.inject(b, data) == []
    assert b.sessions.counters["drop:no-session"] == 1


def test_ones_own_initiation_sent_back_is_dropped() -> None:
    wire = Wire()
    a = wire.end(1)
    a.sessions.dial(a.key, [*a.addresses], wire.now, wire.at(), tcp=False)
    wire.settle(a)
    wire.run(0.2)
    assert a.sessions.counters["drop:own-key"] == 1
    assert not a.of(events.Opened)


def test_handshakes_that_nobody_confirms_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKES_PENDING", 5)
    wire = Wire()
    b = wire.end(99)
    for seed in range(1, 10):
        a = wire.end(seed)
        a.alive = False
        wire.dial(a, b, tcp=False)
    wire.run(0.1)
    assert len(b.sessions._handshakes.unconfirmed) == 5
    assert b.sessions.counters["drop:handshakes-full"] == 4
    wire.run(20)
    b.sessions.wake(wire.now, wire.at())
    assert not b.sessions._handshakes.unconfirmed


def test_remembered_time_stamps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TIMESTAMPS", 4)
    wire = Wire()
    b = wire.end(99)
    for seed in range(1, 10):
        wire.dial(wire.end(seed), b)
        wire.run(0.1)
    assert len(b.sessions._handshakes._stamps) == 4
    assert b.sessions.counters["timestamps_forgotten"] == 5


# -- the payloads of the two handshake messages


OFFER = {1: 5, 2: 1, 3: 1, 4: bytes(32), 5: bytes(8)}
ACCEPT = {1: 1, 2: 0, 3: bytes(32), 4: b"\x7f\x00\x00\x01\x1d\xe5", 6: bytes(8)}


@pytest.mark.parametrize("change", [
    {1: None}, {1: 0}, {1: -1}, {1: b"x"}, {1: 2**63}, {2: 0}, {2: None}, {3: "1"}, {4: bytes(31)}, {4: bytes(33)}, {4: 7}, {5: bytes(7)},
    {5: None}, {6: 1}, {6: [1, 2, 3]},
])
def test_offers_of_a_wrong_form_are_malformed(change: dict[int, Any]) -> None:
    with pytest.raises(Malformed):
        hello.read_offer(packet.pad(encode(ordered({**OFFER, **change}))))


@pytest.mark.parametrize("change", [
    {1: None}, {1: 2}, {1: -1}, {3: bytes(31)}, {4: b""}, {4: bytes(6)}, {4: None}, {5: [1, 2]}, {5: 1}, {6: None}, {6: bytes(9)},
])
def test_answers_of_a_wrong_form_are_malformed(change: dict[int, Any]) -> None:
    with pytest.raises(Malformed):
        hello.read_accept(encode(ordered({**ACCEPT, **change})))


def test_ends_choose_the_highest_version_that_both_know() -> None:
    for lowest, highest, chosen in ((1, 1, 1), (1, 9, 1), (2, 9, 0)):
        assert hello.read_offer(packet.pad(encode({**OFFER, 2: lowest, 3: highest}))).version == chosen


def test_unknown_early_calls_are_as_if_absent() -> None:
    for items in ([99, {}], ["1", {}], [5, {}], [None, None], []):
        assert hello.read_offer(packet.pad(encode({**OFFER, 6: items}))).early is None


def test_padding_hides_nothing() -> None:
    padded = packet.pad(b"abc")
    assert len(padded) == packet.PAYLOAD_1 + 2
    assert packet.unpad(padded) == b"abc"
    for bad in (padded[:-1] + b"\x01", struct.pack(">H", 60_000) + padded[2:], b"\x00\x01"):
        with pytest.raises(Malformed):
            packet.unpad(bad)


# -- cookies


def flood(wire: Wire, b: End, count: int) -> None:
    for _ in range(count):
        b.sessions._handshakes._jar.loaded(wire.now)


def test_under_load_strangers_get_a_cookie_and_the_handshake_goes_on_with_it() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    flood(wire, b, limits.HANDSHAKES_LOADED)
    wire.drop = lambda end, send: end is a and len(a.sent) == 1  # hold the first back ..
    wire.dial(a, b, tcp=False)
    wire.drop = lambda end, send: False
    answers = wire.inject(b, a.sent[0].data, source="203.0.113.1", port=7653)  # .. and deliver it under load
    assert [len(send.data) for send in answers] == [61]
    a.sessions.receive(answers[0].data, _from(b), wire.now, wire.at())
    flood(wire, b, limits.HANDSHAKES_LOADED)
    wire.run(0.3)
    assert b.sessions.counters["cookies_sent"] == 1
    assert a.open_now() == 1


def test_over_tcp_a_cookie_is_answered_at_once() -> None:
    wire = Wire()
    wire.udp_blocked = True
    a, b = wire.end(1), wire.end(2)
    flood(wire, b, limits.HANDSHAKES_LOADED)
    b.sessions._handshakes._jar._second = 1e9  # the same second for ever
    wire.dial(a, b)
    wire.run(0.5)
    assert a.open_now() == 1
    assert b.sessions.counters["cookies_sent"] == 1


def test_a_cookie_is_good_for_its_address_and_port_and_for_two_lives_of_the_secret() -> None:
    wire = Wire()
    responder = b"r" * 32
    jar = cookie.CookieJar(responder, wire.dice.randbytes)
    here, port, host = wire.end(1).addresses[0], wire.end(2).addresses[0]._replace(host="203.0.113.1", port=1), wire.end(3).addresses[0]
    reply = jar.reply(here, b"m" * 16, 0.0)
    mine = cookie.open_cookie(responder, reply[:24], reply[24:], b"m" * 16)
    mac2 = cookie.mac(mine, b"data")
    assert jar.accepts(mac2, b"data", here, 1.0)
    assert not jar.accepts(mac2, b"data", port, 1.0)
    assert not jar.accepts(mac2, b"data", host, 1.0)
    assert not jar.accepts(mac2, b"atad", here, 1.0)
    jar.reply(here, b"m" * 16, 121.0)
    assert jar.accepts(mac2, b"data", here, 200.0)
    assert not jar.accepts(mac2, b"data", here, 241.0)
    with pytest.raises(Malformed):
        cookie.open_cookie(responder, reply[:24], reply[24:], b"n" * 16)


def test_cookies_nobody_asked_for_are_dropped() -> None:
    wire, a, b = joined()
    assert wire.inject(a, packet.cookie_reply(77, bytes(56))) == []
    assert a.sessions.counters["drop:cookie-unknown"] == 1

"""Floods, from strangers and from peers with good keys: what is alive goes on, memory stays, and nobody is used as an amplifier.

``Priced`` gives one end's processor a price for each datagram and a bounded queue before it, so that a flood costs the
others what it would cost them on a real machine. The prices are those of the design; attackers' processors are free.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from overlay import limits
from overlay.lab.crypto import NULL
from overlay.session import cookie, events, hello, packet
from overlay.session.handshakes import UNCONFIRMED
from overlay.session.noise import Initiator
from overlay.session.relation import CHALLENGE_AGAIN
from overlay.session.suite import STANDARD, Suite
from overlay.session.throttle import Throttle
from overlay.wire.address import Address, Way
from overlay.wire.codec import encode
from overlay.wire.messages import PROTOCOL, Frame, Method, Packet
from tests.session.test_paths import joined, octets_to
from tests.session.wire_pair import OVERLAY, End, Wire

VICTIM = Address("198.51.100.66", 4000)
HANDSHAKE, COOKIE, MESSAGE, JUNK = 0.000_22, 0.000_02, 0.000_05, 0.000_005  # seconds of a processor
QUEUE = 200  # datagrams that wait for it


class Priced(Wire):
    """A wire on which one end's processor takes time."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__(seed)
        self.slow: End | None = None
        self._waiting: deque[tuple[bytes, Way]] = deque()
        self._busy = False

    def _deliver(self, end: End, data: bytes, way: Way) -> None:
        if end is not self.slow:
            super()._deliver(end, data, way)
        elif len(self._waiting) >= QUEUE:
            self.counters["queue-full"] += 1
        else:
            self._waiting.append((data, way))
            if not self._busy:
                self._next()

    def _next(self) -> None:
        self._busy = bool(self._waiting)
        if self._busy:
            assert self.slow is not None
            data, way = self._waiting.popleft()
            before = self.slow.sessions.counters.copy()
            super()._deliver(self.slow, data, way)
            self._after(self._price(data, self.slow.sessions.counters - before), self._next)

    @staticmethod
    def _price(data: bytes, counted: dict[str, int]) -> float:
        if data[0] == Packet.INITIATION:
            dropped = counted.keys() & {"drop:mac1", "drop:handshake-rate", "drop:initiation-size"}
            return COOKIE if "cookies_sent" in counted else JUNK if dropped else HANDSHAKE
        return MESSAGE

    def every(self, pause: float, act: Callable[[], None]) -> None:
        """Do it again and again."""

        def again() -> None:
            act()
            self._after(pause, again)

        again()


def first_message(b: End, number: int, at: float, *, shown: bytes | None = None, suite: Suite = STANDARD) -> bytes:
    """A message 1 as good as any, of a key of its own."""
    seed = number.to_bytes(32, "big")
    initiator = Initiator(
        prologue=PROTOCOL.encode() + OVERLAY, static=suite.ephemeral(seed), responder=b.key, ephemeral=suite.ephemeral(seed[::-1]),
        payload=hello.offer(stamp=int(at * 1_000_000), passport_digest=b"", boot_nonce=bytes(8), early=None), cipher=suite.cipher,
    )
    return packet.initiation(number, initiator.message, cookie.mac1_key(b.key), shown)


def look_alikes(b: End, shown: bytes | None = None) -> Iterator[bytes]:
    """Messages 1 whose macs hold and whose inside is nonsense: what a flood costs its sender least."""
    for number in range(1, 2**31):
        yield packet.initiation(number, number.to_bytes(4, "big") * 285 + b"xyz", cookie.mac1_key(b.key), shown)


def talking(wire: Priced) -> tuple[End, End, list[int]]:
    """Two ends with a session, the second one's processor priced; the first calls ten times a second."""
    a, b = wire.end(1), wire.end(2)
    wire.join(a, b)
    tickets: list[int] = []
    wire.slow = b
    wire.every(0.1, lambda: tickets.append(wire.call(a, {1: len(tickets)})))
    return a, b, tickets


def answered(wire: Wire, end: End, tickets: list[int]) -> float:
    """The part of the calls that were answered, but for those of the last second."""
    return sum(ticket in wire.answers(end) for ticket in tickets[:-10]) / len(tickets[:-10])


# -- floods of handshakes


def test_under_a_flood_from_forged_addresses_sessions_go_on_and_newcomers_get_in() -> None:
    wire = Priced()
    a, b, tickets = talking(wire)
    flood = look_alikes(b)
    numbers = iter(range(2**31))

    def forged() -> None:
        number = next(numbers)
        wire._deliver(b, next(flood), Way("udp", Address(f"198.18.{number // 250 % 250}.{number % 250}", 4_000)))

    wire.every(1 / 4_000, forged)
    wire.run(1)
    newcomer = wire.end(3, tcp=False)
    wire.dial(newcomer, b, tcp=False)
    wire.run(2)
    assert newcomer.open_now() == 1
    assert answered(wire, a, tickets) == 1
    assert not a.of(events.Closed)
    counters = b.sessions.counters
    assert counters["drop:noise-tag"] <= 4 * limits.HANDSHAKES_LOADED  # the rest got a cookie, for a tenth of the price
    assert counters["cookies_sent"] > 8_000
    assert wire.counters["queue-full"] == 0


def cookie_of(wire: Wire, b: End, source: Address) -> bytes:
    """A cookie for that address, as who holds the address gets one."""
    jar = b.sessions._handshakes._jar
    jar._second, jar._count = wire.now, limits.HANDSHAKES_LOADED
    data = first_message(b, 77_777, wire.at())
    (answer,) = wire.inject(b, data, source=source.host, port=source.port)
    _, nonce, sealed = packet.read_cookie(answer.data)
    return cookie.open_cookie(b.key, nonce, sealed, packet.mac1_of(data))


def test_a_machine_that_answers_cookies_gets_its_share_of_handshakes_and_no_more() -> None:
    wire = Priced()
    a, b, tickets = talking(wire)
    attacker = Address("198.51.100.66", 4000)
    flood = look_alikes(b, cookie_of(wire, b, attacker))
    wire.every(1 / 6_000, lambda: wire._deliver(b, next(flood), Way("udp", attacker)))  # 1.3 processors' worth
    wire.run(1)
    newcomer = wire.end(3, tcp=False)
    wire.dial(newcomer, b, tcp=False)
    wire.run(2)
    assert newcomer.open_now() == 1
    assert answered(wire, a, tickets) == 1
    assert b.sessions.counters["drop:noise-tag"] <= 4 * (limits.HANDSHAKES_LOADED + limits.HANDSHAKES_PER_SOURCE) + 5
    assert b.sessions.counters["drop:handshake-rate"] > 15_000
    assert wire.counters["queue-full"] == 0


def test_handshakes_that_a_machine_leaves_half_open_push_no_slow_newcomer_out() -> None:
    wire = Wire(delay=(0.3, 0.3))
    b, newcomer = wire.end(2), wire.end(3, tcp=False)
    attacker = Address("198.51.100.66", 4000)
    shown = cookie_of(wire, b, attacker)
    wire.dial(newcomer, b, tcp=False)
    wire.run(0.01)
    for number in range(600):
        wire.inject(b, first_message(b, number + 1, wire.at(), shown=shown), source=attacker.host, port=attacker.port)
        wire.run(0.001)
    wire.run(1.5)
    assert newcomer.open_now() == 1
    assert b.open_now() == 1
    assert len(b.sessions._handshakes.unconfirmed) <= limits.HANDSHAKES_PENDING


def test_of_ten_thousand_half_open_handshakes_a_few_hundred_are_kept_and_nothing_else_stays() -> None:
    wire = Wire()
    b = wire.end(2, suite=NULL.suite)
    objects = []
    for number in range(1, 10_001):
        data = first_message(b, number, wire.at(), suite=NULL.suite)
        b.sessions.receive(data, Way("udp", Address(f"198.18.{number // 250}.{number % 250}", 4_000)), wire.now, wire.at())
        b.sessions.take()
        wire.now += 1.1 / limits.HANDSHAKES_LOADED  # as fast as nobody is asked for a cookie
        if number in (1_000, 10_000):
            gc.collect()
            objects.append(len(gc.get_objects()))
    assert objects[1] - objects[0] < 100
    handshakes = b.sessions._handshakes
    assert len(handshakes.unconfirmed) == limits.HANDSHAKES_PENDING
    assert len(handshakes._stamps) == 10_000  # octets and numbers, 65,536 at most: see test_remembered_time_stamps_are_bounded
    assert b.sessions.counters == {"drop:handshakes-full": 10_000 - limits.HANDSHAKES_PENDING}
    b.sessions.wake(wire.now + UNCONFIRMED + 1, wire.at())
    assert not handshakes.unconfirmed


def test_a_recorded_first_message_replayed_to_a_restarted_end_evicts_no_live_session() -> None:
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    wire.join(a, b)
    recorded = a.sent[0].data
    b = wire.end(2, boot=1)
    answers = wire.inject(b, recorded, source=VICTIM.host, port=VICTIM.port)  # before anybody is back: it is answered, and waits
    assert [send.data[0] for send in answers] == [Packet.RESPONSE]
    a.sessions.close(a.number, "again", wire.now)
    wire.settle(a)
    wire.join(a, b)
    live = b.number
    for _ in range(3):  # after: older than what is known of that key
        assert wire.inject(b, recorded, source=VICTIM.host, port=VICTIM.port) == []
    b.sessions._handshakes._stamps.clear()  # and where so many others called that it is forgotten
    assert [send.data[0] for send in wire.inject(b, recorded, source=VICTIM.host, port=VICTIM.port)] == [Packet.RESPONSE]
    wire.run(60)
    assert (b.number, b.open_now()) == (live, 1)
    ticket = wire.call(a, {1: 1})
    wire.run(1)
    assert ticket in wire.answers(a)


# -- shares


def test_a_share_is_a_rate_and_a_burst_for_each_source_and_loopback_has_none() -> None:
    throttle = Throttle(10, 3, Wire().counters)
    here = [throttle.lets("192.0.2.1", 0.0) for _ in range(5)]
    assert here == [True, True, True, False, False]
    assert throttle.lets("192.0.2.2", 0.0)
    assert [throttle.lets("192.0.2.1", 0.1 * n + 0.001) for n in range(1, 5)] == [True] * 4
    assert not throttle.lets("192.0.2.1", 0.402)
    assert [throttle.lets(f"2001:db8::{n}", 0.0) for n in range(4)] == [True, True, True, False]  # one /64
    assert all(throttle.lets("127.0.0.1", 0.0) for _ in range(100))


def test_remembered_sources_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "THROTTLED", 4)
    wire = Wire()
    throttle = Throttle(1, 1, wire.counters)
    assert all(throttle.lets(f"192.0.2.{n}", 0.0) for n in range(10))
    assert wire.counters["throttled_forgotten"] == 6
    assert not throttle.lets("192.0.2.9", 0.5)


def test_asks_that_cost_signature_checks_have_a_rate_by_source_and_are_asked_again() -> None:
    wire = Wire()
    a, b, c = wire.end(1), wire.end(2), wire.end(3)
    wire.dial(a, b)
    wire.dial(c, b)
    wire.run(1)
    link = a.sessions._numbers[a.number].link
    for ticket in range(1_000, 1_400):
        wire.inject(b, link.seal(encode([[Frame.CALL.value, ticket, Method.ENROL.value, {}, ticket]])), source="203.0.113.1", port=7653)
        wire.run(0.005)
    served = [call for call in b.of(events.Called) if call.method is Method.ENROL]
    assert 20 <= len(served) <= 20 + 2 * limits.ASKS_PER_SOURCE + 1
    assert b.sessions.counters["drop:ask-rate"] == 400 - len(served)
    ticket = wire.call(c, {1: 1}, Method.ENROL)
    wire.run(0.2)
    assert ticket in wire.answers(c)  # another source has its own share
    wire.run(2)
    wire.inject(b, link.seal(encode([[Frame.CALL.value, 1_399, Method.ENROL.value, {}, 1_399]])), source="203.0.113.1", port=7653)
    assert b.of(events.Called)[-1].ticket == 1_399  # what was dropped comes again, as any call, and is heard


def test_sessions_of_one_source_that_nobody_admits_make_room_for_each_other_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEYED_PER_SOURCE", 3)
    wire = Wire()
    b, newcomer = wire.end(9), wire.end(8)
    wire.dial(newcomer, b)
    wire.run(0.2)
    office = [wire.end(number, "203.0.113.77") for number in range(1, 7)]
    for end in office:
        wire.ends.remove(end)
        wire.ends.insert(0, end)  # whose the address is now
        wire.dial(end, b)
        wire.run(0.2)
    assert [event.peer_key for event in b.of(events.Closed)] == [end.key for end in office[:3]]
    assert b.sessions.counters["drop:keyed-source-full"] == 3
    assert newcomer.open_now() == 1
    b.sessions.admit(b.sessions._sessions[office[3].key].number)  # who is admitted counts no more
    late = wire.end(7, "203.0.113.77")
    wire.ends.insert(0, wire.ends.pop())
    wire.dial(late, b)
    wire.run(0.2)
    assert len(b.of(events.Closed)) == 3
    for session in list(b.sessions._numbers):
        b.sessions.close(session, "over", wire.now)
    assert not b.sessions._strangers._by_source


# -- floods of calls


def test_a_peer_that_calls_without_end_costs_others_nothing_but_the_processor_that_it_pays_for() -> None:
    wire = Priced()
    a, b, tickets = talking(wire)
    mallory = wire.end(4)
    wire.slow = None
    wire.join(mallory, b)
    wire.slow = b
    link = mallory.sessions._numbers[mallory.number].link
    numbers = iter(range(1_000, 2**31))

    def flood() -> None:
        number = next(numbers)
        data = link.seal(encode([[Frame.CALL.value, number, Method.PING.value, b"x" * 100, number]]))
        wire._deliver(b, data, Way("udp", mallory.addresses[0], b.addresses[0].host))

    wire.every(1 / 5_000, flood)
    wire.run(2.5)
    assert answered(wire, a, tickets) == 1
    assert wire.counters["queue-full"] == 0


def test_answers_that_a_peer_does_not_let_go_are_bounded_in_number_and_octets() -> None:
    reply = [b"r" * 1_000] * 500
    wire, a, b = joined()
    b.serve = lambda end, call: end.sessions.reply(call.session, call.ticket, reply, end.clock)
    session = b.sessions._numbers[b.sessions._sessions[a.key].number]
    link = a.sessions._numbers[a.number].link
    for ticket in range(1_000, 1_500):  # all waited for: the floor stays
        wire.inject(b, link.seal(encode([[Frame.CALL.value, ticket, Method.PING.value, {}, 1_000]])), source="203.0.113.1", port=7653)
    assert len(session.calls._answers) == limits.REPLIES_KEPT
    assert session.calls._kept <= 2 * limits.REPLY_OCTETS
    assert b.sessions.counters["drop:calls-full"] == 500 - limits.REPLIES_KEPT
    assert b.sessions.counters["replies_forgotten"] > 0
    ticket = wire.call(b, {1: 1})  # the other direction is not concerned
    wire.run(1)
    assert ticket in wire.answers(b)


# -- nobody is an amplifier


@pytest.mark.parametrize("count", [1, 2, 15, 16, 95])
def test_challenges_from_an_address_that_has_not_proved_itself_are_answered_with_no_more_octets_than_came(count: int) -> None:
    wire, a, b = joined()
    link = a.sessions._numbers[a.number].link
    came = 0
    for _ in range(5):
        data = link.seal(encode([[Frame.KEEPALIVE.value], *[[Frame.CHALLENGE.value, bytes(8)]] * count]))
        came += len(data)
        wire.inject(b, data, source=VICTIM.host, port=VICTIM.port)
        assert octets_to(b, VICTIM) <= came
        wire.run(CHALLENGE_AGAIN)
    assert octets_to(b, VICTIM) > 0


def test_what_an_unproven_address_asks_for_goes_to_the_proven_one() -> None:
    wire, a, b = joined()
    b.serve = lambda end, call: end.sessions.reply(call.session, call.ticket, [b"r" * 1_000] * 50, end.clock)
    link = a.sessions._numbers[a.number].link
    came = 0
    asked = [[Frame.CALL.value, 1_000, Method.PASSPORT.value, {}, 1_000], *[[Frame.PAGE.value, 1_000, page] for page in range(50)]]
    for frames in (asked[:1], asked[1:40], [[Frame.CALL.value, 1_000, Method.PASSPORT.value, {}, 1_000]], [[99]]):
        data = link.seal(encode(frames))
        came += len(data)
        wire.inject(b, data, source=VICTIM.host, port=VICTIM.port)
        assert octets_to(b, VICTIM) <= came
    assert octets_to(b, a.addresses[0]) > 40_000


def test_an_idle_peer_behind_a_new_address_is_found_by_its_keepalives_alone() -> None:
    wire, a, b = joined()
    wire.seen_as[a.addresses[0]] = Address("198.51.100.7", 61_000)
    wire.run(60)  # nothing is said meanwhile; a keepalive is a challenge of 42 octets
    assert [event.way.remote.host for event in b.of(events.PathChanged)] == ["198.51.100.7"]
    ticket = wire.call(b, {1: 1})
    wire.run(1)
    assert ticket in wire.answers(b)
    assert not a.of(events.Closed) + b.of(events.Closed)
